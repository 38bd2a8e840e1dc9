"""How much of the shared prefixes is really shared: prompt tokens computed, over the optimum.

The workloads' optimum is exact (every distinct prefix position once, and the last token of each
exact repeat). Each wave of a workload is sent all at once in a shuffled order, or eight requests at
a time in the order given; the next wave waits for it. `no sharing` is what an engine without a
prefix cache computes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvariantError
from ..types import SamplingParams
from .report import Row, data_file, finish, load_module, parser

if TYPE_CHECKING:
    from ..runtime.engine import Engine

Prompt = tuple[int, ...]
Workload = list[list[Prompt]]
ARRIVALS = ("all", "eight")
SCALES = {"null": 1.0, "sprig": 0.25}
NULL_CAPACITY = 1 << 21


def main(argv: Sequence[str]) -> int:
    """`espalier bench prefix`."""
    options = parser("prefix", __doc__ or "")
    options.add_argument(
        "--model", action="append", help="null, sprig, a folder (default: null and sprig)"
    )
    options.add_argument("--scale", type=float, help="of the prompts' lengths (sprig: 0.25)")
    options.add_argument("--only", action="append", metavar="WORKLOAD")
    options.add_argument("--arrival", action="append", choices=ARRIVALS)
    options.add_argument("--page-size", type=int, default=1)
    options.add_argument("--seed", type=int, default=0)
    args = options.parse_args(argv)
    rows: list[Row] = []
    for model in args.model or ["null", "sprig"]:
        scale = args.scale or SCALES.get(model, 1.0)
        for arrival in args.arrival or ARRIVALS:
            measured = measure(model, scale, arrival, args.only, args.page_size, args.seed)
            for row in measured:
                rows.append(row)
                print(f"{row.name}: {row.value:.3f} of the optimum", flush=True)
    finish("prefix", argv, args.json, rows)
    return 0


def measure(
    model: str, scale: float, arrival: str, only: Sequence[str] | None, page: int, seed: int
) -> Iterator[Row]:
    """One row per workload: computed / optimum, unbounded, in a cache flushed before each."""
    from ..runtime.engine import Engine

    yardstick = load_module(data_file("yardsticks/prefix_workloads.py"))
    capacity = NULL_CAPACITY if model == "null" else None
    with Engine(model=model, page_size=page, max_total_tokens=capacity) as engine:
        vocab = min(30_000, engine.info.vocab_size)
        made: dict[str, Workload] = yardstick.workloads(seed=seed, vocab=vocab, scale=scale)
        for name, workload in made.items():
            if only and name not in only:
                continue
            total, optimum = yardstick.optimum(workload)
            computed = run(engine, workload, arrival, seed)
            yield Row(
                name=f"prefix/{Path(model).name}/{arrival}/{name}",
                value=computed / optimum,
                unit="computed/optimal",
                peers={"no sharing": total / optimum},
            )


def run(engine: Engine, workload: Workload, arrival: str, seed: int) -> int:
    """Prompt tokens computed, with what retract computed again."""
    engine.flush_cache()
    shuffled = random.Random(seed)
    params = SamplingParams(max_tokens=1, ignore_eos=True)
    before = engine.stats()["recomputed_tokens"]
    computed = 0
    for wave in workload:
        prompts = [list(prompt) for prompt in wave]
        if arrival == "all":
            shuffled.shuffle(prompts)
        size = len(prompts) if arrival == "all" else 8
        for start in range(0, len(prompts), size):
            results = engine.generate(
                input_ids=prompts[start : start + size], sampling_params=params
            )
            for result in results:
                parts = result.cached_tokens + result.computed_tokens + result.shared_tokens
                if parts != result.prompt_tokens:
                    raise InvariantError(f"P5: {parts} of {result.prompt_tokens} tokens told")
                computed += result.computed_tokens
    again: int = engine.stats()["recomputed_tokens"] - before
    return computed + again
