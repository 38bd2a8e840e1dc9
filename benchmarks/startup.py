"""What each second of a server's start goes to, from the command to a token over HTTP.

Each run is a new process, which tells its own phases in its line of readiness; the first token is
that of a streamed chat, sent as soon as the line is there, by the clock of who started it all.
--cold has the system forget the files that a start reads: of Python's packages, of Espalier and of
the model. It cannot forget pages that another process has mapped: nobody else should run torch.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import InvalidRequestError
from .report import Row, finish, parser
from .serve import PATH
from .serve_client import Connection, Timed

ABOUT = """\
examples
  espalier bench startup
  espalier bench startup --cold --runs 5
  espalier bench startup --model ./my-model --json startup.json"""
_LINE = re.compile(r"ready on (http\S+) in ([\d.]+) s \((.*)\)")
_PACKAGE = Path(__file__).resolve().parents[1]
READY, TOKEN = "ready", "first token over HTTP"


def main(argv: Sequence[str]) -> int:
    """`espalier bench startup`."""
    options = parser("startup", f"{__doc__}\n{ABOUT}")
    options.add_argument("--model", default="sprig")
    options.add_argument("--runs", type=int, default=3, metavar="N")
    options.add_argument("--cold", action="store_true", help="with no file in memory")
    args = options.parse_args(list(argv))
    if args.runs < 1:
        raise InvalidRequestError(expected="at least 1", got=str(args.runs), where="--runs")
    runs = []
    for _ in range(args.runs):
        if args.cold:
            forget(folders(args.model))
        runs.append(started(args.model))
    finish("startup", argv, args.json, figures(runs))
    return 0


def figures(runs: Sequence[dict[str, float]]) -> list[Row]:
    """Of each phase, the median of the runs and the longest."""
    rows = []
    for name in runs[0]:
        values = [run[name] for run in runs]
        rows.append(Row(name=f"{name}, median", value=statistics.median(values), unit="s"))
        rows.append(Row(name=f"{name}, longest", value=max(values), unit="s"))
    return rows


def started(model: str) -> dict[str, float]:
    """Seconds of each phase of one start, until it was ready, and until its first token."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "espalier.runtime.cli", "serve", model, "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        url, phases = _ready(process)
        phases[READY] = time.perf_counter() - began
        phases[TOKEN] = asyncio.run(_first_token(url)) - began
        return phases
    finally:
        process.terminate()
        process.communicate()


def _ready(process: subprocess.Popen[str]) -> tuple[str, dict[str, float]]:
    """The server's address, and what it says of its start."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if (found := _LINE.search(line)) is not None:
            return found[1], phases_of(found[3])
    raise InvalidRequestError(f"the server did not start: {''.join(said)[-500:]}")


def phases_of(text: str) -> dict[str, float]:
    """`imports 1.02, first token 0.10` as a mapping."""
    pairs = (part.rpartition(" ") for part in text.split(", "))
    return {name: float(seconds) for name, _, seconds in pairs}


async def _first_token(url: str) -> float:
    timed = Timed(time.perf_counter())
    connection = Connection(url)
    body = {
        "messages": [{"role": "user", "content": "What is 37 + 48?"}],
        "max_tokens": 1,
        "ignore_eos": True,
        "stream": True,
    }
    await connection.post(PATH, body, timed)
    connection.close()
    if not timed.good:
        raise InvalidRequestError(f"the server gave no token: {timed.fault} {timed.said}")
    return timed.pieces[0]


def folders(model: str) -> list[Path]:
    """What a start reads: Python and its packages, Espalier, and the model's folder."""
    paths = {Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")}
    paths |= {_PACKAGE, Path(sys.executable).resolve()}
    if Path(model).is_dir():
        paths.add(Path(model).resolve())
    return sorted(paths)


def forget(paths: Sequence[Path]) -> None:
    """Have the system drop its copies of these files, and of those in these folders."""
    if not hasattr(os, "posix_fadvise"):
        raise InvalidRequestError("this system has no way to forget files", where="--cold")
    for path in _files(paths):
        with contextlib.suppress(OSError):
            file = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(file)


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_file():
            yield path
        for folder, _, names in os.walk(path):
            yield from (Path(folder) / name for name in names)
