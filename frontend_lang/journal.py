"""The journal of a state: what was said, piece by piece, by program, template and model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ..errors import InvariantError

Kind = Literal["text", "model", "choice", "template"]


class Piece(NamedTuple):
    """A stretch of the journal. ids: of what the model generated, None for the rest."""

    kind: Kind
    text: str
    ids: tuple[int, ...] | None = None


class Journal:
    """A linked list of pieces that grows at its end and shares its beginning. None is the empty
    one's parent."""

    __slots__ = ("length", "parent", "piece")

    def __init__(self, parent: Journal | None, piece: Piece) -> None:
        self.parent = parent
        self.piece = piece
        self.length: int = len(piece.text) + (parent.length if parent is not None else 0)


def since(journal: Journal | None, mark: Journal | None) -> list[Piece]:
    """The pieces after `mark`, in order. `mark` must lie on the journal's way to its beginning."""
    pieces: list[Piece] = []
    while journal is not mark:
        if journal is None:
            raise InvariantError("a mark that is not on the journal")
        pieces.append(journal.piece)
        journal = journal.parent
    pieces.reverse()
    return pieces


def text_of(pieces: Sequence[Piece]) -> str:
    """The pieces' texts, joined."""
    return "".join(piece.text for piece in pieces)


@dataclass(frozen=True)
class Turn:
    """One message, or (role None) what was said between messages.

    footer: what the template wrote at the message's end.
    """

    role: str | None
    pieces: tuple[Piece, ...]
    footer: str

    @property
    def text(self) -> str:
        """The content."""
        return text_of(self.pieces)
