"""How many files the server's process may have open: each connection is one.

Many systems begin with 1,024 and allow far more to whoever asks. Where there are none left, a
client's connection is not even accepted, and nobody can tell it why.
"""

from __future__ import annotations

import contextlib
import logging
import resource

import msgspec

from .connections import TOLD
from .settings import Limits

_log = logging.getLogger("espalier.server")
AT_ONCE = 8
"""Connections accepted in one turn of the event loop; whether there is room for one is found two
turns later."""
_OTHERS = 32 + TOLD + 4 * AT_ONCE
"""Files that are no connections, those that are told there is no room, those of which neither is
known yet."""


def within_open_files(limits: Limits) -> Limits:
    """The limits, with as many connections as this process may have files for. Its own bound is
    raised to what they need, as far as it may be."""
    wanted = limits.connections + _OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):  # a system with a lower bound of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return limits
    connections = max(1, soft - _OTHERS)
    _log.warning(
        "at most %d connections instead of %d: this process may have %d files open (ulimit -n)",
        connections,
        limits.connections,
        soft,
    )
    return msgspec.structs.replace(limits, connections=connections)
