"""How a remote API is told what a state holds: its tokens, read back as text or as messages.

The model's own tokens are not known here. A state's are bytes, special tokens for the chat's
markup (`byte_tokenizer.py`), and, where the API tells the tokens of an answer, one for each of
those; none of them can be counted as the model's.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import NotSupportedError
from .byte_tokenizer import SPECIAL, ByteTokenizer

_BOS, _END, *_ROLES = range(256, 256 + len(SPECIAL))
_FIRST_PIECE = 256 + len(SPECIAL)
_NAMES = {number: SPECIAL[number - 256][2:-2] for number in _ROLES}


class TextTokenizer(ByteTokenizer):
    """See the module's docstring. chat: whether the model speaks in messages. Threads may share it.

    BOS marks where a prompt begins, and is not sent. There is no end token whose probability could
    be asked for.
    """

    eos_ids: frozenset[int] = frozenset()
    counts_tokens = False

    def __init__(self, *, chat: bool) -> None:
        self.chat_template: object | None = "messages" if chat else None
        self._pieces: list[bytes] = []
        self._ids: dict[bytes, int] = {}
        self._lock = threading.Lock()

    def token_bytes(self, id: int, /) -> bytes:
        return super().token_bytes(id) if id < _FIRST_PIECE else self._pieces[id - _FIRST_PIECE]

    def decode(self, ids: Sequence[int]) -> str:
        """The text; BOS, which only marks the beginning of a prompt, is left out."""
        return super().decode([token for token in ids if token != _BOS])

    def piece(self, data: bytes) -> int:
        """The id of a token that the API tells."""
        if len(data) == 1:
            return data[0]
        with self._lock:
            known = self._ids.get(data)
            if known is None:
                known = self._ids[data] = _FIRST_PIECE + len(self._pieces)
                self._pieces.append(data)
            return known


@dataclass(frozen=True)
class Transcript:
    """A prompt as a chat. open: the beginning of the assistant's message that is to be written."""

    messages: list[dict[str, str]]
    open: str


def transcript(tokenizer: TextTokenizer, ids: Sequence[int], where: str) -> Transcript:
    """Raises NotSupportedError where the prompt is not a chat that waits for the assistant."""
    messages: list[dict[str, str]] = []
    role: str | None = None
    begin = 0

    def flush(end: int) -> str:
        text = tokenizer.decode(ids[begin:end])
        if role is None and text:
            raise NotSupportedError(
                "this API takes messages, and text stands outside of them",
                got=repr(text)[:80],
                where=where,
                hint="Say it inside user(...), system(...) or assistant(...).",
            )
        return text

    for at, token in enumerate(ids):
        if token not in tokenizer.special_ids:
            continue
        text = flush(at)
        if role is not None and token == _END:
            messages.append({"role": role, "content": text})
        role = _NAMES.get(token)
        begin = at + 1
    said = flush(len(ids))
    if role != "assistant":
        raise NotSupportedError(
            "this API writes the assistant's messages alone",
            got=f"a gen inside {role}(...)" if role is not None else "a gen outside of a role",
            where=where,
            hint="Write s += assistant(gen(...)), after a user's message.",
        )
    return Transcript(messages, said)
