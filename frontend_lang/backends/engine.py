"""The engine as a backend: a thin adapter around `espalier.Engine`.

The one file of the frontend that may know `runtime`'s client; it imports it for types alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from ...types import Chunk, Result
from .base import Call, Scoring, Tokenizer
from .shared_scores import completed, starts

if TYPE_CHECKING:
    from ...runtime.engine import Engine


def looks_like_engine(value: Any) -> bool:
    """Whether `value` has the engine's methods (a client of another process has them too)."""
    return all(hasattr(value, name) for name in ("agenerate", "astream", "ascore", "tokenizer"))


def _asked(call: Call) -> dict[str, Any]:
    """What a call asks of the engine beside its prompt."""
    return {
        "sampling_params": call.params,
        "grammar": call.grammar,
        "namespace": call.namespace,
        "priority": call.priority,
        "deadline": call.deadline,
        "holds": call.holds,
    }


class EngineBackend:
    """Gives each call to the engine as one request; the engine batches what runs at once."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def tokenizer(self) -> Tokenizer:
        return cast(Tokenizer, self.engine.tokenizer)

    async def generate(self, call: Call) -> Result:
        results = await self.engine.agenerate(input_ids=[call.input_ids], **_asked(call))
        return results[0]

    def stream(self, call: Call) -> AsyncIterator[Chunk]:
        return self.engine.astream(input_ids=call.input_ids, **_asked(call))

    async def score(self, scoring: Scoring) -> list[Result]:
        begins = starts(scoring)
        results = await self.engine.ascore(
            scoring.input_ids,
            begins,
            namespace=scoring.namespace,
            priority=scoring.priority,
            deadline=scoring.deadline,
            deterministic=scoring.deterministic,
            holds=scoring.holds,
        )
        return completed(results, begins)

    def pin(self, input_ids: Sequence[int], namespace: str, ttl: float | None) -> int:
        return self.engine.pin(input_ids, namespace=namespace, ttl=ttl)

    def unpin(self, pin: int) -> None:
        self.engine.unpin(pin)

    def release(self, holds: Sequence[int]) -> None:
        self.engine.release(holds)

    def flush_cache(self) -> int:
        return self.engine.flush_cache()

    def info(self) -> dict[str, Any]:
        return msgspec.structs.asdict(self.engine.info)

    def stats(self) -> dict[str, Any]:
        return self.engine.stats()
