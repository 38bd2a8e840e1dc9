"""The rules that weigh choices, on numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, strategies as st

import espalier as esp
from espalier.errors import InvalidRequestError
from espalier.frontend_lang.choices import (
    ChoicesMethod,
    Evidence,
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
    bare = [[-4.0, -1.0, -4.0], [-1.0], [-8.0, -1.0]]
    assert scores(unconditional_likelihood_normalized, ROWS, SUMS, bare) == [2.0, -0.5, 3.0]
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


def test_a_rule_of_ones_own() -> None:
    seen: list[Evidence] = []

    def last(evidence: Evidence) -> tuple[str, dict[str, Any]]:
        seen.append(evidence)
        return evidence.choices[-1], {"why": "last"}

    @esp.function
    def body(s: esp.ProgramState, rule: Any) -> None:
        s += "It is " + esp.select("x", ["good", "bad"], choices_method=rule)

    backend = esp.Scripted({"x": "good"})
    state = body.run(rule=ChoicesMethod("last", True, rule=last), backend=backend)
    assert state["x"] == "bad"
    assert state.get_meta_info("x")["why"] == "last"
    assert seen[0].unconditional is not None
    assert [len(row) for row in seen[0].logprobs] == [len(row) for row in seen[0].unconditional]
    wrong = ChoicesMethod("wrong", rule=lambda _evidence: ("ugly", {}))
    with pytest.raises(esp.ProgramError, match="one of the choices"):
        body.run(rule=wrong, backend=backend)["x"]
    with pytest.raises(InvalidRequestError, match="temperature 0"):
        esp.select("x", ["a"], temperature=0.5, choices_method=wrong)
