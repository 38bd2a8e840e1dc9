"""The bytes that every continuation of a configuration begins with.

What is found is kept in the configurations on the way, so that reading on costs nothing twice.
"""

from __future__ import annotations

from typing import NamedTuple

from .derivatives import takes
from .machine import Config, Machine
from .node import CAT, LITERAL

LIMIT = 256  # bytes looked ahead


class Forced(NamedTuple):
    """whole: nothing more is forced."""

    text: bytes
    whole: bool


NOTHING = Forced(b"", True)


def forced_bytes(machine: Machine, config: Config, limit: int = LIMIT) -> bytes:
    """Those of `config`, `limit` of them at most; none where the text may end."""
    known: Forced | None = config.forced
    if known is None or not (known.whole or len(known.text) >= limit):
        known = _read(machine, config)
    text: bytes = known.text[:limit]
    return text


def _read(machine: Machine, config: Config) -> Forced:
    """As far as LIMIT, in one go: a place a little further on has enough, too."""
    way: list[tuple[Config, bytes]] = []
    count = 0
    known: Forced | None = None
    while known is None and count < LIMIT:
        piece = b"" if config.can_end else _next(machine, config)
        following = machine.accept(config, piece) if piece else None
        if following is None:
            known = config.forced = NOTHING
            break
        way.append((config, piece))
        count += len(piece)
        config = following
        known = config.forced if config.forced is not None and config.forced.whole else None
    text, whole = known or Forced(b"", False)
    for passed, piece in reversed(way):
        text = piece + text
        passed.forced = Forced(text[:LIMIT], whole and len(text) <= LIMIT)
    return Forced(text[:LIMIT], whole and len(text) <= LIMIT)


def _next(machine: Machine, config: Config) -> bytes:
    """The next of them: a literal at once, else one byte."""
    if len(config.threads) == 1:
        node = config.threads[0][0]
        head = node.a if node.kind == CAT else node
        if head.kind == LITERAL:
            return head.text
    bits = 0
    for node, _ in config.threads:
        bits |= takes(machine.arena, node)
        if bits & bits - 1:
            return b""
    return bytes([bits.bit_length() - 1])
