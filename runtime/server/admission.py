"""How many requests may be in work at once, of all keys and of each, and whether new ones may
come."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from .failures import HTTPError, busy, unavailable
from .shares import Shares


class Admission:
    """Counts requests in work. The engine queues what it does not run yet; here that queue is
    bounded, so that whoever comes too much is told so at once. keys: that may come."""

    def __init__(self, limit: int, keys: int = 1) -> None:
        self._shares = Shares(limit, keys)
        self.refused = 0
        self.draining = False
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def inflight(self) -> int:
        """Samples in work."""
        return self._shares.taken

    @property
    def most(self) -> int:
        """Samples that one key may have in work."""
        return self._shares.most

    @contextmanager
    def entered(self, key: str, samples: int = 1) -> Iterator[None]:
        """In work for as long as the block runs. Raises HTTPError: 429, or 503 while draining.

        samples: what the request counts for, as it says itself: more than its key could ever have
        in work at once is refused (400)."""
        samples = max(1, samples)
        if samples > self.most:
            raise HTTPError(
                400,
                f"one request may count for at most {self.most:,} samples, n of each prompt: the "
                "server has no more of a key in work (--max-running, --max-queued-requests)",
                kind="invalid_request_error",
                code="invalid_value",
                param="n",
            )
        if self.draining:
            raise unavailable("the server is shutting down", "shutting_down")
        if not self._shares.take(key, samples):
            self.refused += 1
            raise busy(self.inflight)
        self._empty.clear()
        try:
            yield
        finally:
            self._shares.give(key, samples)
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
