"""The benchmarks of a GPU, one after the other within a time, each in a process of its own:
kernels (whose tiles are tuned first), what our engine's steps take beside their bound, forks, and
throughput and latency beside transformers, on random weights in the shapes of Llama-3.1-8B and
Qwen3-0.6B. Writes gpu-NAME.json for each, as far as it came, and of all there are the table of
docs/GPU.md. What fails or takes too long is told, and the others go on; an engine that finds
nothing by Triton's kernels runs again by torch's operators, as gpu-NAME-torch.json.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..runtime.cli_flags import Parser
from .report import check_only, number, read
from .true_shapes import checkpoint

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "GPU.md"
TRITON = "ESPALIER_TRITON"  # `kernels.device.ASK`, which loads torch
BEGIN, END = "<!-- figures of make bench-gpu -->\n", "<!-- end of figures -->\n"
NEEDED = "triton", "msgspec", "transformers"
_IN_MEMORY = Path("/dev/shm")
_ROOM = 40 << 30  # bytes: the models, and half as much beside them


class Part(NamedTuple):
    """A benchmark. name: of its file. shapes: of models that it needs. least, most: seconds;
    without as many left, it is not begun, and after as many it is ended. again: whether it may run
    by torch's operators where it fails."""

    name: str
    arguments: list[str]
    shapes: list[str]
    least: float
    most: float
    again: bool = False


def main(argv: Sequence[str]) -> int:
    """`espalier bench gpu`."""
    options = Parser(
        prog="espalier bench gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("--device", default="cuda")
    options.add_argument("--seconds", type=float, default=510.0, help="for all (default: 510)")
    options.add_argument("--tiny", action="store_true", help="a tiny model: to try it out")
    options.add_argument("--only", action="append", metavar="NAME", help="of the parts")
    options.add_argument("--models", type=Path, help="keep the random-weight models there")
    options.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    options.add_argument("--page", type=Path, default=PAGE, help="made of docs/GPU.md if not there")
    args = options.parse_args(argv)
    args.results.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + args.seconds
    for name in NEEDED:
        if importlib.util.find_spec(name) is None:
            print(f"{name} is not installed: what needs it will fail", flush=True)
    with tempfile.TemporaryDirectory(dir=roomy(_IN_MEMORY)) as folder:
        models = args.models or Path(folder)
        made = parts(models, args.device, tiny=args.tiny)
        check_only(args.only, [part.name for part in made])
        if args.only:
            made = [part for part in made if part.name in args.only]
        failed = [part.name for part in made if not _run(part, models, args.results, end)]
        write_table(args.page, args.results)
    if failed:
        print(f"without: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


def roomy(folder: Path) -> Path | None:
    """The folder, if the models have room there: of a disk nobody knows how slow it is."""
    try:
        return folder if shutil.disk_usage(folder).free >= _ROOM else None
    except OSError:
        return None


def parts(models: Path, device: str, *, tiny: bool) -> list[Part]:
    """What is run, in its order: first what others build on, and what must not be missed."""
    shapes = ["tiny"] if tiny else ["8B", "0.6B"]
    both = ["--device", device, "--models", str(models)]
    peer = ["--peers", "hf_cb", "--peer-warm", "16", "--peer-seconds"]
    offline = ["offline", "--requests", "256", *peer]
    latency = ["latency", "--batch", "1", "8", "64", "--peer-seconds", "60"]
    forks, decode = ["forks", *both, "--shape", *shapes], ["decode", *both]
    if tiny:
        forks += ["--prefix", "96", "--branches", "4"]
        small = ["--batch", "2", "--context", "24", "--steps", "4", "--requests", "3"]
        decode += [*small, "--longest", "110", "--long", "300"]
        offline = ["offline", "--requests", "3", "--input", "8", "--output", "4", *peer]
        latency = ["latency", "--batch", "2", "--prompt", "8", "--output", "4", "--peers", "none"]
    more = ["--reps", "1", "--quiet", *both]
    if device != "cpu":
        more += ["--option", "cuda_graphs=true"]
    found = [Part("kernels", ["kernels", "--device", device, "--tune", "24"], [], 40, 110)]
    for shape, most in zip(shapes, (150, 90), strict=False):
        found.append(Part(f"decode-{shape}", [*decode, "--shape", shape], [shape], 30, most, True))
    found.insert(2, Part("forks", forks, shapes, 20, 70))
    for shape, most in zip(shapes, (80, 50), strict=False):
        given = [*offline, str(most), *more, "--shape", shape]
        found.append(Part(f"offline-{shape}", given, [shape], 40, most + 50, True))
    for shape in reversed(shapes):
        given = [*latency, *more, "--shape", shape]
        found.append(Part(f"latency-{shape}", given, [shape], 25, 100, True))
    return found


def _run(part: Part, models: Path, results: Path, end: float) -> bool:
    """Whether it came to its end in time."""
    if end - time.monotonic() < part.least:
        left = max(0.0, end - time.monotonic())
        print(f"== {part.name}: not begun, {left:.0f} s are left", flush=True)
        return False
    print(f"== {part.name}", flush=True)
    try:
        for shape in part.shapes:
            begun = time.monotonic()
            checkpoint(models, shape)
            print(f"{shape}: made in {time.monotonic() - begun:.0f} s", flush=True)
    except OSError as error:
        print(f"== {part.name}: no model: {error}", flush=True)
        return False
    file = results / f"gpu-{part.name}.json"
    before = _written(file)
    code = _bench(part, part.arguments, {}, file, end)
    told = os.environ.get(TRITON) == "0" or _written(file) != before
    if code is None or code == 0 or not part.again or told:
        return code == 0
    print(f"== {part.name}: again, by torch's operators", flush=True)
    arguments = part.arguments
    if "--device" in arguments and "cpu" not in arguments:
        arguments = [*arguments, "--option", "cuda_graphs=false"]
    _bench(part, arguments, {TRITON: "0"}, results / f"gpu-{part.name}-torch.json", end)
    return False


def _written(file: Path) -> int:
    """When the file was written; 0 if it is not there."""
    return file.stat().st_mtime_ns if file.exists() else 0


def _bench(
    part: Part, arguments: Sequence[str], more: dict[str, str], file: Path, end: float
) -> int | None:
    """The exit status of a benchmark; None where it took too long. more: of its environment."""
    command = [sys.executable, "-m", "espalier.runtime.cli", "bench", *arguments]
    begun = time.monotonic()
    process = subprocess.Popen(
        [*command, "--json", str(file)],
        cwd=ROOT,
        env=os.environ | more,
        start_new_session=True,
    )
    try:
        code = process.wait(max(1.0, min(end - begun, part.most)))
    except subprocess.TimeoutExpired:
        code = None
    finally:  # with the processes it has started, which may hold the GPU's memory after it
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    took = f"{time.monotonic() - begun:.0f} s"
    said = f"ended after {took}" if code is None else f"{took}, exit status {code}"
    print(f"== {part.name}: {said}", flush=True)
    return code


def write_table(page: Path, results: Path) -> None:
    """The figures of all gpu-*.json in `results`, between the marks of `page`."""
    text = (page if page.exists() else PAGE).read_text(encoding="utf-8")
    before, found, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        print(f"{page} has no place for figures: {BEGIN.strip()} ... {END.strip()}")
        return
    page.write_text(before + BEGIN + "\n" + _table(results) + "\n" + END + after, encoding="utf-8")


def _table(results: Path) -> str:
    lines = ["| figure | ours | unit | beside | where |", "|---|---|---|---|---|"]
    for file in sorted(results.glob("gpu-*.json")):
        for row in read(file):
            beside = ", ".join(f"{peer} {number(value)}" for peer, value in row["peers"].items())
            where = f"{row['machine'].rpartition(', ')[2]}, {row['commit']}"
            name = row["name"] + (", by torch's operators" if file.stem.endswith("-torch") else "")
            cells = name, number(row["value"]), row["unit"], beside, where
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    if len(lines) == 2:
        lines.append("| (none yet) | | | | |")
    return "\n".join(lines) + "\n"
