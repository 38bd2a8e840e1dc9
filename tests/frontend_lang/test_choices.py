"""The rules that weigh choices, on numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, strategies as st

from espalier.errors import InvalidRequestError
from espalier.frontend_lang.choices import (
    greedy_token_selection,
    resolve_method,
    scores,
    softmax,
    token_length_normalized,
    unconditional_likelihood_normalized,
)

ROWS = [[-1.0, -1.0, -1.0], [-1.5], [-1.0, -2.0]]
SUMS = [-3.0, -1.5, -3.0]


def best(values: list[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)


def test_each_rule() -> None:
    assert scores(None, ROWS, SUMS, None) == SUMS
    assert scores(token_length_normalized, ROWS, SUMS, None) == [-1.0, -1.5, -1.5]
    shifted = scores(unconditional_likelihood_normalized, ROWS, SUMS, [-4.0, -1.0, -9.0])
    assert shifted == [1.0, -0.5, 6.0]
    assert best(scores(greedy_token_selection, ROWS, SUMS, None)) == 0


def test_greedy_goes_token_by_token() -> None:
    rows = [[-0.1, -9.0], [-0.2, -0.1], [-0.1, -8.0]]
    assert best(scores(greedy_token_selection, rows, [sum(r) for r in rows], None)) == 2
    ended = [[-0.5], [-0.5, -0.6], [-0.9]]  # the first goes on with its mean, -0.5
    assert best(scores(greedy_token_selection, ended, [0.0] * 3, None)) == 0


def test_an_empty_row_has_mean_zero() -> None:
    assert scores(token_length_normalized, [[], [-1.0]], [0.0, -1.0], None) == [0.0, -1.0]


@given(st.lists(st.floats(-50, 0), min_size=1, max_size=6))
def test_softmax(sums: list[float]) -> None:
    found = softmax(sums)
    assert math.isclose(sum(found), 1.0)
    weights = [math.exp(s) for s in sums]
    assert found == pytest.approx([w / sum(weights) for w in weights])


def test_impossible_choices_share() -> None:
    assert softmax([-math.inf, -math.inf]) == [0.5, 0.5]
    assert softmax([-math.inf, -3.0]) == [0.0, 1.0]


def test_methods_by_name() -> None:
    assert resolve_method(None) is None
    assert resolve_method("token_length_normalized") is token_length_normalized
    assert resolve_method(greedy_token_selection) is greedy_token_selection
    with pytest.raises(InvalidRequestError, match="choices_method"):
        resolve_method("best")
