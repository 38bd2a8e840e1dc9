"""`select` against transformers' logits, and its rules on a script."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

import espalier as esp
from espalier.errors import ProgramError
from espalier.frontend_lang.backends.base import Scoring
from espalier.frontend_lang.backends.shared_scores import completed, starts
from espalier.frontend_lang.scoring import has_prefix_pair
from espalier.types import Result, TokenLogprob
from tests.frontend_lang import machines
from tests.frontend_lang.machines import Templated

State = Any


def log_probability(model: Any, ids: list[int], start: int) -> float:
    """The sum of raw log probabilities of ids[start:], by transformers in one plain forward."""
    with torch.no_grad():
        rows = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return float(sum(rows[at - 1, ids[at]] for at in range(start, len(ids))))


def run(engine: Any, before: str, choices: list[str], **options: Any) -> State:
    @esp.function
    def body(s: State) -> None:
        s += before + esp.select("x", choices, **options)

    return body.run(backend=engine, seed=5)


def expected(tiny: tuple[Path, Any], before: str, choices: list[str], end: bool) -> list[float]:
    """Per choice, log P(choice, and the end | the text before the tail), canonical tokens."""
    tokenizer = machines.byte_level()
    whole = [tokenizer.encode(before + choice, add_bos=True) for choice in choices]
    head = tokenizer.encode(before[: before.rindex(" ")], add_bos=True)
    ends = sorted(tokenizer.eos_ids) if end else [None]
    assert all(ids[: len(head)] == head for ids in whole)
    return [
        math.log(
            sum(
                math.exp(log_probability(tiny[1], ids + ([e] if e is not None else []), len(head)))
                for e in ends
            )
        )
        for ids in whole
    ]


@pytest.mark.parametrize("end", [False, True])
def test_probabilities_are_those_of_canonical_tokens(
    tiny: tuple[Path, Any], engine: Any, end: bool
) -> None:
    before = "The quick brown fox is a qui"
    choices = ["ck", "te", "", "ck brown"] if end else ["ck", "te", "z"]
    assert has_prefix_pair(choices) == end
    state = run(engine, before, choices)
    meta = state.get_meta_info("x")
    truth = expected(tiny, before, choices, end)
    assert [meta["logprobs"][choice] for choice in choices] == pytest.approx(truth, abs=1e-3)
    total = sum(math.exp(value) for value in truth)
    assert [meta["probabilities"][choice] for choice in choices] == pytest.approx(
        [math.exp(value) / total for value in truth], abs=1e-3
    )
    assert state["x"] == choices[truth.index(max(truth))]
    assert meta["ends_scored"] == end


def test_the_winners_tokens_replace_the_tail(engine: Any) -> None:
    state = run(engine, "The quick brown fox is a qui", ["ck", "te"])
    tokenizer = machines.byte_level()
    text = "The quick brown fox is a qui" + state["x"]
    assert state.token_ids() == tokenizer.encode(text, add_bos=True)
    assert state.text() == text


def test_all_choices_share_one_prefix(engine: Any) -> None:
    before = "def f(x): return x and some more words that are shared "
    choices = [f"{n} plus" for n in range(8)]
    state = run(engine, before, choices)
    [call] = state.report().calls()
    prefix = len(machines.byte_level().encode(before, add_bos=True))
    assert call.kind == "select"
    assert call.prompt > 8 * (prefix - 3)
    assert call.computed < prefix + 8 * 12


def test_what_all_choices_begin_with_is_computed_once(engine: Any) -> None:
    before = "def f(x): return x and the tail: one-two-three-four-five-six-seven-eight-nine"
    choices = [" yes", " no", " maybe so"]
    engine.flush_cache()
    state = run(engine, before, choices)
    [call] = state.report().calls()
    tokenizer = machines.byte_level()
    whole = [tokenizer.encode(before + choice, add_bos=True) for choice in choices]
    shared = len(tokenizer.encode(before, add_bos=True))
    assert all(ids[:shared] == whole[0][:shared] for ids in whole)
    # Each row computes its own token before the one that it scores, but not its last one.
    own = sum(len(ids) - shared for ids in whole)
    assert call.computed <= shared + own
    told = state.get_meta_info("x")["input_token_logprobs"]
    assert [[token for _, token in row] for row in told] == [
        ids[-len(row) :] for ids, row in zip(whole, told, strict=True)
    ]
    behind = {
        tuple(row[: len(row) - (len(ids) - shared)]) for ids, row in zip(whole, told, strict=True)
    }
    assert len(behind) == 1
    [common] = behind
    assert len(common) > 4


def test_rows_that_share_nothing_are_scored_as_they_are() -> None:
    def starts_of(rows: list[list[int]], start: list[int]) -> list[int]:
        choices = tuple(map(str, range(len(rows))))
        return starts(
            Scoring(input_ids=rows, start=start, choices=choices, choice_of=[*range(len(rows))])
        )

    assert starts_of([[1, 2, 3], [1, 4, 3]], [1, 1]) == [1, 1]
    assert starts_of([[1, 2, 3, 5], [1, 2, 3, 6]], [1, 1]) == [1, 3]
    assert starts_of([[1, 2, 3], [1, 2, 3, 6]], [1, 1]) == [1, 2]  # each scores a token
    assert starts_of([[1, 2, 3], [1, 2, 3]], [1, 2]) == [1, 2]
    assert starts_of([[9, 2, 3], [1, 2, 4]], [1, 1]) == [1, 1]
    assert starts_of([[1, 2, 3]], [1]) == [1]


def test_a_row_that_failed_stays_as_it_is() -> None:
    entries = [TokenLogprob(token_id=n, logprob=-float(n)) for n in range(3)]
    whole = Result(request_id=1, prompt_logprobs=[*entries])
    own = Result(request_id=2, prompt_logprobs=[entries[2]])
    failed = Result(request_id=3)
    results = completed([whole, own, failed], [1, 3, 3])
    assert [result.prompt_logprobs for result in results] == [entries, entries, None]
    assert completed([failed, own], [1, 3])[1].prompt_logprobs == entries


def test_a_choice_after_generated_tokens(engine: Any) -> None:
    @esp.function
    def body(s: State) -> None:
        s += "The " + esp.gen("g", 5) + esp.select("x", ["a", "b"]) + esp.gen("h", 3)

    state = body.run(backend=engine, seed=1)
    generated = state.get_meta_info("g")["token_ids"]
    ids = state.token_ids()
    start = len(machines.byte_level().encode("The ", add_bos=True))
    assert ids[start : start + len(generated)] == generated
    assert state["h"] is not None


@pytest.mark.parametrize(
    "method",
    ["token_length_normalized", "greedy_token_selection", "unconditional_likelihood_normalized"],
)
def test_methods_run_and_agree_with_their_definition(engine: Any, method: str) -> None:
    choices = ["quick", "lazy dog over there", "x"]
    state = run(engine, "The ", choices, choices_method=method)
    meta = state.get_meta_info("x")
    scores = meta["scores"]
    assert state["x"] == max(choices, key=scores.__getitem__)
    if method == "token_length_normalized":
        assert list(scores.values()) == pytest.approx(meta["normalized_prompt_logprobs"])


def test_a_temperature_draws_by_the_seed() -> None:
    @esp.function
    def body(s: State) -> None:
        s += "a" + esp.select("x", ["p", "q"], temperature=1.0)

    def draw(seed: int) -> str:
        weights: Any = {"x": {"p": 0.7, "q": 0.3}}
        return str(body.run(backend=esp.Scripted(weights), seed=seed)["x"])

    drawn = [draw(seed) for seed in range(200)]
    assert 115 <= drawn.count("p") <= 165
    assert drawn == [draw(seed) for seed in range(200)]


def test_scripted_probabilities_and_prefixes() -> None:
    @esp.function
    def body(s: State) -> None:
        s += "a" + esp.select("x", ["yes", "yes, sure", "no"])

    weights: Any = {"x": {"yes": 0.2, "yes, sure": 0.5, "no": 0.3}}
    state = body.run(backend=esp.Scripted(weights))
    assert state["x"] == "yes, sure"
    assert state.get_meta_info("x")["probabilities"] == pytest.approx(weights["x"])
    assert state.get_meta_info("x")["ends_scored"]


def test_prefixes_without_an_end_token() -> None:
    backend = esp.Scripted({"x": "a"})
    backend.tokenizer = Templated(None)
    backend.tokenizer.eos_ids = frozenset()
    state = run(backend, "b", ["a", "ab"])
    with pytest.raises(ProgramError, match="no end token"):
        state["x"]


@pytest.mark.parametrize(
    ("text", "choices"),
    [("Answer: ", ["yes"]), ("Q:", ["a"]), ("Answer", ["yes", "no"]), ("x", ["y", "zebra"])],
)
def test_short_texts_before_choices(text: str, choices: list[str]) -> None:
    """Without BOS the choices' first token may be part of the text's last one: something of the
    text predicts what is scored, and one choice has a token to score."""
    with esp.Engine("sprig", inline=True, device="cpu") as engine:
        state = run(engine, text, choices)
        assert state["x"] in choices
        assert state.text() == text + state["x"]


def test_nothing_to_go_by() -> None:
    backend = esp.Scripted({"x": "a"})
    backend.tokenizer = Templated(None, adds_bos=False)
    state = run(backend, "", ["a", "b"])
    with pytest.raises(ProgramError, match="before the choices") as caught:
        state["x"]
    assert __file__ in str(caught.value.where)
    assert state.report().totals()["failed"] == 1


def test_prefix_pairs() -> None:
    assert has_prefix_pair(["a", "b", "ab"])
    assert has_prefix_pair(["", "x"])
    assert has_prefix_pair(["a!", "ab", "a"])
    assert not has_prefix_pair(["True", "False", "Unknown"])


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_a_choice_whose_scoring_was_aborted_does_not_win(reason: Any) -> None:
    """It has no logprobs, the sum of which would be that of a certain choice."""

    class Aborted(esp.Scripted):
        async def score(self, scoring: Any) -> list[esp.Result]:
            results = await super().score(scoring)
            return [results[0], esp.Result(request_id=1, finish_reason=reason)]

    @esp.function
    def body(s: State) -> None:
        s += "a" + esp.select("x", ["one", "two"])

    state = body.run(backend=Aborted({"x": {"one": 0.9, "two": 0.1}}))
    with pytest.raises(ProgramError, match=r"aborted|failed"):
        state["x"]
