"""Programs, interpreted and compiled: prompt tokens computed over the optimum, and what both cost.

Each is the synthetic twin of an example: the same shape, with texts of words drawn at random, so
that what must be computed is known exactly: each position of the prompts' trie once, but for those
whose KV decoding leaves behind, and the last token of a prompt that is cached as a whole. A batch
runs on the null model (no arithmetic, every answer as long as it may be) with a cache that holds
everything, and with one that holds a quarter of the batch's distinct tokens (at least the longest
sequence). `time` is CPU seconds of caller and engine, compiled over interpreted: the best of some
rounds, side by side in one process; what a model would take for the tokens saved is not in it.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..errors import InvariantError
from ..frontend_lang.backends.base import Call, Scoring
from ..frontend_lang.backends.engine import EngineBackend
from ..frontend_lang.state import ProgramState
from ..runtime.engine import Engine
from ..types import Result
from .program_twins import TWINS, Twin
from .report import Row, finish, parser

SIZE, ROUNDS = 64, 3
UNBOUNDED = 1 << 18


class Recording(EngineBackend):
    """The engine, and what was asked of it: each prompt with what it generated."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.asked: list[tuple[list[int], list[int]]] = []
        self.computed = 0

    async def generate(self, call: Call) -> Result:
        result = await super().generate(call)
        self.asked.append((call.input_ids, result.token_ids))
        self.computed += result.computed_tokens
        return result

    async def score(self, scoring: Scoring) -> list[Result]:
        results = await super().score(scoring)
        for ids, result in zip(scoring.input_ids, results, strict=True):
            self.asked.append((ids[:-1], []))  # nobody asks what follows the last token
            self.computed += result.computed_tokens
        return results


def optimum(asked: Sequence[tuple[list[int], list[int]]]) -> tuple[int, int]:
    """Prompt tokens that must be computed, and distinct tokens that are cached at the end."""
    children: dict[tuple[int, int], int] = {}
    decoded: set[int] = set()
    prompts: set[int] = set()
    ends: list[int] = []

    def walk(node: int, ids: Sequence[int], seen: set[int]) -> int:
        for token in ids:
            node = children.setdefault((node, token), len(children) + 1)
            seen.add(node)
        return node

    for ids, generated in asked:
        end = walk(0, ids, prompts)
        ends.append(end)
        walk(end, generated[:-1], decoded)
    repeats = len(ends) - len(set(ends))
    return len(prompts - decoded) + repeats, len(children)


def measure(twin: Twin, size: int = SIZE, rounds: int = ROUNDS) -> list[Row]:
    """The rows of one twin: computed over the optimum of both, and compiled over interpreted."""
    rng = random.Random(twin.name)
    batch = [twin.entry(rng) for _ in range(size)]
    runs = {"interpreted": twin.program, "compiled": twin.program.compile()}
    rows: list[Row] = []
    capacity = UNBOUNDED
    for bound in ("unbounded", "quarter"):
        name = f"programs/{twin.name}/{bound}"
        found = {how: once(program, batch, capacity) for how, program in runs.items()}
        for how, figures in found.items():
            ratio = figures.computed / figures.optimum
            rows.append(Row(name=f"{name}/{how}", value=ratio, unit="computed/optimal"))
        ratio = found["compiled"].computed / found["interpreted"].computed
        rows.append(Row(name=f"{name}/computed", value=ratio, unit="compiled/interpreted"))
        spent: dict[str, list[float]] = {how: [] for how in runs}
        for _ in range(rounds):
            for how, program in runs.items():
                spent[how].append(cpu_seconds(program, batch, capacity))
        if rounds:
            ratio = min(spent["compiled"]) / min(spent["interpreted"])
            rows.append(Row(name=f"{name}/time", value=ratio, unit="compiled/interpreted"))
        if bound == "unbounded":
            capacity = max(found["compiled"].distinct // 4, found["compiled"].longest + 1)
    return rows


class Figures(NamedTuple):
    """Of one batch: prompt tokens computed (what was computed again is counted again), as few as
    there must be, distinct tokens, and those of the longest sequence."""

    computed: int
    optimum: int
    distinct: int
    longest: int


def once(program: Any, batch: Sequence[Any], capacity: int) -> Figures:
    """The figures of one batch."""
    with Engine("null", tokenizer="sprig", inline=True, max_total_tokens=capacity) as engine:
        backend = Recording(engine)
        check(program.run_batch(batch, backend=backend, seed=0))
        again = engine.stats()["recomputed_tokens"]
    least, distinct = optimum(backend.asked)
    longest = max(len(ids) + len(generated) for ids, generated in backend.asked)
    return Figures(backend.computed + again, least, distinct, longest)


def cpu_seconds(program: Any, batch: Sequence[Any], capacity: int) -> float:
    """CPU seconds of one batch, engine and all."""
    with Engine("null", tokenizer="sprig", inline=True, max_total_tokens=capacity) as engine:
        gc.collect()
        gc.freeze()  # the collector is not to go through what earlier runs have left
        try:
            begin = time.process_time()
            check(program.run_batch(batch, backend=engine, seed=0))
            return time.process_time() - begin
        finally:
            gc.unfreeze()


def check(states: Sequence[ProgramState]) -> None:
    """Raise where a program of the batch failed."""
    for state in states:
        error = state.error()
        if error is not None:
            raise InvariantError(f"a twin failed: {error}")


def main(argv: Sequence[str]) -> int:
    """`espalier bench programs`."""
    options = parser("programs", __doc__ or "")
    options.add_argument("--only", action="append", choices=[twin.name for twin in TWINS])
    options.add_argument("--size", type=int, default=SIZE, help="programs in a batch")
    options.add_argument("--rounds", type=int, default=ROUNDS)
    args = options.parse_args(argv)
    rows: list[Row] = []
    for twin in TWINS:
        if not args.only or twin.name in args.only:
            for row in measure(twin, args.size, args.rounds):
                rows.append(row)
                print(f"{row.name}: {row.value:.3f} {row.unit}", flush=True)
    finish("programs", argv, args.json, rows)
    return 0
