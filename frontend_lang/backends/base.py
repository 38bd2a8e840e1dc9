"""What runs a program's calls: the protocol between the interpreter and a backend.

The interpreter turns each `gen` into one `Call` and each `select` into one `Scoring`, with token
ids for a prompt. It awaits them on its own event loop; a backend must not block that loop for
longer than one step of a model. Cancelling the awaiting task cancels the request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from ...errors import EngineError, RequestCancelledError
from ...grammar.spec import GrammarSpec
from ...types import Chunk, Hold, Result, SamplingParams
from ..clock import Clock, clock_of


class Tokenizer(Protocol):
    """What the frontend needs of a tokenizer. adds_bos: a plain text begins with `bos_id`.
    chat_template: None where the model has none, and roles are refused. encode(continues=True): of
    a text that stands behind other tokens. Threads may share it. One with `counts_tokens = False`
    does not know the model's own tokens; what is counted in tokens must come from elsewhere."""

    @property
    def bos_id(self) -> int | None: ...
    @property
    def adds_bos(self) -> bool: ...
    @property
    def eos_ids(self) -> Collection[int]: ...
    @property
    def special_ids(self) -> Collection[int]: ...
    @property
    def chat_template(self) -> object | None: ...

    def encode(
        self,
        text: str,
        *,
        add_bos: bool = False,
        allow_special: bool = False,
        continues: bool = False,
    ) -> list[int]: ...
    def token_bytes(self, id: int, /) -> bytes: ...
    def render_chat(
        self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = False
    ) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Call:
    """One `gen`.

    input_ids: the prompt. name, path, index, where: the variable, the path of forks, the number of
    the call in its state, and the program's line; for scripts and reports, never for the model.
    deadline: seconds from now. holds: soft pins on what the call leaves cached (of n samples, the
    first); a backend without a cache lets them be. ahead: the answer is to go on past where the gen
    ends (ahead.py); a backend that cannot go on with a message may ask for the whole of it and keep
    what stands behind the prompt. seeded: the program named the seed of this call.
    """

    input_ids: list[int]
    params: SamplingParams
    grammar: GrammarSpec | None = None
    namespace: str = ""
    priority: int = 0
    deadline: float | None = None
    name: str | None = None
    path: tuple[int, ...] = ()
    index: int = 0
    where: str = ""
    holds: tuple[Hold, ...] = ()
    ahead: bool = False
    seeded: bool = False


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """One `select`: several sequences, each scored from its `start` on (start >= 1).

    choices: the texts that the sequences stand for, `choice_of[row]` telling which; rows of the
    same choice differ in the end that is scored. tail: the text between `start` and the choices,
    which is encoded with each of them. unconditional: the prompt is left out on purpose.
    deterministic: as in `SamplingParams`.
    """

    input_ids: list[list[int]]
    start: list[int]
    choices: tuple[str, ...]
    choice_of: list[int]
    tail: str = ""
    namespace: str = ""
    priority: int = 0
    deadline: float | None = None
    name: str | None = None
    path: tuple[int, ...] = ()
    index: int = 0
    where: str = ""
    unconditional: bool = False
    deterministic: bool = False
    holds: tuple[Hold, ...] = ()


@runtime_checkable
class Backend(Protocol):
    """Runs calls. Errors are raised as EspalierError; the interpreter adds the program's line. One
    that lives by a time of its own has it as `clock` (clock.py)."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    async def generate(self, call: Call) -> Result:
        """The whole answer; `Result.samples` holds all of them when n > 1."""
        ...

    def stream(self, call: Call) -> AsyncIterator[Chunk]:
        """The answer in pieces; the last chunk carries the `Result`."""
        ...

    async def score(self, scoring: Scoring) -> list[Result]:
        """One Result per sequence, with `prompt_logprobs` of the tokens at positions >= start,
        of the raw logits."""
        ...

    def pin(self, input_ids: Sequence[int], namespace: str, ttl: float | None) -> int:
        """Ask that the cached prefix of these ids be evicted last; the number is for `unpin`."""
        ...

    def unpin(self, pin: int) -> None:
        """Drop a pin."""
        ...

    def release(self, holds: Sequence[int]) -> None:
        """Drop the holds of these keys, without waiting; unknown ones hold nothing."""
        ...

    def flush_cache(self) -> int:
        """Forget every cached prefix that nobody uses; returns how many tokens that were."""
        ...

    def info(self) -> dict[str, Any]:
        """What it is, as plain data."""
        ...

    def stats(self) -> dict[str, Any]:
        """Counters."""
        ...


class Forwarding:
    """What a backend over another one hands on as it is: all but its calls."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    @property
    def clock(self) -> Clock:
        return clock_of(self.backend)

    def pin(self, input_ids: Sequence[int], namespace: str, ttl: float | None) -> int:
        return self.backend.pin(input_ids, namespace, ttl)

    def unpin(self, pin: int) -> None:
        self.backend.unpin(pin)

    def release(self, holds: Sequence[int]) -> None:
        self.backend.release(holds)

    def flush_cache(self) -> int:
        return self.backend.flush_cache()

    def info(self) -> dict[str, Any]:
        return self.backend.info()

    def stats(self) -> dict[str, Any]:
        return self.backend.stats()


def check_result(result: Result) -> None:
    """Raise what a result says went wrong, in whichever of its samples."""
    for sample in result.samples or [result]:
        if sample.error is not None:
            raise sample.error
        if sample.finish_reason == "abort":
            raise RequestCancelledError("the request was aborted", got=repr(sample.text)[:80])
        if sample.finish_reason == "error":
            raise EngineError("the request failed, and its backend does not say why")
