"""Who parses grammars for an engine: the caller's thread, or worker processes
(`grammar_workers.py`)."""

from __future__ import annotations

import select
from typing import Protocol

from ..errors import EspalierError, GrammarError
from ..grammar import ir
from ..grammar.spec import GrammarSpec

Parsed = ir.GrammarIR | EspalierError


class GrammarService(Protocol):
    """Parses grammars."""

    def start(self, spec: GrammarSpec, namespace: str = "") -> None:
        """Begin; `poll` will have the outcome. namespace: whose turn it takes. Never waits."""

    def drop(self, spec: GrammarSpec) -> None:
        """Nobody wants it any more; `poll` may have an outcome all the same."""

    @property
    def busy(self) -> bool:
        """Whether `poll` wants to be called."""
        ...

    def poll(self) -> list[tuple[GrammarSpec, Parsed]]:
        """Outcomes since the last call. Never waits."""
        ...

    def register(self, poll: select.poll) -> None:
        """Have `poll` return as soon as calling ours may bring something about."""

    def close(self) -> None:
        """End it."""


def parse_safely(spec: GrammarSpec) -> Parsed:
    """Parse, with every failure as a typed error."""
    from ..grammar.frontend import parse

    try:
        return parse(spec)
    except EspalierError as error:
        return error
    except RecursionError:
        return GrammarError("the grammar is nested too deeply", where=spec.kind)
    except MemoryError:
        return GrammarError(
            "the grammar takes more memory than a grammar may", where=spec.kind, hint="Simplify it"
        )
    except Exception as error:  # a bug of ours: it fails this grammar, not the engine (P4)
        return GrammarError(
            f"the grammar could not be read: {type(error).__name__}: {error}", where=spec.kind
        )


class InlineGrammars:
    """Parses in the caller's thread (for `Engine(inline=True)`)."""

    def __init__(self) -> None:
        self._done: list[tuple[GrammarSpec, Parsed]] = []

    def start(self, spec: GrammarSpec, namespace: str = "") -> None:  # noqa: ARG002
        self._done.append((spec, parse_safely(spec)))

    def drop(self, spec: GrammarSpec) -> None:
        self._done = [(known, parsed) for known, parsed in self._done if known != spec]

    @property
    def busy(self) -> bool:
        return bool(self._done)

    def poll(self) -> list[tuple[GrammarSpec, Parsed]]:
        done, self._done = self._done, []
        return done

    def register(self, poll: select.poll) -> None:
        """It has nothing to wait for."""

    def close(self) -> None:
        self._done.clear()
