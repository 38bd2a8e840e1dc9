"""What `espalier top` shows: figures of an engine, sampled now and then, as a table or a line."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from ..radix_cache.view import HotPrefix, TreeView
    from .engine import Engine

_SHOWN = 8
_TEXT_TOKENS = 48


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """An engine at one moment. Rates are per second, since the sample before.

    hit_rate: the part of the prompt tokens since the sample before that needed no computing; None
    where no prompt token was worked on; hit_rate_total: since the engine's start.
    slots: cached, of which pinned and locked by running sequences (both may overlap), and free.
    """

    seconds: float
    running: int
    waiting: int
    generated_per_second: float
    computed_per_second: float
    hit_rate: float | None
    hit_rate_total: float | None
    capacity: int
    free: int
    evictable: int
    pinned: int
    hottest: list[HotPrefix]

    @property
    def in_use(self) -> int:
        """Slots that running sequences hold."""
        return self.capacity - self.free - self.evictable


class Sampler:
    """Takes samples of an engine."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._started = self._at = clock()
        self._before: dict[str, Any] = engine.stats()

    def sample(self) -> Sample:
        """The engine now. Raises EngineDeadError when it is gone."""
        stats = self._engine.stats()
        tree: TreeView = self._engine.tree(hottest=_SHOWN, text_tokens=_TEXT_TOKENS)
        now = self._clock()
        seconds = max(now - self._at, 1e-9)
        since = {name: stats[name] - self._before[name] for name in _COUNTED}
        self._at, self._before = now, stats
        return Sample(
            seconds=now - self._started,
            running=stats["running"],
            waiting=stats["waiting"],
            generated_per_second=since["generated_tokens"] / seconds,
            computed_per_second=since["computed_tokens"] / seconds,
            hit_rate=_hit_rate(since),
            hit_rate_total=_hit_rate(stats),
            capacity=stats["capacity"],
            free=stats["free_slots"],
            evictable=stats["evictable_slots"],
            pinned=stats["pinned_slots"],
            hottest=tree.hottest,
        )


_COUNTED = ("generated_tokens", "cached_tokens", "shared_tokens", "computed_tokens")


def _hit_rate(stats: dict[str, Any]) -> float | None:
    saved = stats["cached_tokens"] + stats["shared_tokens"]
    whole = saved + stats["computed_tokens"]
    return saved / whole if whole else None


def line(sample: Sample) -> str:
    """The sample as one line, for output that is no terminal."""
    parts = [
        f"{sample.seconds:.1f} s",
        f"running {sample.running}",
        f"waiting {sample.waiting}",
        f"{sample.generated_per_second:.0f} tokens/s",
        f"prefill {sample.computed_per_second:.0f} tokens/s",
        f"hit rate {_percent(sample.hit_rate)} ({_percent(sample.hit_rate_total)} in all)",
        f"slots {sample.in_use} in use, {sample.pinned} pinned, {sample.free} free "
        f"of {sample.capacity}",
    ]
    if sample.hottest:
        hot = sample.hottest[0]
        parts.append(f"hottest {hot.recent} x {hot.tokens} tokens {_text(hot, 60)}")
    return "  ".join(parts)


def screen(sample: Sample, title: str) -> Group:
    """The sample as a terminal shows it."""
    figures = Table.grid(padding=(0, 2))
    for _ in range(4):
        figures.add_column()
    rate = f"{sample.generated_per_second:,.0f} tokens/s"
    figures.add_row(f"[b]{title}[/b]", f"{sample.seconds:.1f} s", rate, f"running {sample.running}")
    figures.add_row(
        f"hit rate {_percent(sample.hit_rate)}",
        f"{_percent(sample.hit_rate_total)} in all",
        f"{sample.computed_per_second:,.0f} prefilled/s",
        f"waiting {sample.waiting}",
    )
    cached = sample.capacity - sample.free
    slots = Table.grid(padding=(0, 1))
    slots.add_row(
        "slots",
        ProgressBar(total=sample.capacity, completed=cached, width=32),
        f"{cached:,} of {sample.capacity:,} cached: {sample.in_use:,} in use, "
        f"{sample.pinned:,} pinned",
    )
    return Group(figures, slots, Text(), _prefixes(sample.hottest))


def _prefixes(hottest: list[HotPrefix]) -> Table:
    table = Table(box=None, pad_edge=False, expand=True)
    for name in ("sequences", "running", "tokens"):
        table.add_column(name, justify="right", style="cyan")
    table.add_column("hottest prefixes", no_wrap=True, overflow="ellipsis", ratio=1)
    for hot in hottest:
        table.add_row(str(hot.recent), str(hot.users), f"{hot.tokens:,}", Text(_text(hot, None)))
    return table


def _text(hot: HotPrefix, width: int | None) -> str:
    """One line of the prefix: its text, quoted as Python does, or its ids."""
    if hot.text is not None:
        said = repr(hot.text)
    else:
        ids = [*map(str, hot.head), *(["..."] if hot.tail else []), *map(str, hot.tail)]
        said = " ".join(ids)
    if width is not None and len(said) > width:
        said = said[: width - 1] + "\u2026"
    return said


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.0%}"
