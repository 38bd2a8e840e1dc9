"""Runs of 64-bit integers as `bytes`: how nodes hold their keys and slots.

A node's run is compared far more often than it is read. `bytes` compare with one memcmp
(`bytes.startswith(run, offset)`, no copy), cost 33 bytes beside the data (an ndarray: 112), hash
for dicts with a keyed hash that a hostile prompt cannot collide, and, unlike views, never keep a
longer parent array alive. numpy sees them without copying through `as_array`.

Positions called `at` count bytes; everything public counts tokens.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import InvalidRequestError

Ints = npt.NDArray[np.int64]

WIDTH = 8  # bytes per token or slot
_INT64 = np.dtype(np.int64)
_FIRST_BLOCK = 64  # tokens; most mismatches lie early, and a block that agrees is looked at once


def to_run(values: Ints, start: int = 0) -> bytes:
    """The bytes of `values[start:]`; raises InvalidRequestError unless 1-d int64."""
    if (values.dtype is not _INT64 and values.dtype != _INT64) or values.ndim != 1:
        raise InvalidRequestError(
            expected="a 1-d int64 array",
            got=f"{values.ndim}-d {values.dtype}",
            where="radix_cache",
        )
    return values[start:].tobytes() if start else values.tobytes()


def as_array(run: bytes) -> Ints:
    """A read-only int64 view of a run."""
    return np.frombuffer(run, np.int64)


def join(parts: list[bytes]) -> Ints:
    """A new, writable int64 array of all parts, one after another."""
    return np.frombuffer(bytearray().join(parts), np.int64)


def agreed(data: bytes, at: int, run: bytes) -> int:
    """How many bytes (whole tokens) of `data[at:]` and `run` agree from their beginnings."""
    count = min(len(data) - at, len(run)) // WIDTH
    ours = np.frombuffer(data, np.int64, count, at)
    theirs = np.frombuffer(run, np.int64, count)
    return first_mismatch(ours, theirs) * WIDTH


def first_mismatch(ours: Ints, theirs: Ints) -> int:
    """Index of the first difference between two arrays of one length; the length if none."""
    count = len(ours)
    start, block = 0, _FIRST_BLOCK
    while start < count:
        differ = ours[start : start + block] != theirs[start : start + block]
        place = int(differ.argmax())
        if differ[place]:
            return start + place
        start += block
        block *= 8
    return count
