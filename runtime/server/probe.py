"""Whether the model makes tokens: one at a time, however many ask."""

from __future__ import annotations

import asyncio

from ...types import SamplingParams
from ..engine import Engine

READY_SECONDS = 20.0
_PRIORITY = 2**30  # its one token waits for nobody


class Probe:
    """Whoever asks while a token is on its way waits for that one: as it goes before all others,
    one for each who asks would let anybody hold everybody up."""

    def __init__(self) -> None:
        self._going: asyncio.Task[None] | None = None

    async def asked(self, engine: Engine) -> None:
        """Until the engine has made a token. Raises TimeoutError, and what the engine raises."""
        if self._going is None or self._going.done():
            self._going = asyncio.ensure_future(asyncio.wait_for(one_token(engine), READY_SECONDS))
            self._going.add_done_callback(_looked_at)
        await asyncio.shield(self._going)


async def one_token(engine: Engine) -> None:
    """Have the engine make a token, which no totals tell of. Raises what the engine raises."""
    await engine.agenerate(
        input_ids=[[0]],
        sampling_params=SamplingParams(max_tokens=1, ignore_eos=True),
        namespace="health",
        priority=_PRIORITY,
        quiet=True,
    )


def _looked_at(task: asyncio.Task[None]) -> None:
    """Its failure is no news where everybody who asked has left."""
    if not task.cancelled():
        task.exception()
