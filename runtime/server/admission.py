"""How many requests may be in work at once, and whether new ones may come."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from .failures import HTTPError, busy, unavailable


class Admission:
    """Counts requests in work. The engine queues what it does not run yet; here that queue is
    bounded, so that whoever comes too much is told so at once."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.inflight = 0
        self.refused = 0
        self.draining = False
        self._empty = asyncio.Event()
        self._empty.set()

    @contextmanager
    def entered(self, samples: int = 1) -> Iterator[None]:
        """In work for as long as the block runs. Raises HTTPError: 429, or 503 while draining.

        samples: what the request counts for, as it says itself: more than could ever be in work at
        once is refused (400)."""
        samples = max(1, samples)
        if samples > self.limit:
            raise HTTPError(
                400,
                f"one request may count for at most {self.limit:,} samples, n of each prompt: the "
                "server has no more in work at once (--max-running, --max-queued-requests)",
                kind="invalid_request_error",
                code="invalid_value",
                param="n",
            )
        if self.draining:
            raise unavailable("the server is shutting down", "shutting_down")
        if self.inflight + samples > self.limit:
            self.refused += 1
            raise busy(self.limit)
        self.inflight += samples
        self._empty.clear()
        try:
            yield
        finally:
            self.inflight -= samples
            if not self.inflight:
                self._empty.set()

    async def drain(self, seconds: float) -> bool:
        """Take nobody new; wait for those in work. False if some are left after `seconds`."""
        self.draining = True
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True
