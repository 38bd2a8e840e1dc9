"""Every error Espalier raises, in one tree.

    EspalierError
    ├── InvalidRequestError      a prompt, parameter or option that cannot be (also a ValueError)
    ├── NotSupportedError        understood, and not built (yet) or refused on purpose
    ├── GrammarError             a grammar that is wrong, empty, or cannot be enforced exactly
    ├── ModelLoadError           a model folder that cannot be loaded
    ├── EngineError              the runtime failed this request
    │   ├── EngineDeadError      the engine's process is gone
    │   ├── OutOfSlotsError      the KV cache cannot hold this request
    │   ├── RequestCancelledError
    │   ├── DeadlineError
    │   └── APIError             a remote API failed this request
    │       ├── RateLimitError
    │       ├── AuthenticationError
    │       ├── ContextLengthError
    │       ├── ServerError
    │       └── APITimeoutError
    ├── ProgramError             a DSL program failed, with the program's file and line
    │   ├── VariableError        a variable read before it exists, or set twice
    │   ├── BranchError          a fork's branch failed
    │   └── IncompleteError      a typed or constrained value that was cut before its end
    └── InvariantError           `check_invariants()` found a broken one (a bug in Espalier)

An error says what was expected, what came, where, and what to do. The four parts are kept apart in
`expected`, `got`, `where` and `hint`, so that servers and tests need not parse the message.
"""

from __future__ import annotations


class EspalierError(Exception):
    """Root of the tree.

    `message` alone makes a plain error; the four parts are added to it where they are given.
    """

    def __init__(
        self,
        message: str = "",
        *,
        expected: str | None = None,
        got: str | None = None,
        where: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.message = message
        self.expected = expected
        self.got = got
        self.where = where
        self.hint = hint
        super().__init__(str(self))

    def __str__(self) -> str:
        parts = [self.message] if self.message else []
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        if self.got is not None:
            parts.append(f"got {self.got}")
        text = ", ".join(parts)
        if self.where is not None:
            text += f" (at {self.where})"
        if self.hint is not None:
            text += f". {self.hint}"
        return text

    def to_wire(self) -> dict[str, str | None]:
        """The error as plain strings, for crossing a process border; `from_wire` is its inverse.

        A part's own subclass crosses as the class of this file that it is one of."""
        public = next(kind for kind in type(self).__mro__ if kind.__module__ == __name__)
        return {
            "type": public.__name__,
            "message": self.message,
            "expected": self.expected,
            "got": self.got,
            "where": self.where,
            "hint": self.hint,
        }

    def __reduce__(self) -> tuple[object, ...]:
        return (from_wire, (self.to_wire(),))


class InvalidRequestError(EspalierError, ValueError):
    """A prompt, parameter or option that cannot be."""


class NotSupportedError(EspalierError):
    """Understood, and not built (yet) or refused on purpose; the hint names what to use instead."""


class GrammarError(EspalierError, ValueError):
    """A grammar that is wrong, matches nothing, or cannot be enforced exactly.

    `where` is a JSON pointer (schemas) or `column N` (regexes).
    """


class ModelLoadError(EspalierError):
    """A model folder that cannot be loaded; names the file, the tensor and what to do."""


class EngineError(EspalierError):
    """The runtime failed this request; its neighbours go on."""


class EngineDeadError(EngineError):
    """The engine's process is gone."""


class OutOfSlotsError(EngineError):
    """The KV cache cannot hold this request, even alone."""


class RequestCancelledError(EngineError):
    """The request was cancelled by its owner."""


class DeadlineError(EngineError):
    """The deadline passed before the first token."""


class APIError(EngineError):
    """A remote API failed this request, or answered what it was not asked.

    status: the HTTP status, where there was one. retry_after: the seconds that it asked to wait.
    """

    status: int | None = None
    retry_after: float | None = None


class RateLimitError(APIError):
    """Too many requests or tokens for this key, or a quota that is used up."""


class AuthenticationError(APIError):
    """The API does not know the key, or does not let it do this."""


class ContextLengthError(APIError):
    """The prompt, or the prompt and what may follow it, is longer than the model reads."""


class ServerError(APIError):
    """The API failed, was overloaded or unreachable, or broke its answer off."""


class APITimeoutError(APIError):
    """The API did not answer in the time that its backend waits."""


class ProgramError(EspalierError):
    """A DSL program failed; `where` is `file:line` of the program."""


class VariableError(ProgramError, KeyError):
    """A variable read before it exists, or set twice."""

    __str__ = EspalierError.__str__


class BranchError(ProgramError):
    """A fork's branch failed; the branch's own error is the cause."""


class IncompleteError(ProgramError):
    """A typed or constrained value that was cut (length, stop string, deadline) before its end.

    text: what there is of it, where a program's read raises this.
    """

    text: str | None = None


class InvariantError(EspalierError, AssertionError):
    """A broken invariant: a bug in Espalier. The message begins with the invariant's name."""


def _tree(root: type[EspalierError]) -> dict[str, type[EspalierError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found.update(_tree(child))
    return found


def from_wire(data: dict[str, str | None]) -> EspalierError:
    """Rebuild an error from `to_wire`'s strings. Unknown types become `EngineError`."""
    kind = _tree(EspalierError).get(data["type"] or "", EngineError)
    return kind(
        data["message"] or "",
        expected=data["expected"],
        got=data["got"],
        where=data["where"],
        hint=data["hint"],
    )
