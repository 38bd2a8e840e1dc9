"""The benchmarks of a GPU, one after the other within a time, each in a process of its own:
kernels (whose tiles are tuned first), forks, offline throughput and latency, on random weights in
the shapes of Llama-3.1-8B and Qwen3-0.6B. Writes gpu-NAME.json for each, and of all there are the
table of docs/GPU.md. What fails or takes too long is told, and the others go on.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .report import number, read
from .true_shapes import checkpoint

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- figures of make bench-gpu -->\n", "<!-- end of figures -->\n"


class Part(NamedTuple):
    """A benchmark. name: of its file. least, most: seconds; without as many left, it is not begun,
    and after as many it is ended."""

    name: str
    arguments: list[str]
    least: float
    most: float


def main(argv: Sequence[str]) -> int:
    """`espalier bench gpu`."""
    options = argparse.ArgumentParser(
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
    options.add_argument("--page", type=Path, default=ROOT / "docs" / "GPU.md")
    args = options.parse_args(argv)
    end = time.monotonic() + args.seconds
    with tempfile.TemporaryDirectory() as folder:
        made = parts(args.models or Path(folder), args.device, tiny=args.tiny)
        if args.only:
            made = [part for part in made if part.name in args.only]
        failed = [part.name for part in made if not _run(part, args.results, end)]
    write_table(args.page, args.results)
    if failed:
        print(f"without: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


def parts(models: Path, device: str, *, tiny: bool) -> list[Part]:
    """What is run, in its order: first what others build on, and what must not be missed."""
    shapes = ["tiny"] if tiny else ["8B", "0.6B"]
    begun = time.monotonic()
    for shape in shapes:
        checkpoint(models, shape)
    print(f"models made in {time.monotonic() - begun:.0f} s", flush=True)
    both = ["--device", device, "--models", str(models)]
    forks = ["forks", *both, "--shape", *shapes]
    offline, latency = ["--requests", "256", "--peers", "hf_cb"], ["--batch", "1", "8", "64"]
    if tiny:
        forks += ["--prefix", "96", "--branches", "4"]
        offline = ["--requests", "3", "--input", "8", "--output", "4", "--peers", "none"]
        latency = ["--batch", "2", "--prompt", "8", "--output", "4", "--peers", "none"]
    more = ["--reps", "1", "--quiet", *both]
    if device != "cpu":
        more += ["--option", "cuda_graphs=true"]
    kernels = Part("kernels", ["kernels", "--device", device, "--tune", "40"], 60, 130)
    found = [kernels]
    for place, shape in enumerate(shapes):
        of = [*more, "--shape", shape]
        found.append(Part(f"offline-{shape}", ["offline", *offline, *of], 20, 120 - 40 * place))
        found.append(Part(f"latency-{shape}", ["latency", *latency, *of], 15, 70 - 20 * place))
    found.insert(3, Part("forks", forks, 20, 70))
    return found


def _run(part: Part, results: Path, end: float) -> bool:
    """Whether it came to its end in time."""
    left = end - time.monotonic()
    if left < part.least:
        print(f"== {part.name}: not begun, {left:.0f} s are left", flush=True)
        return False
    print(f"== {part.name}", flush=True)
    file = results / f"gpu-{part.name}.json"
    command = [sys.executable, "-m", "espalier.runtime.cli", "bench", *part.arguments]
    environment = os.environ | {"ESPALIER_TRITON": os.environ.get("ESPALIER_TRITON", "1")}
    begun = time.monotonic()
    process = subprocess.Popen(
        [*command, "--json", str(file)], cwd=ROOT, env=environment, start_new_session=True
    )
    try:
        code = process.wait(min(left, part.most))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        print(f"== {part.name}: ended after {time.monotonic() - begun:.0f} s", flush=True)
        return False
    print(f"== {part.name}: {time.monotonic() - begun:.0f} s, exit status {code}", flush=True)
    return code == 0


def write_table(page: Path, results: Path) -> None:
    """The figures of all gpu-*.json in `results`, between the marks of `page`."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
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
            cells = row["name"], number(row["value"]), row["unit"], beside, where
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    if len(lines) == 2:
        lines.append("| (none yet) | | | | |")
    return "\n".join(lines) + "\n"
