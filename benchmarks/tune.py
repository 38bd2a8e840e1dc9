"""Finds the fastest tiles of attention for a shape on a device, by trying one change at a time."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..kernels.tuned import DEFAULT, Tiles

CHOICES: dict[str, tuple[int, ...]] = {
    "keys": (32, 64, 128),
    "warps": (2, 4, 8),
    "stages": (2, 3, 4),
    "split": (128, 256, 512, 1024),
    "many": (32, 64, 128),
    "merged": (8, 16, 32),
}
"""What is tried for each, in this order."""


def fastest(
    cost: Callable[[Tiles], float], seconds: float, start: Tiles = DEFAULT
) -> tuple[Tiles, float]:
    """The best found within so many seconds, and its cost. cost: raises for tiles that the device
    cannot run (too much shared memory, say), which then are not the best."""
    end = time.monotonic() + seconds
    best, least, seen = start, cost(start), {start}
    for name, values in CHOICES.items():
        for value in values:
            tiles = best._replace(**{name: value})
            if tiles in seen or not tiles.fits or time.monotonic() >= end:
                continue
            seen.add(tiles)
            try:
                found = cost(tiles)
            except Exception as error:
                print(f"  {tiles}: {type(error).__name__}", flush=True)
                continue
            if found < 0.99 * least:  # more than noise
                best, least = tiles, found
                print(f"  {tiles}: {found:.1f}", flush=True)
    return best, least
