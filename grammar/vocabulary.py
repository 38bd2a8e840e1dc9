"""A tokenizer's vocabulary as bytes: what each token id adds to the text.

The machine knows nothing of tokenizers, only this. Invariants (`check_invariants`):
V1 every special and every EOS id lies in 0..size-1; V2 every EOS id is special;
V3 `tokens` has `size` entries, and those past the tokenizer's own are empty.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..errors import InvalidRequestError, InvariantError
from .spelling import decoder_steps, speller


class Vocabulary:
    """tokens[t]: the bytes that token t adds to the text; empty for ids that add none.

    special_ids never appear in a mask; eos_ids (special too) appear exactly where a grammar may
    end. size: the width of the model's logits where it is larger than the tokenizer; the ids past
    `tokens` are never allowed. Raises InvalidRequestError.
    """

    def __init__(
        self,
        tokens: Sequence[bytes],
        special_ids: Iterable[int] = (),
        eos_ids: Iterable[int] = (),
        *,
        size: int | None = None,
    ) -> None:
        wrong = next((i for i, token in enumerate(tokens) if not isinstance(token, bytes)), None)
        if wrong is not None:
            raise InvalidRequestError(
                expected="the bytes of each token",
                got=repr(tokens[wrong])[:80],
                where=f"tokens[{wrong}]",
            )
        own = len(tokens)
        if size is not None and size < own:
            raise InvalidRequestError(
                expected=f"a size of at least {own} (the tokens given)", got=str(size), where="size"
            )
        self.size = own if size is None else size
        self.tokens: list[bytes] = [*tokens, *[b""] * (self.size - own)]
        self.own_size = own
        self.eos_ids = tuple(sorted(set(eos_ids)))
        self.special_ids = frozenset(special_ids) | frozenset(self.eos_ids)
        for token in self.special_ids:
            if not 0 <= token < self.size:
                raise InvalidRequestError(
                    expected=f"a token id in 0..{self.size - 1}",
                    got=repr(token),
                    where="special_ids or eos_ids",
                )
        self.words = (self.size + 31) // 32
        self.content_hash = self._hash()

    @classmethod
    def from_tokenizer(
        cls, tokenizer: Any, eos_ids: Iterable[int] | None = None, *, size: int | None = None
    ) -> Vocabulary:
        """From a transformers fast tokenizer or a `tokenizers.Tokenizer`.

        Knows byte-level alphabets (GPT-2, Llama 3, Qwen, DeepSeek) and SentencePiece's (metaspace
        and `<0xNN>` byte tokens). eos_ids: None takes the tokenizer's own. Raises
        NotSupportedError for other kinds, InvalidRequestError where no EOS id is known.
        """
        backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
        if not hasattr(backend, "get_added_tokens_decoder"):
            raise InvalidRequestError(
                expected="a fast tokenizer", got=type(tokenizer).__name__, where="tokenizer"
            )
        if eos_ids is None:
            eos_ids = _own_eos(tokenizer)
        special: set[int] = set(getattr(tokenizer, "all_special_ids", ()))
        spell = speller(decoder_steps(backend))
        vocab: dict[str, int] = backend.get_vocab(with_added_tokens=True)
        tokens = [b""] * (max(vocab.values(), default=-1) + 1)
        for text, token in vocab.items():
            tokens[token] = spell(text)
        for token, added in backend.get_added_tokens_decoder().items():
            tokens[token] = added.content.encode()
            if added.special:
                special.add(token)
        unknown = getattr(backend.model, "unk_token", None)
        if unknown in vocab:
            special.add(vocab[unknown])
        return cls(tokens, special, eos_ids, size=size)

    def allowed_in_free_text(self) -> np.ndarray:
        """uint32[words]: every id that the tokenizer has, special ones too (an unconstrained
        request's mask)."""
        return pack_bits(np.arange(self.size) < self.own_size, self.words)

    def check_invariants(self) -> None:
        ids = range(self.size)
        if not all(token in ids for token in (*self.special_ids, *self.eos_ids)):
            raise InvariantError("V1: a special or EOS id is out of range")
        if not self.special_ids.issuperset(self.eos_ids):
            raise InvariantError("V2: an EOS id is not special")
        if len(self.tokens) != self.size or any(self.tokens[self.own_size :]):
            raise InvariantError("V3: tokens do not fit the size")

    def _hash(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        digest.update(np.array([len(t) for t in self.tokens], dtype="<u4").tobytes())
        digest.update(b"".join(self.tokens))
        digest.update(json.dumps([sorted(self.special_ids), self.eos_ids]).encode())
        return digest.hexdigest()


def pack_bits(allowed: np.ndarray, words: int) -> np.ndarray:
    """bool[V] to uint32[words]: entry t is bit t & 31 of word t >> 5."""
    packed = np.zeros(words * 4, dtype=np.uint8)
    bits = np.packbits(allowed, bitorder="little")
    packed[: len(bits)] = bits
    return packed.view("<u4").astype(np.uint32, copy=False)


def _own_eos(tokenizer: Any) -> list[int]:
    own = getattr(tokenizer, "eos_token_id", None)
    if own is None:
        raise InvalidRequestError(
            "the tokenizer names no EOS token", where="eos_ids", hint="Pass eos_ids=[...]."
        )
    return [own] if isinstance(own, int) else list(own)
