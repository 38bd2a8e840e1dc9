"""Throughput: how fast a number of requests, all there at once, are answered.

Lengths are drawn as those of ShareGPT's conversations are spread (log-normal; in the mean 220
tokens in and 200 out, unless --mean-input and --mean-output say otherwise), or given by --input and
--output. Each engine runs in a process of its own, ours and the peers in the same run:
transformers' `generate` (padded batches of like lengths), its `generate_batch` (continuous
batching), and on a CPU llama.cpp where it is installed. On a CPU figures are per second of CPU
time, on a GPU per second.

examples
  espalier bench offline --requests 16 64 --svg offline.svg
  espalier bench offline --device cuda --shape 8B --requests 256 --peers hf_cb
  espalier bench offline --model FOLDER --input 512 --output 128 --peers none
"""

from __future__ import annotations

import argparse
import math
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InvalidRequestError
from .cpu import PEERS
from .plot import log_log
from .report import Row, finish, parser
from .rivals import OURS, Load, Setting, compared, configure, setting

KNOWN = ("hf", "hf_cb", "llamacpp")
SPREAD = (1.1, 0.9)
"""Of the logarithms of lengths, in and out."""


def main(argv: Sequence[str]) -> int:
    """`espalier bench offline`."""
    options = parser("offline", __doc__ or "", plot="a plot")
    configure(options, KNOWN)
    add = options.add_argument
    add("--requests", type=int, nargs="+", default=[16, 64], metavar="N")
    add("--input", type=int, metavar="TOKENS", help="of every prompt, in place of drawn lengths")
    add("--output", type=int, metavar="TOKENS", help="of every answer, in place of drawn lengths")
    add("--mean-input", type=int, default=220, metavar="TOKENS")
    add("--mean-output", type=int, default=200, metavar="TOKENS")
    add("--longest", type=int, default=2048, metavar="TOKENS", help="of drawn lengths")
    args = options.parse_args(argv)
    _check(args)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        where = setting(args, KNOWN, Path(folder))
        loads = [workload(args, count, where.vocab_size) for count in args.requests]
        for load, found in zip(loads, compared(where, "offline", loads), strict=True):
            rows += _figures(where, load, found)
    if args.svg is not None:
        args.svg.write_text(plot(rows))
    finish("offline", argv, args.json, rows)
    return 0


def _check(args: argparse.Namespace) -> None:
    sizes = (args.input, args.output, args.mean_input, args.mean_output, *args.requests)
    if min(size for size in sizes if size is not None) < 1:
        raise InvalidRequestError(expected="integers >= 1", where="--requests and lengths")
    if args.longest < 2 * max(args.mean_input, args.mean_output):
        raise InvalidRequestError(
            expected="twice the mean lengths or more", got=str(args.longest), where="--longest"
        )
    if args.svg is not None and len(set(args.requests)) < 2:
        raise InvalidRequestError(expected="two numbers of requests to plot", where="--svg")


def lengths(rng: random.Random, count: int, mean: int, spread: float, longest: int) -> list[int]:
    """Log-normal ones from 1 to `longest`, scaled until their mean is what is asked for."""
    drawn = [math.exp(spread * rng.gauss(0, 1)) for _ in range(count)]
    found = [mean] * count
    scale = mean * count / sum(drawn)
    for _ in range(50):
        found = [max(1, min(longest, round(scale * value))) for value in drawn]
        scale *= mean * count / sum(found)
    return found


def workload(args: argparse.Namespace, count: int, vocab_size: int) -> Load:
    """Prompts of random tokens, and how many are to follow each."""
    rng = random.Random(args.seed)
    asked = [
        [given] * count if given else lengths(rng, count, mean, spread, args.longest)
        for given, mean, spread in zip(
            (args.input, args.output), (args.mean_input, args.mean_output), SPREAD, strict=True
        )
    ]
    prompts = [[rng.randrange(3, vocab_size) for _ in range(length)] for length in asked[0]]
    return prompts, asked[1]


def _figures(where: Setting, load: Load, found: dict[str, list[dict[str, Any]]]) -> list[Row]:
    prompts, counts = load
    count = len(prompts)
    ended = {
        f"{PEERS[peer]} (less than)": runs[-1]["unfinished"]
        for peer, runs in found.items()
        if "unfinished" in runs[-1]
    }
    found = {engine: runs for engine, runs in found.items() if "unfinished" not in runs[-1]}
    seconds = {engine: min(run["seconds"] for run in runs) for engine, runs in found.items()}
    shown = {PEERS[peer]: took for peer, took in seconds.items() if peer != OURS} | ended
    read, made = sum(map(len, prompts)), sum(counts)
    name = f"offline/{where.name}/mean {read / count:.0f} in, {made / count:.0f} out"
    figures = {
        "tokens out": (made, f"tokens/{where.unit}s"),
        "tokens in and out": (read + made, f"tokens/{where.unit}s"),
        "requests": (count, f"1/{where.unit}s"),
    }
    rows = [
        Row(
            name=f"{name}/{what} @ {count}",
            value=amount / seconds[OURS],
            unit=unit,
            peers={peer: amount / took for peer, took in shown.items()},
        )
        for what, (amount, unit) in figures.items()
    ]
    own = found[OURS][-1]["tokens"]
    same = {
        PEERS[peer]: agreement(own, runs[-1]["tokens"])
        for peer, runs in found.items()
        if peer != OURS
    }
    if same:
        row = Row(name=f"{name}/tokens as the peer's @ {count}", value=1, unit="share", peers=same)
        rows.append(row)
    return rows


def agreement(ours: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]]) -> float:
    """The share of tokens up to the first that differs; after it two answers are of two texts."""
    equal = 0
    for mine, other in zip(ours, theirs, strict=True):
        for a, b in zip(mine, other, strict=True):
            if a != b:
                break
            equal += 1
    return equal / sum(map(len, ours))


def plot(rows: Sequence[Row]) -> str:
    """Tokens out over requests, a line for each engine, as SVG."""
    lines: dict[str, list[tuple[float, float]]] = {}
    of = [row for row in rows if "/tokens out @ " in row.name]
    for row in of:
        count = float(row.name.rpartition(" @ ")[2])
        for engine, value in {"espalier": row.value, **row.peers}.items():
            lines.setdefault(engine, []).append((count, value))
    title = of[0].name.split("/")[1] + ": throughput"
    return log_log(title, "requests, all at once", of[0].unit, lines)
