"""Memory that requests have left goes back to the system once nobody asks for anything: malloc
keeps what was freed for whoever comes next, hundreds of megabytes after a few large bodies.

And garbage in cycles is looked for by the bytes that bodies had: Python counts its objects, and one
list of a million numbers is one.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import Callable

from .threads import in_thread

QUIET = 5.0
"""Seconds after a request until it is looked whether others are in work."""
_MUCH = 64 << 20  # bytes of long bodies


def malloc_trim() -> Callable[[int], int] | None:
    """glibc's; None where the C library has none."""
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
    return found


class Trimmer:
    """busy: whether anything is in work. One look is planned at a time, and none while nobody
    comes."""

    def __init__(self, busy: Callable[[], object]) -> None:
        self._busy = busy
        self._trim = malloc_trim()
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
        if (trim := self._trim) is not None:
            in_thread(lambda: trim(0), "espalier-trimmer")
