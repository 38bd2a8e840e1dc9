"""The compiled grammars of an engine: by content, so that the same spec compiles once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from ..errors import EspalierError, GrammarError, InvalidRequestError
from ..grammar.spec import GrammarSpec

if TYPE_CHECKING:
    from ..grammar.compiler import CompiledGrammar, GrammarCompiler
    from .grammar_service import GrammarService

_T = TypeVar("_T")


class Grammars(Generic[_T]):
    """Requests (`_T`) wait here for their grammar while a `GrammarService` parses it."""

    def __init__(self, compiler: GrammarCompiler | None, service: GrammarService | None) -> None:
        self.compiler = compiler
        self._service = service
        self._waiting: dict[GrammarSpec, dict[_T, None]] = {}

    @property
    def waiting(self) -> list[_T]:
        return [who for group in self._waiting.values() for who in group]

    @property
    def busy(self) -> bool:
        """Whether `poll` wants to be called."""
        return self._service is not None and self._service.busy

    def get(self, spec: GrammarSpec, who: _T, namespace: str = "") -> CompiledGrammar | None:
        """The grammar if it is compiled; else None, and `poll` will bring it for `who`, in whose
        `namespace`'s turn it is parsed.

        Raises InvalidRequestError where there is no vocabulary to compile for.
        """
        if self.compiler is None or self._service is None:
            raise InvalidRequestError(
                "a grammar needs a tokenizer, and this engine has none", where="grammar"
            )
        known = self.compiler.find(spec)
        if known is not None:
            return known
        waiting = self._waiting.get(spec)
        if waiting is not None:
            waiting[who] = None
            return None
        self._waiting[spec] = {who: None}
        self._service.start(spec, namespace)
        return None

    def leave(self, spec: GrammarSpec, who: _T) -> None:
        """Who waited for a grammar waits no longer."""
        waiting = self._waiting.get(spec, {})
        if who in waiting:
            del waiting[who]
            if not waiting:
                del self._waiting[spec]
                if self._service is not None:
                    self._service.drop(spec)

    def poll(self) -> list[tuple[_T, CompiledGrammar | EspalierError]]:
        """Who has waited long enough, with the grammar or what is wrong with it."""
        if self._service is None or not self._service.busy:
            return []
        ready: list[tuple[_T, CompiledGrammar | EspalierError]] = []
        for spec, parsed in self._service.poll():
            waiting = self._waiting.pop(spec, None)
            if waiting is None:
                continue  # all have left
            compiled: CompiledGrammar | EspalierError
            if isinstance(parsed, EspalierError):
                compiled = parsed
            else:
                assert self.compiler is not None
                try:
                    compiled = self.compiler.load(parsed, spec)
                except EspalierError as error:
                    compiled = error
                except Exception as error:  # a bug of ours: it fails this grammar alone (P4)
                    compiled = GrammarError(
                        f"the grammar could not be built: {type(error).__name__}: {error}",
                        where=spec.kind,
                    )
            ready.extend((who, compiled) for who in waiting)
        return ready
