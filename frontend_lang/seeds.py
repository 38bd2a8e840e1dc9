"""Seeds: a program's own, and the one of each of its calls.

A call's seed is a hash of (program seed, path of forks, number of the call in its state), so that
forks differ, runs repeat, and neither batching nor timing matters.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

from ..errors import InvalidRequestError

_BITS = 63


def draw() -> int:
    """A fresh program seed, for a run that was given none; the run reports it."""
    return secrets.randbits(_BITS)


def checked(seed: object) -> int:
    """A seed that a user gave. Raises InvalidRequestError where it is none."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not -(2**63) <= seed < 2**63:
        raise InvalidRequestError(
            expected="an integer of at most 63 bits", got=repr(seed), where="seed"
        )
    return seed


def derive(seed: int, path: Sequence[int], index: int) -> int:
    """The seed of call number `index` of the state at `path`: 63 bits, the same on any machine."""
    text = ",".join(map(str, (seed, len(path), *path, index)))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> (64 - _BITS)
