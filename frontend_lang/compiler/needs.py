"""What one run of a batch wants cached at a time, from the sizes of its arguments.

The graph is walked once without arguments and once for each of them (bounds.py); between those the
need grows in proportion to the arguments' tokens. The constant prefix is the batch's (prefix.py);
what a run shares beyond it with the one before, up to the first argument that differs, is counted
once.

An argument's tokens are counted for every eighth run, and told by its length in between. What gens
and functions really said is learnt from the runs that have ended; until one has, what functions may
say counts as twice the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...errors import EspalierError
from ..session import Machine
from . import ir
from .bounds import bounds

_STEP = 1024
_COUNTED = 8
_MARGIN = 1.05
_UNSURE = 3.0


class Needs:
    """The needs of one batch's runs, asked in the order in which they begin. known: False where a
    function says what the only call is about: who shares what, the engine's queue finds better."""

    def __init__(
        self, graph: ir.Graph, machine: Machine, defaults: Mapping[str, Any], prefix: int = 0
    ) -> None:
        self._encoder = machine.encoder
        self._names = [parameter.name for parameter in graph.parameters]
        self._prefix = prefix
        self._distinct = 0
        self._before: Mapping[str, Any] | None = None
        self._slopes: dict[str, float] = {}
        self._rates: dict[str, float] = {}
        self._runs = 0
        self._lead: list[tuple[str | None, int]] = []
        self._base = 0
        self.known = True
        self._unsure = False
        self._predicted = self._grown = 0
        try:
            empty = bounds(graph, machine.encoder, machine.chat, None, defaults)
            self._base, self._lead, self._distinct = empty.peak, empty.lead, empty.distinct
            self._unsure = any(name.endswith("()") for name in empty.missing)
            self.known = not self._unsure or len(empty.calls) > 1
            for name in self._names:
                grown = bounds(graph, machine.encoder, machine.chat, {name: _STEP}, defaults)
                self._slopes[name] = max(0.0, (grown.peak - empty.peak) / _STEP)
        except EspalierError:  # the runs will say so themselves
            return

    def learn(self, arguments: Mapping[str, Any], grown: int) -> None:
        """A run with these arguments came to so many distinct tokens."""
        sizes = sum(self._rate(name, _text(arguments.get(name, ""))) for name in self._slopes)
        self._predicted += self._distinct + sizes
        self._grown += grown

    def of(self, arguments: Mapping[str, Any]) -> int:
        """Tokens beside the constant prefix, and those that the run before this one wants, too."""
        sizes = {
            name: self._size(name, _text(arguments[name]))
            for name, slope in self._slopes.items()
            if slope and name in arguments
        }
        need = self._base + sum(self._slopes[name] * size for name, size in sizes.items())
        shared = self._prefix
        if self._before is not None:
            for name, before in self._lead:
                told = before + sum(sizes.get(each, 0) for each in self._said_before(name))
                shared = max(shared, told)
                if name is not None and not _same(arguments.get(name), self._before.get(name)):
                    break
        self._before = arguments
        self._runs += 1
        if self._predicted:
            need *= _MARGIN * self._grown / self._predicted
        elif self._unsure:
            need *= _UNSURE
        return max(0, round(need) - shared)

    def _size(self, name: str, text: str) -> int:
        if self._runs % _COUNTED == 0 and text:
            tokens = len(self._encoder.run(text))
            self._rates[name] = max(tokens / len(text), self._rates.get(name, 0.0))
            return tokens
        return self._rate(name, text)

    def _rate(self, name: str, text: str) -> int:
        return math.ceil(self._rates.get(name, 1.0) * len(text))

    def _said_before(self, name: str | None) -> list[str]:
        names = [each for each, _ in self._lead]
        return [each for each in names[: names.index(name)] if each is not None]


def _same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # an array is neither equal nor not
        return one is other


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # its run says so
        return ""
