"""Tokens to text as they come.

Invariant 1: the pieces of `feed` and `flush`, joined, are `Tokenizer.decode` of all the tokens.
Invariant 2: no piece ends inside a character; bytes that can still become one are held back.
"""

from __future__ import annotations

import codecs

from .tokenizer import Tokenizer


class Detokenizer:
    """One sequence's text. continues: the tokens follow a prompt, so that a SentencePiece
    tokenizer's first space stays. pending: bytes held back because they may begin a character."""

    def __init__(
        self, tokenizer: Tokenizer, *, skip_special: bool = True, continues: bool = True
    ) -> None:
        self._tokenizer = tokenizer
        self._texts = tokenizer.texts
        self._skip = tokenizer.special_ids if skip_special else frozenset()
        self._strip = tokenizer.strips_space and not continues
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self.pending = b""

    def feed(self, id: int) -> str:
        """The text that `id` completes; empty while a character is incomplete."""
        if id in self._skip:
            return ""
        if not self.pending and not self._strip:
            text = self._texts[id]
            if text is not None:  # nearly every token
                return text
        data = self._tokenizer.token_bytes(id)
        if self._strip and data:
            data, self._strip = data.removeprefix(b" "), False
        text = self._decoder.decode(data)
        self.pending = self._decoder.getstate()[0]
        return text

    def flush(self) -> str:
        """The end of the text: what is still held back, as U+FFFD."""
        self.pending = b""
        return self._decoder.decode(b"", final=True)
