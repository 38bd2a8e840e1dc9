"""What each part of the language and its runtime is good for: one at a time taken away.

The ablation of SGLang's paper (Zheng et al., 2024, section 6.3), on our synthetic twins of programs
(program_twins.py) before a modelled device (device.py), with a cache that holds a quarter of the
batch's distinct tokens (at least the longest sequence). Throughput is programs per second of the
device, over that of `full`; the CPU's time is left out.

  no cache        the engine shares nothing (enable_radix_cache=False)
  no tree         a table instead of a tree: each state finds what it said itself, and no other's
  FCFS, random    who waits is let in as it came, or as drawn (schedule_policy)
  no parallelism  each call is done before the function goes on (use_thread=False)
  no hint         no holds on what living states have said, no order of the batch
  full            programs interpreted, with all of these
  compiled        the same programs as graphs, whose batch knows what it will need

What was to be taken away is looked at after each run; a run that had it nevertheless is an error.
"""

from __future__ import annotations

import dataclasses
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InvariantError
from ..frontend_lang.backends.base import Call, Scoring
from ..runtime.engine import Engine
from ..types import Result
from .bars import bars
from .device import Clock, Device
from .program_twins import TWINS, Twin
from .programs import UNBOUNDED, Recording, check, once
from .report import Row, finish, parser

SIZE, ROUNDS = 64, 3
DEFAULT = (
    "tree_of_thought", "skeleton_of_thought", "judge", "self_consistency", "chat", "few_shot",
)  # fmt: skip


class Watched(Recording):
    """A backend that leaves out what it is told, and takes note of what came through.

    tables: each state has a namespace of its own. hints: holds are passed on. most: calls at once.
    found: tokens that states' first calls found.
    """

    def __init__(self, engine: Engine, *, tables: bool, hints: bool) -> None:
        super().__init__(engine)
        self._tables = tables
        self._hints = hints
        self.cached = self.shared = self.held = self.found = 0
        self.most = self._now = 0

    async def generate(self, call: Call) -> Result:
        found: Result = await self._count(super().generate, self._changed(call), lambda one: [one])
        if not call.index:  # the state has said nothing yet that it could find
            self.found += found.cached_tokens + found.shared_tokens
        return found

    async def score(self, scoring: Scoring) -> list[Result]:
        found: list[Result] = await self._count(super().score, self._changed(scoring), list)
        return found

    def _changed(self, asked: Any) -> Any:
        if self._tables:
            asked = dataclasses.replace(asked, namespace=f"state {asked.holds[0].key}")
        if not self._hints:
            asked = dataclasses.replace(asked, holds=())
        self.held += len(asked.holds)
        return asked

    async def _count(
        self, ask: Callable[[Any], Any], asked: Any, results: Callable[[Any], list[Result]]
    ) -> Any:
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            answer = await ask(asked)
        finally:
            self._now -= 1
        self.cached += sum(result.cached_tokens for result in results(answer))
        self.shared += sum(result.shared_tokens for result in results(answer))
        return answer


@dataclass(frozen=True)
class Configuration:
    """One column. engine, run: options of the two. compiled: by the graph."""

    name: str
    engine: Mapping[str, Any] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)
    tables: bool = False
    hints: bool = True
    compiled: bool = False

    def check(self, engine: Engine, seen: Watched, programs: int) -> None:
        """Raise InvariantError if a run had what this one takes away."""
        config = engine.link.core.scheduler.config  # type: ignore[attr-defined]  # it is inline
        had = {
            "a cache": not self.engine.get("enable_radix_cache", True)
            and bool(seen.cached or seen.shared),
            "another order": config.policy != self.engine.get("schedule_policy", "lpm"),
            "calls of one program at once": self.run.get("use_thread") is False
            and seen.most > programs,
            "holds": not self.hints and bool(seen.held),
            "what other states had said": self.tables and bool(seen.found),
        }
        for what, was in had.items():
            if was:
                raise InvariantError(f"the run of {self.name!r} had {what}")


CONFIGURATIONS = (
    Configuration("no cache", engine={"enable_radix_cache": False}),
    Configuration("no tree", tables=True),
    Configuration("FCFS", engine={"schedule_policy": "fcfs"}),
    Configuration("random", engine={"schedule_policy": "random"}),
    Configuration("no parallelism", run={"use_thread": False}),
    Configuration("no hint", run={"order": "given"}, hints=False),
    Configuration("full"),
    Configuration("compiled", compiled=True),
)


@dataclass(frozen=True)
class Taken:
    """What one run took: seconds of the device, and prompt tokens computed."""

    seconds: float
    computed: int


def take(configuration: Configuration, twin: Twin, batch: Sequence[Any], capacity: int) -> Taken:
    """One run of a batch. Raises InvariantError where the configuration was not honoured."""
    clock = Clock()
    program: Any = twin.program.compile() if configuration.compiled else twin.program
    options = {"max_total_tokens": capacity, **configuration.engine}
    with Engine("null", tokenizer="sprig", inline=True, **options) as engine:
        engine.link.core._runner = Device(clock)  # type: ignore[attr-defined]  # it is inline
        seen = Watched(engine, tables=configuration.tables, hints=configuration.hints)
        check(program.run_batch(batch, backend=seen, seed=0, **configuration.run))
        configuration.check(engine, seen, len(batch))
        again = engine.stats()["recomputed_tokens"]
    return Taken(clock.now, seen.computed + again)


def measure(twin: Twin, size: int = SIZE, rounds: int = ROUNDS) -> list[Row]:
    """The rows of one twin: throughput over that of `full`, and computed over the optimum."""
    rng = random.Random(twin.name)
    batch = [twin.entry(rng) for _ in range(size)]
    known = once(twin.program, batch, UNBOUNDED)
    capacity = max(known.distinct // 4, known.longest + 1)
    took: dict[str, list[Taken]] = {c.name: [] for c in CONFIGURATIONS}
    for _ in range(rounds):
        for configuration in CONFIGURATIONS:
            took[configuration.name].append(take(configuration, twin, batch, capacity))
    median = {name: statistics.median(t.seconds for t in runs) for name, runs in took.items()}
    rows = []
    for name, runs in took.items():
        row = f"ablation/{twin.name}/{name}"
        rows.append(Row(name=row, value=median["full"] / median[name], unit="throughput of full"))
        computed = statistics.median(taken.computed for taken in runs) / known.optimum
        rows.append(Row(name=f"{row}/computed", value=computed, unit="computed/optimal"))
    return rows


def plot(rows: Sequence[Row]) -> str:
    """Throughput as bars, a group per program."""
    groups: dict[str, dict[str, float]] = {}
    for row in rows:
        if row.unit == "throughput of full":
            _, twin, name = row.name.split("/")
            groups.setdefault(twin, {})[name] = row.value
    return bars("One part at a time taken away", "throughput over that of all parts", groups)


def main(argv: Sequence[str]) -> int:
    """`espalier bench ablation`."""
    options = parser("ablation", __doc__ or "", plot="a plot")
    options.add_argument("--only", action="append", choices=[twin.name for twin in TWINS])
    options.add_argument("--size", type=int, default=SIZE, help="programs in a batch")
    options.add_argument("--rounds", type=int, default=ROUNDS)
    args = options.parse_args(argv)
    rows: list[Row] = []
    by_name = {twin.name: twin for twin in TWINS}
    for name in args.only or DEFAULT:
        for row in measure(by_name[name], args.size, args.rounds):
            rows.append(row)
            print(f"{row.name}: {row.value:.3f} {row.unit}", flush=True)
    if args.svg is not None:
        args.svg.write_text(plot(rows))
    finish("ablation", argv, args.json, rows)
    return 0
