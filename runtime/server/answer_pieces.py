"""What the pieces of an answer are told as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Reasoning:
    text: str


@dataclass(frozen=True)
class Content:
    text: str


@dataclass(frozen=True)
class CallBegins:
    index: int
    name: str


@dataclass(frozen=True)
class Arguments:
    index: int
    text: str


Piece = Reasoning | Content | CallBegins | Arguments


@dataclass(frozen=True)
class Told:
    """What pieces come to. calls: names and arguments."""

    reasoning: str | None
    content: str | None
    calls: list[tuple[str, str]]


def joined(pieces: Sequence[Piece]) -> Told:
    """What pieces come to, however they are cut."""
    reasoning = "".join(piece.text for piece in pieces if isinstance(piece, Reasoning))
    content = "".join(piece.text for piece in pieces if isinstance(piece, Content))
    names = [piece.name for piece in pieces if isinstance(piece, CallBegins)]
    arguments = ["" for _ in names]
    for piece in pieces:
        if isinstance(piece, Arguments):
            arguments[piece.index] += piece.text
    return Told(reasoning or None, content or None, list(zip(names, arguments, strict=True)))
