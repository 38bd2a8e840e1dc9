"""Sets of tokens in each of their forms."""

from __future__ import annotations

import numpy as np
import pytest

from espalier.grammar.token_set import FEW, SPARSE, TokenSet, of_bits, of_tokens

WORDS = 2 * SPARSE


@pytest.mark.parametrize("count", [0, 1, FEW, FEW + 1, SPARSE, 30 * SPARSE])
def test_every_form_sets_the_same_bits(count: int) -> None:
    tokens = np.random.default_rng(count).permutation(WORDS * 32)[:count]
    expected = np.zeros(WORDS, dtype=np.uint32)
    for token in tokens.tolist():
        expected[token >> 5] |= np.uint32(1 << (token & 31))
    for found in (
        of_tokens(np.concatenate([tokens, tokens[:3]]), WORDS * 32, WORDS),
        of_bits(expected),
        TokenSet(few=tokens.tolist()),
    ):
        for start in (0, 1 << 31):
            mask = np.full(WORDS, start, dtype=np.uint32)
            found.add_to(mask)
            assert (mask == expected | np.uint32(start)).all()
        assert found.nbytes >= 0
    assert (of_bits(expected).bits is None) == (np.count_nonzero(expected) <= SPARSE)


@pytest.mark.parametrize("count", [0, 1, FEW, 2 * FEW, 30 * SPARSE])
def test_without(count: int) -> None:
    generator = np.random.default_rng(count)
    tokens = generator.permutation(WORDS * 32)[:count]
    gone = np.concatenate([tokens[: count // 2], generator.permutation(WORDS * 32)[:100]])
    found, expected = np.zeros((2, WORDS), dtype=np.uint32)
    of_tokens(tokens, WORDS * 32, WORDS).without(gone).add_to(found)
    of_tokens(np.setdiff1d(tokens, gone), WORDS * 32, WORDS).add_to(expected)
    assert (found == expected).all()
