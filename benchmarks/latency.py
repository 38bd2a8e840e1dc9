"""How long a client waits: for the first token, and between tokens, at a batch size.

All requests of a batch are there at once, with prompts and answers of one length. Percentiles are
over all requests (first token) and all gaps between tokens, of the repetition whose median gap is
the least. Beside transformers' `generate`, in the same run, each engine in a process of its own.
On a CPU times are of its process's CPU, on a GPU by the wall.

examples
  espalier bench latency --batch 1 16 --prompt 256 --output 64 --svg latency.svg
  espalier bench latency --device cuda --shape 8B --batch 1 8 64
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import InvalidRequestError
from .cpu import PEERS
from .plot import log_log
from .report import Row, finish, parser
from .rivals import OURS, Load, Setting, compared, configure, setting

KNOWN = ("hf",)
FIRST, GAP = "first token", "between tokens"
SHARES = (0.5, 0.9, 0.99)


def main(argv: Sequence[str]) -> int:
    """`espalier bench latency`."""
    options = parser("latency", __doc__ or "", plot="a plot")
    configure(options, KNOWN)
    add = options.add_argument
    add("--batch", type=int, nargs="+", default=[1, 16], metavar="N", help="requests at once")
    add("--prompt", type=int, default=256, metavar="TOKENS")
    add("--output", type=int, default=64, metavar="TOKENS")
    args = options.parse_args(argv)
    if min(*args.batch, args.prompt) < 1 or args.output < 2:
        raise InvalidRequestError(
            expected="integers >= 1, and two tokens out or more",
            where="--batch, --prompt, --output",
        )
    if args.svg is not None and len(set(args.batch)) < 2:
        raise InvalidRequestError(expected="two batch sizes or more to plot", where="--svg")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        where = setting(args, KNOWN, Path(folder))
        loads = [workload(args, batch, where.vocab_size) for batch in args.batch]
        for batch, found in zip(args.batch, compared(where, "latency", loads), strict=True):
            rows += _figures(where, batch, found)
    if args.svg is not None:
        args.svg.write_text(plot(rows))
    finish("latency", argv, args.json, rows)
    return 0


def workload(args: argparse.Namespace, batch: int, vocab_size: int) -> Load:
    """Prompts of random tokens, and how many are to follow each."""
    rng = random.Random(args.seed)
    ids = range(3, vocab_size)
    return [rng.choices(ids, k=args.prompt) for _ in range(batch)], [args.output] * batch


def _figures(where: Setting, batch: int, found: dict[str, list[dict[str, Any]]]) -> list[Row]:
    spreads = {
        engine: min((waits(run["came"]) for run in runs), key=lambda of: of[GAP, 0.5])
        for engine, runs in found.items()
        if "unfinished" not in runs[-1]
    }
    args = where.args
    name = f"latency/{where.name}/{args.prompt} in, {args.output} out"
    return [
        Row(
            name=f"{name}/{what}, {_named(share)} @ {batch}",
            value=seconds * 1e3,
            unit=f"{where.unit}ms",
            peers={
                PEERS[peer]: spread[what, share] * 1e3
                for peer, spread in spreads.items()
                if peer != OURS
            },
        )
        for (what, share), seconds in spreads[OURS].items()
    ]


def _named(share: float) -> str:
    return f"p{share * 100:g}" if share else "mean"


def waits(came: Sequence[Sequence[float]]) -> dict[tuple[str, float], float]:
    """Percentiles (0: the mean) of the seconds until the first token and between tokens. came:
    seconds from the start at which each request's tokens came."""
    first = [one[0] for one in came]
    gaps = [after - before for one in came for before, after in pairwise(one)]
    return {
        (what, share): percentile(values, share) if share else statistics.fmean(values)
        for what, values in ((FIRST, first), (GAP, gaps))
        for share in (0, *SHARES)
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of them do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def plot(rows: Sequence[Row]) -> str:
    """Medians over batch sizes, two lines for each engine, as SVG."""
    lines: dict[str, list[tuple[float, float]]] = {}
    of = [row for row in rows if ", p50 @ " in row.name]
    for row in of:
        figure, _, batch = row.name.rpartition(" @ ")
        what = figure.rpartition("/")[2]
        for engine, value in {OURS: row.value, **row.peers}.items():
            lines.setdefault(f"{engine}: {what}", []).append((float(batch), value))
    title = of[0].name.split("/")[1] + ": how long clients wait"
    return log_log(title, "requests at once", of[0].unit, lines)
