"""How a tokenizer's file spells bytes.

Two families: byte-level vocabularies (GPT-2's), which spell every byte as a printable character,
and SentencePiece's, which spell a space as U+2581 and a byte outside the vocabulary as `<0xNN>`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import NotSupportedError

Step = dict[str, Any]
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_KNOWN = {"Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"}


def decoder_steps(backend: Any) -> list[Step]:
    """The steps of a `tokenizers.Tokenizer`'s decoder, those of nested sequences too."""
    return (
        [] if backend.decoder is None else list(_steps(json.loads(backend.decoder.__getstate__())))
    )


def _steps(decoder: Step) -> Iterator[Step]:
    if decoder["type"] == "Sequence":
        for step in decoder["decoders"]:
            yield from _steps(step)
    else:
        yield decoder


def speller(steps: list[Step]) -> Callable[[str], bytes]:
    """The function from a token's text in the tokenizer's file to the bytes it stands for.

    Raises NotSupportedError for decoders whose tokens do not stand for fixed bytes.
    """
    kinds = {step["type"] for step in steps}
    if "ByteLevel" in kinds:
        return _byte_level
    unknown = kinds - _KNOWN
    swaps = [(step["replacement"], " ") for step in steps if step["type"] == "Metaspace"]
    for step in steps:
        if step["type"] == "Replace":
            if "String" not in step["pattern"]:
                unknown.add("Replace by an expression")
                continue
            swaps.append((step["pattern"]["String"], step["content"]))
    if unknown:
        raise NotSupportedError(
            f"a tokenizer with the decoder {', '.join(sorted(unknown))}",
            where="tokenizer",
            hint="Byte-level BPE and SentencePiece vocabularies are known.",
        )
    fallback = "ByteFallback" in kinds

    def spell(text: str) -> bytes:
        byte = _BYTE.fullmatch(text) if fallback else None
        if byte is not None:
            return bytes([int(byte[1], 16)])
        for old, new in swaps:
            text = text.replace(old, new)
        return text.encode()

    return spell


def _alphabet() -> dict[int, int]:
    """GPT-2's characters for bytes: printable ones for themselves, the rest from U+0100 on."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {byte: byte for byte in shown}
    for byte in range(256):
        if byte not in shown:
            table[256 + len(table) - len(shown)] = byte
    return table


_TO_LATIN = _alphabet()


def _byte_level(text: str) -> bytes:
    """Added tokens that stand outside the alphabet are spelled as they are."""
    if all(ord(char) in _TO_LATIN for char in text):
        return text.translate(_TO_LATIN).encode("latin-1")
    return text.encode()
