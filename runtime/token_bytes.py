"""The bytes each token of a vocabulary stands for. How files spell them: grammar/spelling.py."""

from __future__ import annotations

from collections.abc import Mapping

import tokenizers

from ..errors import ModelLoadError, NotSupportedError
from ..grammar.spelling import decoder_steps, speller


class TokenBytes:
    """`self(id)`: the bytes of token `id`, empty for an id that no token has.

    strips_space: whether the first space of a whole text is not part of it.
    Raises ModelLoadError for a tokenizer whose tokens are not byte strings (WordPiece, ...).
    """

    def __init__(
        self, raw: tokenizers.Tokenizer, added: Mapping[int, tokenizers.AddedToken]
    ) -> None:
        self._raw = raw
        self._known: dict[int, bytes] = {}
        steps = decoder_steps(raw)
        parts = {str(step["type"]): step for step in steps}
        if not parts.keys() & {"ByteLevel", "Metaspace", "Replace"}:
            raise _not_bytes(", ".join(parts) or "no decoder")
        try:
            self._spell = speller(steps)
        except NotSupportedError as error:
            raise _not_bytes(error.message) from None
        # A byte-level decoder reads added tokens too.
        self._added = {} if "ByteLevel" in parts else {i: t.content for i, t in added.items()}
        self.strips_space = "Strip" in parts or (
            "Metaspace" in parts and parts["Metaspace"].get("prepend_scheme") != "never"
        )

    def __call__(self, id: int) -> bytes:
        known = self._known.get(id)
        if known is None:
            known = self._known[id] = self._make(id)
        return known

    def _make(self, id: int) -> bytes:
        if id in self._added:
            return self._added[id].encode()
        return self._spell(self._raw.id_to_token(id) or "")


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


def _not_bytes(got: str) -> ModelLoadError:
    return ModelLoadError(
        "the tokens of this tokenizer do not stand for fixed bytes",
        expected="a ByteLevel, Metaspace or Replace decoder",
        got=got,
        where="tokenizer.json: decoder",
    )
