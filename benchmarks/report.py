"""What every benchmark writes: rows of one form, as a table on the terminal and as JSON.

A row names what was measured, its value and unit, the same figure for each peer in the same run,
and what it takes to measure it again: machine, versions, commit, command.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from .. import __version__
from ..errors import EspalierError, InvalidRequestError
from ..runtime.cli_flags import Parser, file_to_write

PACKAGES = (
    "torch", "triton", "transformers", "numpy", "tokenizers", "msgspec", "xgrammar", "llguidance",
    "outlines_core", "sglang",
)  # fmt: skip


@dataclass(kw_only=True)
class Row:
    """One figure. peers: the same figure of others, measured side by side in this run."""

    name: str
    value: float
    unit: str
    peers: dict[str, float] = field(default_factory=dict)


@dataclass(kw_only=True)
class Place:
    """Where and how a run was made."""

    machine: str
    versions: dict[str, str]
    commit: str
    command: str


def parser(name: str, description: str, *, plot: str | None = None) -> Parser:
    """A benchmark's command line, with the options they all have. plot: what --svg draws."""
    made = Parser(
        prog=f"espalier bench {name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--json", type=file_to_write, metavar="FILE", help="write the rows there")
    if plot is not None:
        made.add_argument("--svg", type=file_to_write, metavar="FILE", help=plot)
    return made


def check_only(only: Sequence[str] | None, known: Sequence[str]) -> None:
    """Raise InvalidRequestError for a name after `--only` that is not known."""
    for name in only or ():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise InvalidRequestError(
                expected=f"one of {', '.join(known)}",
                got=repr(name),
                where="--only",
                hint=f"Did you mean {near[0]}?" if near else None,
            )


_OWN = {"--json", "--svg", "--models", "--peers"}
"""Options that name a folder of whoever ran it, and change no figure."""


def place(name: str, argv: Sequence[str]) -> Place:
    """This run's machine, versions, commit and command."""
    versions = {"python": platform.python_version(), "espalier": __version__}
    versions |= {package: _version(package) for package in PACKAGES}
    kept = [
        text for before, text in zip(["", *argv], argv, strict=False) if not _OWN & {before, text}
    ]
    return Place(
        machine=machine(),
        versions={package: version for package, version in versions.items() if version},
        commit=commit(),
        command=shlex.join(["espalier", "bench", name, *kept]),
    )


def finish(name: str, argv: Sequence[str], json_file: Path | None, rows: Sequence[Row]) -> None:
    """Print the rows as a table, and write them where `--json` asks. Raises EspalierError where
    there are none."""
    if not rows:
        raise EspalierError("nothing was measured", where=f"espalier bench {name}")
    print(table(rows))
    save(name, argv, json_file, rows)
    if json_file is not None:
        print(f"{len(rows)} rows written to {json_file}")


def save(name: str, argv: Sequence[str], json_file: Path | None, rows: Sequence[Row]) -> None:
    """Write the rows so far where `--json` asks: a run that is ended leaves what it had found."""
    if json_file is None:
        return
    where = dataclasses.asdict(place(name, argv))
    written = [dataclasses.asdict(row) | where for row in rows]
    json_file.write_text(json.dumps(written, indent=1) + "\n")


def table(rows: Sequence[Row]) -> str:
    """One line a row, one column a peer."""
    peers = list(dict.fromkeys(peer for row in rows for peer in row.peers))
    lines = [["", "value", *peers, "unit"]]
    for row in rows:
        others = [number(row.peers[peer]) if peer in row.peers else "-" for peer in peers]
        lines.append([row.name, number(row.value), *others, row.unit])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = []
    for name, *cells, unit in lines:
        middle = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=False)]
        aligned.append("  ".join([name.ljust(widths[0]), *middle, unit]).rstrip())
    return "\n".join(aligned)


def number(value: float) -> str:
    """Counts and what is above 1,000 in full, with thousands separated; else three digits."""
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".")


def machine() -> str:
    """The processor, its cores, and the GPU where torch sees one."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    text = f"{model}, {os.cpu_count()} cores"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        text += f", {torch.cuda.get_device_name()}"
    return text


@cache
def commit() -> str:
    """The checkout's commit, `+` when files differ from it that are no figures, which a run before
    may have written; the version where there is no git."""
    try:
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":/", *_FIGURES)
        return _git("describe", "--always", "--exclude=*") + "+" * bool(changed)
    except (OSError, subprocess.CalledProcessError):
        return f"espalier {__version__}"


_FIGURES = ":(top,exclude)benchmarks/results", ":(top,exclude)docs/GPU.md"


def _git(*asked: str) -> str:
    folder = Path(__file__).resolve().parent
    told = subprocess.run(["git", *asked], cwd=folder, capture_output=True, text=True, check=True)
    return told.stdout.strip()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def data_file(name: str) -> Path:
    """A file under ESPALIER_DATA. Raises InvalidRequestError where there is none."""
    folder = os.environ.get("ESPALIER_DATA")
    if folder and (Path(folder) / name).exists():
        return Path(folder) / name
    raise InvalidRequestError(
        "this benchmark needs data that is not part of the package",
        expected=f"a folder with {name}",
        got=f"ESPALIER_DATA={folder}" if folder else "ESPALIER_DATA unset",
        where="ESPALIER_DATA",
        hint="See CONTRIBUTING.md.",
    )


def load_module(path: Path) -> ModuleType:
    """A Python file of the data folder as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a result file."""
    rows: list[dict[str, Any]] = json.loads(path.read_text())
    return rows
