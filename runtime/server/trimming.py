"""Memory that requests have left goes back to the system once nobody asks for anything: malloc
keeps what was freed for whoever comes next, hundreds of megabytes after a few large bodies.

And garbage in cycles is looked for by the bytes that bodies had: Python counts its objects, and one
list of a million numbers is one.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

from ..host_memory import give_back_memory
from .threads import in_thread

QUIET = 5.0
"""Seconds after a request until it is looked whether others are in work."""
_MUCH = 64 << 20  # bytes of long bodies


class Trimmer:
    """busy: whether anything is in work. One look is planned at a time, and none while nobody
    comes."""

    def __init__(self, busy: Callable[[], object]) -> None:
        self._busy = busy
        self._planned: asyncio.AbstractEventLoop | None = None
        self._bytes = 0

    def ended(self, size: int) -> None:
        """A request has ended, on the running event loop. size: bytes of its body, if it was
        long."""
        self._bytes += size
        if self._bytes > _MUCH:
            self._collect()
        loop = asyncio.get_running_loop()
        if self._planned is not loop:
            self._planned = loop
            loop.call_later(QUIET, self._look)

    def _collect(self) -> None:
        self._bytes = 0
        gc.collect()

    def _look(self) -> None:
        self._planned = None
        if self._busy():
            self.ended(0)
            return
        self._collect()
        in_thread(give_back_memory, "espalier-trimmer")
