"""Sampled tokens, put back into a chat that its template rendered anew.

Given the rendering and the turns, find each turn's content in it, from left to right: verbatim,
else without the blanks at its ends, else as far as the template's own text around it tells. What
was sampled and stands there unchanged keeps its tokens; everything else is text again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..errors import NotSupportedError
from .journal import Piece, Turn, text_of
from .roles import ChatFormat
from .tokens import tokens_within


def respliced(chat: ChatFormat, rendered: str, turns: Sequence[Turn]) -> list[Piece]:
    """The pieces whose texts, joined, are `rendered`, with what stood between the messages.

    Raises NotSupportedError where text stands between messages and the template's own parts
    cannot be told apart.
    """
    messages = [turn for turn in turns if turn.role is not None]
    regions = _regions(chat, rendered, messages)
    pieces: list[Piece] = []
    at, message = 0, -1
    for turn in turns:
        if turn.role is None:
            at = _before_interlude(
                rendered, at, messages[message] if message >= 0 else None, pieces
            )
            pieces.extend(turn.pieces)
            continue
        message += 1
        start, end = regions[message]
        _template(pieces, rendered[at:start])
        pieces.extend(_content(chat, turn, rendered[start:end]))
        at = end
    _template(pieces, rendered[at:])
    return pieces


def _regions(chat: ChatFormat, rendered: str, messages: Sequence[Turn]) -> list[tuple[int, int]]:
    """Where in the rendering each message's content stands, as [start, end)."""
    literals = chat.literals([turn.role or "" for turn in messages]) if messages else []
    regions = []
    at = 0
    for number, turn in enumerate(messages):
        at = _skip(rendered, at, literals[number])
        after = literals[number + 1] if number + 1 < len(messages) else ""
        region = _find(rendered, at, turn.text, after or turn.footer)
        regions.append(region)
        at = region[1]
    return regions


def _skip(rendered: str, at: int, literal: str) -> int:
    """Past the template's text, where it stands at `at` as the probe saw it."""
    return at + len(literal) if literal and rendered.startswith(literal, at) else at


def _find(rendered: str, at: int, content: str, after: str) -> tuple[int, int]:
    for known in (content, content.strip()):
        found = rendered.find(known, at) if known else -1
        if found >= 0:
            return found, found + len(known)
    found = rendered.find(after, at) if after else -1
    return (at, found) if found >= 0 else (at, at)


def _content(chat: ChatFormat, turn: Turn, text: str) -> Iterator[Piece]:
    """The turn's pieces as they stand in `text`."""
    whole = turn.text
    if text == whole:
        yield from turn.pieces
        return
    offset = whole.find(text)
    if offset < 0 or not text:
        yield Piece("text", text)
        return
    at = 0
    for piece in turn.pieces:
        low = max(offset - at, 0)
        high = min(offset + len(text) - at, len(piece.text))
        at += len(piece.text)
        if low < high:
            yield from _cut(chat, piece, low, high)


def _cut(chat: ChatFormat, piece: Piece, low: int, high: int) -> Iterator[Piece]:
    """The characters [low, high) of a piece; whole tokens of a sampled one are kept."""
    text = piece.text[low:high]
    if piece.kind != "model" or (low, high) == (0, len(piece.text)):
        yield piece if text == piece.text else Piece("text", text)
        return
    ids = list(piece.ids or ())
    dropped, rest = tokens_within(chat.tokenizer, ids, piece.text[:low])
    if rest:
        yield Piece("text", text)
        return
    kept, rest = tokens_within(chat.tokenizer, ids[len(dropped) :], text)
    yield Piece("model", text[: len(text) - len(rest)], tuple(kept))
    if rest:
        yield Piece("text", rest)


def _before_interlude(rendered: str, at: int, last: Turn | None, pieces: list[Piece]) -> int:
    """Write the footer of the message before an interlude; returns the place after it."""
    footer = last.footer if last is not None else ""
    if not rendered.startswith(footer, at):
        raise NotSupportedError(
            "text stands between messages, and this model's template rewrites the messages",
            hint="Put the text inside a role.",
        )
    _template(pieces, footer)
    return at + len(footer)


def _template(pieces: list[Piece], text: str) -> None:
    if text:
        pieces.append(Piece("template", text))


__all__ = ["respliced", "text_of"]
