"""The bytes each token of a vocabulary stands for.

Two families: byte-level vocabularies (GPT-2's), which spell every byte as a printable character,
and SentencePiece's, which spell a space as U+2581 and a byte outside the vocabulary as `<0xNN>`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import tokenizers

from ..errors import ModelLoadError

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's spelling: printable bytes as themselves, the others from U+0100 on in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in set(printable))
    alphabet.update((chr(0x100 + place), byte) for place, byte in enumerate(others))
    return alphabet


class TokenBytes:
    """`self(id)`: the bytes of token `id`, empty for an id that no token has.

    strips_space: whether the first space of a whole text is not part of it.
    Raises ModelLoadError for a tokenizer whose tokens are not byte strings (WordPiece, ...).
    """

    def __init__(
        self, raw: tokenizers.Tokenizer, added: Mapping[int, tokenizers.AddedToken]
    ) -> None:
        self._raw = raw
        self._added = {id: token.content for id, token in added.items()}
        self._known: dict[int, bytes] = {}
        state = b"null" if raw.decoder is None else raw.decoder.__getstate__()
        parts = {str(part["type"]): part for part in _parts(json.loads(state))}
        self._alphabet = _byte_alphabet() if "ByteLevel" in parts else None
        self._fallback = "ByteFallback" in parts
        if not parts.keys() & {"ByteLevel", "Metaspace", "Replace"}:
            raise ModelLoadError(
                "the tokens of this tokenizer do not stand for fixed bytes",
                expected="a ByteLevel, Metaspace or Replace decoder",
                got=", ".join(parts) or "no decoder",
                where="tokenizer.json: decoder",
            )
        self.strips_space = "Strip" in parts or (
            "Metaspace" in parts and parts["Metaspace"].get("prepend_scheme") != "never"
        )

    def __call__(self, id: int) -> bytes:
        known = self._known.get(id)
        if known is None:
            known = self._known[id] = self._make(id)
        return known

    def _make(self, id: int) -> bytes:
        if self._alphabet is not None:
            token = self._raw.id_to_token(id) or ""
            try:
                return bytes(self._alphabet[character] for character in token)
            except KeyError:  # an added token, spelled as it is
                return token.encode()
        if id in self._added:
            return self._added[id].encode()
        token = self._raw.id_to_token(id) or ""
        byte = _BYTE.fullmatch(token) if self._fallback else None
        if byte is not None:
            return bytes([int(byte[1], 16)])
        return token.replace("\u2581", " ").encode()


class TokenTexts(dict[int, str | None]):
    """`self[id]`: the text of token `id`; None where its bytes are not whole characters, so that
    they have a text only with their neighbours'."""

    def __init__(self, bytes_of: TokenBytes) -> None:
        super().__init__()
        self._bytes_of = bytes_of

    def __missing__(self, id: int) -> str | None:
        try:
            text = self._bytes_of(id).decode()
        except UnicodeDecodeError:
            text = None
        self[id] = text
        return text


def _parts(decoder: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """A decoder's steps, those of nested sequences too."""
    if decoder is None:
        return
    if decoder["type"] == "Sequence":
        for part in decoder["decoders"]:
            yield from _parts(part)
    else:
        yield decoder
