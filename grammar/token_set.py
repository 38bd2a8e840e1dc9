"""A set of tokens, in the form that is cheapest to keep and to put into a mask."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from .vocabulary import pack_bits

FEW = 48  # tokens up to which a set is a list
MANY = 4096  # tokens up to which a set is another one without them
SPARSE = 1024  # words up to which it is kept as pairs (word, bits)

Words = np.ndarray


class TokenSet:
    """few: token ids; or pairs: (word numbers, ascending, their bits); or bits: uint32[words],
    packed."""

    __slots__ = ("_pairs", "bits", "few")

    def __init__(
        self,
        few: Collection[int] | None = None,
        pairs: tuple[Words, Words] | None = None,
        bits: Words | None = None,
    ) -> None:
        self.few = few
        self._pairs = pairs
        self.bits = bits

    def __bool__(self) -> bool:
        """Whether there may be any in it."""
        return self.few is None or bool(self.few)

    @property
    def nbytes(self) -> int:
        if self.bits is not None:
            return self.bits.nbytes
        return 12 * len(self._pairs[0]) if self._pairs is not None else 36 * len(self.few or ())

    def add_to(self, mask: Words) -> None:
        """Sets the tokens' bits in `mask`, uint32[words]."""
        if self.bits is not None:
            np.bitwise_or(mask, self.bits, out=mask)
        elif self._pairs is not None:
            where, what = self._pairs
            mask[where] |= what
        elif self.few:
            put(self.few, mask)

    def without(self, tokens: Words) -> TokenSet:
        """The set without those of an array of ids."""
        if self.few is not None:
            gone = set(tokens.tolist())
            return TokenSet(few=[token for token in self.few if token not in gone])
        word, bit = tokens >> 5, (1 << (tokens & 31)).astype(np.uint32)
        if self.bits is not None:
            bits = self.bits.copy()
            np.bitwise_and.at(bits, word, ~bit)
            return TokenSet(bits=bits)
        assert self._pairs is not None
        where, what = self._pairs
        place = np.searchsorted(where, word)
        known = place < len(where)
        known[known] = where[place[known]] == word[known]
        what = what.copy()
        np.bitwise_and.at(what, place[known], ~bit[known])
        return TokenSet(pairs=(where, what))


def of_bits(bits: Words) -> TokenSet:
    """The tokens whose bits are set in uint32[words]."""
    where = np.flatnonzero(bits)
    if len(where) <= SPARSE:
        return TokenSet(pairs=(where, bits[where]))
    return TokenSet(bits=bits)


def of_tokens(tokens: np.ndarray, size: int, words: int) -> TokenSet:
    """The tokens of an array of ids below `size`, in any order, perhaps repeated."""
    if len(tokens) <= FEW:
        return TokenSet(few=tokens.tolist())
    allowed = np.zeros(size, dtype=bool)
    allowed[tokens] = True
    return of_bits(pack_bits(allowed, words))


def put(tokens: Collection[int], mask: Words) -> None:
    """Sets the bits of token ids, perhaps repeated, in `mask`, uint32[words]."""
    if len(tokens) <= 2 * FEW:
        words = mask.data
        for token in tokens:
            words[token >> 5] |= 1 << (token & 31)
        return
    ids = np.array(list(tokens), dtype=np.intp)
    np.bitwise_or.at(mask, ids >> 5, (1 << (ids & 31)).astype(np.uint32))


class Whole:
    """A set of tokens of which all but a few are wanted again and again. groups: a number for each
    of the tokens; wanted or not are all of a number."""

    def __init__(self, tokens: np.ndarray, groups: np.ndarray, size: int, words: int) -> None:
        if len(groups) and int(groups.max()) < 1 << 15:
            groups = groups.astype(np.int16)  # sorted faster
        order = np.argsort(groups, kind="stable")
        self._tokens = tokens[order].astype(np.int32)
        count = int(groups.max(initial=-1)) + 1
        self._starts = np.searchsorted(groups[order], np.arange(count + 1))
        self._size = size
        self._words = words
        self._bits: Words | None = None  # of all of them

    def of(self, wanted: np.ndarray) -> TokenSet:
        """The tokens of the groups for which bool[groups] is set."""
        counts = np.diff(self._starts)
        gone = np.flatnonzero(~wanted & (counts > 0))
        if int(counts[gone].sum()) > MANY:
            return of_tokens(self.tokens(np.flatnonzero(wanted)), self._size, self._words)
        if self._bits is None:
            allowed = np.zeros(self._size, dtype=bool)
            allowed[self._tokens] = True
            self._bits = pack_bits(allowed, self._words)
        whole = TokenSet(bits=self._bits)
        return whole.without(self.tokens(gone)) if len(gone) else whole

    def tokens(self, groups: np.ndarray) -> np.ndarray:
        """The tokens of some groups."""
        parts = [self._tokens[self._starts[g] : self._starts[g + 1]] for g in groups.tolist()]
        return np.concatenate(parts) if parts else self._tokens[:0]
