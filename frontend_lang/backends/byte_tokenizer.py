"""The scripted backend's tokenizer: a token per byte, and five special ones for a chat.

    <|bos|><|system|>Be brief.<|end|><|user|>Hi<|end|><|assistant|>

BOS stands before every plain text and every chat; the end token closes each message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import InvalidRequestError

SPECIAL = ("<|bos|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
_FIRST = 256
_SPLIT = re.compile("(" + "|".join(map(re.escape, SPECIAL)) + ")")


class ByteTokenizer:
    """Ids 0-255 are bytes; 256 and up the special tokens in the order of `SPECIAL`."""

    bos_id: int | None = _FIRST
    adds_bos = True
    eos_ids = frozenset([_FIRST + 1])
    special_ids = frozenset(range(_FIRST, _FIRST + len(SPECIAL)))
    chat_template: object | None = "built in"

    def encode(
        self,
        text: str,
        *,
        add_bos: bool = False,
        allow_special: bool = False,
        continues: bool = False,  # noqa: ARG002 (a byte is the same token everywhere)
    ) -> list[int]:
        """Bytes, one token each; special tokens' strings are special only with allow_special."""
        ids = [_FIRST] if add_bos else []
        for part in _SPLIT.split(text) if allow_special else [text]:
            if allow_special and part in SPECIAL:
                ids.append(_FIRST + SPECIAL.index(part))
            else:
                ids.extend(part.encode("utf-8", errors="surrogatepass"))
        return ids

    def token_bytes(self, id: int, /) -> bytes:
        return bytes([id]) if id < _FIRST else SPECIAL[id - _FIRST].encode()

    def decode(self, ids: Sequence[int]) -> str:
        """The text, special tokens spelled out."""
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", errors="replace")

    def render_chat(
        self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = False
    ) -> str:
        for message in messages:
            if f"<|{message['role']}|>" not in SPECIAL[2:]:
                raise InvalidRequestError(
                    expected="system, user or assistant", got=repr(message["role"]), where="role"
                )
        turns = "".join(f"<|{m['role']}|>{m['content']}<|end|>" for m in messages)
        return SPECIAL[0] + turns + ("<|assistant|>" if add_generation_prompt else "")
