"""Sampled tokens, put back into a chat that its template rendered anew.

Given the rendering and the turns, find each turn's content in it, from left to right. A rendering
of sentinels in the contents' places tells the template's own text between them; where the real
rendering agrees with it, the content stands right behind: verbatim, or without the blanks at its
ends, or rewritten (then it is what stands before the template's next own text). Where it does not
agree, the content is searched for outside the special tokens. What was sampled and stands there
unchanged keeps its tokens; everything else is text again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..errors import NotSupportedError
from .journal import Piece, Turn
from .roles import ChatFormat
from .tokens import TextEncoder, tokens_within

Region = tuple[int, int]


def respliced(
    encoder: TextEncoder, chat: ChatFormat, rendered: str, turns: Sequence[Turn]
) -> list[Piece]:
    """The pieces whose texts, joined, are `rendered`, with what stood between the messages.

    Raises NotSupportedError where text stands between messages and the template's own parts
    cannot be told apart, and where a rewritten content spells special tokens.
    """
    messages = [turn for turn in turns if turn.role is not None]
    regions = _regions(encoder, chat, rendered, messages)
    pieces: list[Piece] = []
    at, message = 0, -1
    for turn in turns:
        if turn.role is None:
            last = messages[message] if message >= 0 else None
            at = _before_interlude(rendered, at, last, pieces)
            pieces.extend(turn.pieces)
            continue
        message += 1
        start, end = regions[message]
        _template(pieces, rendered[at:start])
        pieces.extend(_content(encoder, turn, rendered[start:end]))
        at = end
    _template(pieces, rendered[at:])
    return pieces


def _regions(
    encoder: TextEncoder, chat: ChatFormat, rendered: str, messages: Sequence[Turn]
) -> list[Region]:
    """Where in the rendering each message's content stands, as [start, end)."""
    literals = chat.literals(messages) if messages else []
    regions: list[Region] = []
    at = 0
    for number, turn in enumerate(messages):
        if not turn.text.strip():
            region = (at, at)
        elif (literal := literals[number]) is not None and rendered.startswith(literal, at):
            at += len(literal)
            region = _behind(rendered, at, turn.text, _next(literals, number))
        else:
            region = _searched(encoder, rendered, at, turn.text)
        regions.append(region)
        at = region[1]
    return regions


def _next(literals: Sequence[str | None], number: int) -> str:
    """The template's own text after a content, past contents that are blank."""
    return next((text for text in literals[number + 1 :] if text), "")


def _behind(rendered: str, at: int, content: str, after: str) -> Region:
    """The content that begins at `at`."""
    for known in (content, content.strip()):
        if rendered.startswith(known, at):
            return at, at + len(known)
    found = rendered.find(after, at) if after else -1
    return (at, found) if found >= 0 else (at, at)


def _searched(encoder: TextEncoder, rendered: str, at: int, content: str) -> Region:
    """The content somewhere from `at` on, not across special tokens; else nowhere."""
    if any(isinstance(part, int) for part in encoder.template(content)):
        raise NotSupportedError(
            "this model's template rewrites a message that spells special tokens",
            got=repr(content)[:80],
            hint="Take the special tokens' names out of the message.",
        )
    start = 0
    for part in encoder.template(rendered):
        if isinstance(part, str):
            for known in (content, content.strip()):
                found = rendered.find(known, max(at, start), start + len(part))
                if found >= 0:
                    return found, found + len(known)
        start += len(part if isinstance(part, str) else encoder.spelled(part))
    return at, at


def _content(encoder: TextEncoder, turn: Turn, text: str) -> Iterator[Piece]:
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
            yield from _cut(encoder, piece, low, high)


def _cut(encoder: TextEncoder, piece: Piece, low: int, high: int) -> Iterator[Piece]:
    """The characters [low, high) of a piece; whole tokens of a sampled one are kept."""
    text = piece.text[low:high]
    if piece.kind != "model" or (low, high) == (0, len(piece.text)):
        yield piece if text == piece.text else Piece("text", text)
        return
    ids = list(piece.ids or ())
    dropped, rest = tokens_within(encoder.tokenizer, ids, piece.text[:low])
    if rest:
        yield Piece("text", text)
        return
    kept, rest = tokens_within(encoder.tokenizer, ids[len(dropped) :], text)
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
