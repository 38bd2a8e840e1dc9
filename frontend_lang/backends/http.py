"""A program's backend over HTTP, to `espalier serve`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from ...errors import NotSupportedError
from ...types import Chunk, Result, SamplingParams
from .base import Call, Scoring, Tokenizer
from .shared_scores import completed, starts

if TYPE_CHECKING:
    from ...runtime.http_client import HTTPClient


class HTTPBackend:
    """Runs programs on the server at `url`: tokens go there and come back, as with an `Engine` in
    this machine, and prefixes are shared there.

        backend = esp.HTTPBackend("http://localhost:30000")
        state = program.run(backend=backend)

    Texts are encoded here, by the server's own tokenizer. Soft pins of living states do not cross:
    what a state has said is evicted like any other prefix, which costs recomputation alone.
    """

    def __init__(self, url: str, *, api_key: str | None = None) -> None:
        try:
            import httpx  # noqa: F401
        except ModuleNotFoundError:
            raise NotSupportedError(
                "HTTPBackend needs httpx, which is not installed",
                where="HTTPBackend",
                hint="pip install 'espalier[serve]'",
            ) from None
        from ...runtime.http_client import HTTPClient

        self.client: HTTPClient = HTTPClient(url, api_key=api_key)

    @property
    def tokenizer(self) -> Tokenizer:
        return cast(Tokenizer, self.client.tokenizer)

    async def generate(self, call: Call) -> Result:
        [result] = await self.client.run(self._ask(call))
        return result

    def stream(self, call: Call) -> AsyncIterator[Chunk]:
        return self.client.stream(self._ask(call, stream=True))

    async def score(self, scoring: Scoring) -> list[Result]:
        from ...runtime.http_protocol import Ask

        begins = starts(scoring)
        results = await self.client.run(
            Ask(
                prompts=scoring.input_ids,
                start=begins,
                params=SamplingParams(deterministic=scoring.deterministic),
                namespace=scoring.namespace,
                priority=scoring.priority,
                deadline=scoring.deadline,
            )
        )
        return completed(results, begins)

    def run_program(self, body: dict[str, Any]) -> dict[str, Any]:
        """POST /v1/programs: a compiled program in one request (compiler/remote.py)."""
        answer: dict[str, Any] = self.client.post_json("/v1/programs", body)
        return answer

    def _ask(self, call: Call, *, stream: bool = False) -> Any:
        from ...runtime.http_protocol import Ask

        return Ask(
            prompts=[call.input_ids],
            params=call.params,
            grammar=call.grammar,
            namespace=call.namespace,
            priority=call.priority,
            deadline=call.deadline,
            stream=stream,
        )

    def pin(self, input_ids: Sequence[int], namespace: str, ttl: float | None) -> int:  # noqa: ARG002
        raise NotSupportedError(
            "pins do not cross HTTP", where="pin", hint="Run the program beside an esp.Engine."
        )

    def unpin(self, pin: int) -> None:
        """There are none."""

    def release(self, holds: Sequence[int]) -> None:
        """There are none."""

    def flush_cache(self) -> int:
        """Forget every cached prefix that nobody uses; the server wants its admin's key for it."""
        return int(json.loads(self.client.post("/flush_cache"))["dropped"])

    def info(self) -> dict[str, Any]:
        told = self._told()
        return {"model": told["model"], **told["engine"]}

    def stats(self) -> dict[str, Any]:
        stats: dict[str, Any] = self._told()["stats"]
        return stats

    def _told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.client.get("/server_info"))
        return found


RuntimeEndpoint = HTTPBackend
"""SGLang's name for it."""
