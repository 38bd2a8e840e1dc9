"""What `bench offline` and `bench latency` have in common: a model, the engines that are measured
on it side by side, each in a process of its own, and a bar that tells how far they are."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from ..errors import EngineError, InvalidRequestError
from .cpu import GGUF_KINDS, NEEDS, PEERS, SHAPES, make_model
from .true_shapes import TRUE_SHAPES, checkpoint

OURS = "espalier"
_TOLD = 30  # lines that an engine said before it died


class Setting(NamedTuple):
    """A model, where it runs, and beside whom. name: of the model, for rows."""

    name: str
    folder: Path
    vocab_size: int
    device: str
    peers: list[str]
    args: argparse.Namespace

    @property
    def unit(self) -> str:
        """What a time is of: see `engine_worker`."""
        return "CPU " if self.device == "cpu" else ""


def configure(options: argparse.ArgumentParser, peers: Sequence[str]) -> None:
    """The options that both have."""
    add = options.add_argument
    add("--device", default="cpu", help="cpu (the default), cuda, cuda:N")
    add("--shape", choices=[*SHAPES, *TRUE_SHAPES],
        help="random weights: 6.8M (on a CPU the default), 387M, 8B (Llama-3.1-8B), 0.6B "
        "(Qwen3-0.6B; else the default), tiny")  # fmt: skip
    add("--model", type=Path, metavar="FOLDER", help="a model in place of random weights")
    add("--dtype", choices=["fp32", "bf16"], default="fp32",
        help="of 6.8M and 387M (default: fp32); the others are bf16")  # fmt: skip
    add("--peers", help=f"of {','.join(peers)}, or none (default: those installed)")
    add(
        "--batch-of-peer",
        type=int,
        metavar="N",
        help="requests that transformers pads to one length (default: 16 on a CPU, else 64)",
    )
    add("--peer-seconds", type=float, metavar="SECONDS",
        help="a peer that takes longer, its start and warming up included, is ended")  # fmt: skip
    add("--peer-warm", type=int, metavar="TOKENS",
        help="to warm up, peers answer with as many tokens at most (default: all)")  # fmt: skip
    add("--option", action="append", default=[], metavar="NAME=JSON",
        help="an option of our engine, as `--option deterministic=true`")  # fmt: skip
    add("--threads", type=int, default=1, help="on a CPU (default: 1)")
    add("--reps", type=int, default=3, help="after one to warm up; the best counts (default: 3)")
    add("--seed", type=int, default=0)
    add("--models", type=Path, metavar="FOLDER", help="keep the random-weight models there")
    add("--quiet", action="store_true", help="no progress bar")


def setting(args: argparse.Namespace, known: Sequence[str], folder: Path) -> Setting:
    """The model is made where it is not there. Raises InvalidRequestError for what cannot be."""
    if args.reps < 1 or args.threads < 1:
        raise InvalidRequestError(expected="integers >= 1", where="--reps, --threads")
    on_cpu = args.device == "cpu"
    peers = _peers(args.peers, [peer for peer in known if on_cpu or peer != "llamacpp"], args)
    if args.model is not None:
        if args.shape is not None:
            raise InvalidRequestError(
                expected="--model or --shape, not both", where="--model, --shape"
            )
        name, path = args.model.name, args.model
    else:
        shape = args.shape or ("6.8M" if on_cpu else "0.6B")
        name, keep = shape, args.models or folder
        if shape in TRUE_SHAPES:
            path = checkpoint(keep, shape)
        else:
            name += f" {args.dtype}"
            kinds = [GGUF_KINDS[args.dtype]] if "llamacpp" in peers else []
            path = make_model(keep, shape, args.dtype, kinds)
    vocab_size = json.loads((path / "config.json").read_text())["vocab_size"]
    return Setting(name, path, vocab_size, args.device, peers, args)


def _peers(asked: str | None, known: Sequence[str], args: argparse.Namespace) -> list[str]:
    """Those asked for, or those that are installed and can run the model."""
    missing = {
        peer: [name for name in NEEDS.get(peer, ()) if importlib.util.find_spec(name) is None]
        for peer in known
    }
    ours_alone = args.model is not None or args.shape in TRUE_SHAPES
    if asked is None:
        for peer in [peer for peer in known if missing[peer]]:
            print(f"without {PEERS[peer]}: {', '.join(missing[peer])} not installed")
        fit = [peer for peer in known if not (peer == "llamacpp" and ours_alone)]
        return [peer for peer in fit if not missing[peer]]
    names = [] if asked == "none" else asked.split(",")
    for peer in names:
        if peer not in known or missing[peer] or (peer == "llamacpp" and ours_alone):
            raise InvalidRequestError(
                expected=f"peers of {', '.join(known)}, installed; llamacpp on a CPU, 6.8M or 387M",
                got=peer + (f" without {', '.join(missing[peer])}" if missing.get(peer) else ""),
                where="--peers",
            )
    return names


def engine_options(given: Sequence[str]) -> dict[str, Any]:
    """`NAME=JSON` as options of our engine. Raises InvalidRequestError for what is no JSON."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            equals = ""
        if not equals:
            raise InvalidRequestError(
                expected="NAME=JSON, as deterministic=true", got=repr(text), where="--option"
            )
    return found


Load = tuple[list[list[int]], list[int]]
"""Prompts, and how many tokens are to follow each."""


def compared(where: Setting, task: str, loads: list[Load]) -> list[dict[str, list[dict[str, Any]]]]:
    """Of each load, what each engine found in each repetition; ours first. A peer that fails is
    left out from that load on, and said so; of one that is ended in the midst of a repetition
    those before count, or if there are none, how long it had taken by then (`unfinished`). Raises
    EngineError where ours fails."""
    args = where.args
    found: list[dict[str, list[dict[str, Any]]]] = [{} for _ in loads]
    each = args.reps + 1  # the first one is to warm up
    bar = tqdm(
        total=len([OURS, *where.peers]) * len(loads) * each,
        desc=where.name,
        disable=args.quiet,
        leave=False,
        unit="run",
    )
    with bar:
        for engine in [OURS, *where.peers]:
            bar.set_postfix_str(PEERS.get(engine, engine))
            job = {
                "engine": engine,
                "task": task,
                "model": str(where.folder),
                "device": where.device,
                "threads": args.threads,
                "batch": args.batch_of_peer or (16 if where.device == "cpu" else 64),
                "options": engine_options(args.option),
                "reps": args.reps,
                "loads": loads,
                "warm_tokens": None if engine == OURS else args.peer_warm,
            }
            runs = []
            last = time.monotonic()
            try:
                for run in _runs(job, None if engine == OURS else args.peer_seconds):
                    bar.update()
                    runs.append(run)
                    last = time.monotonic()
            except EngineError as error:
                if engine == OURS:
                    raise
                tqdm.write(f"left out: {PEERS[engine]} failed: {error}")
                if isinstance(error, TookTooLong) and len(runs) % each:
                    runs.append({"unfinished": time.monotonic() - last})
            for number, of in enumerate(found):
                mine = runs[number * each : (number + 1) * each]
                if len(mine) == each or (len(mine) > 1 and "unfinished" in mine[-1]):
                    ended = [run for run in mine[1:] if "unfinished" not in run]
                    of[engine] = ended or mine[1:]
    return found


class TookTooLong(EngineError):
    """A peer was ended."""


def _runs(job: dict[str, Any], seconds: float | None = None) -> Iterator[dict[str, Any]]:
    """What one engine's process says, line by line, until it has said all that it was asked for.
    Raises EngineError where it dies, TookTooLong where it is ended after so many `seconds`."""
    package = Path(__file__).resolve().parents[1]
    root = package if (package / "espalier").is_dir() else package.parent
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryFile("w+") as said:  # a pipe that nobody reads would fill
        process = subprocess.Popen(
            [sys.executable, "-m", "espalier.benchmarks.engine_worker"],
            env=os.environ | {"PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )
        begun = time.monotonic()
        timer = threading.Timer(math.inf if seconds is None else seconds, process.kill)
        if seconds is not None:
            timer.start()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(BrokenPipeError), process.stdin:
                json.dump(job, process.stdin)
            asked = len(job["loads"]) * (job["reps"] + 1)
            with process.stdout:
                for line in itertools.islice(process.stdout, asked):
                    asked -= 1
                    yield json.loads(line)
            if asked:
                process.wait()
                if seconds is not None and time.monotonic() >= begun + seconds:
                    raise TookTooLong(f"it was ended after {seconds:.0f} s")
                said.seek(0)
                lines = said.read().strip().splitlines() or [f"exit status {process.returncode}"]
                print("\n".join(lines[-_TOLD:]), file=sys.stderr, flush=True)
                raise EngineError(f"{job['engine']}: {lines[-1]}")
        finally:
            timer.cancel()
            process.kill()
            process.wait()
