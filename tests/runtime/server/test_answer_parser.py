"""Answers made in stages: read the same at every split, and stages lead where they should."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from espalier.grammar import GrammarSpec
from espalier.runtime.server.answer_parser import AnswerParser
from espalier.runtime.server.answer_pieces import Piece, Told, joined
from espalier.runtime.server.jobs import Job
from espalier.runtime.server.reasoning import ReasoningPlan
from espalier.runtime.server.stages import Stage
from espalier.runtime.server.structured import AskedGrammar
from espalier.types import REASONING_MARKS, Result, SamplingParams

MAGISTRAL = REASONING_MARKS["mistral"]
PLAN = ReasoningPlan(marks=MAGISTRAL, opened=False, exact=False, ids=(1, 2))
BITS = ["[THINK]", " ", "\n", "so", "é🙂", "{", '"', "</think>"]
Parts = list[tuple[Stage, str]]


def read(plan: ReasoningPlan | None, parts: Parts, cut: tuple[int, int] | None = None) -> Told:
    """cut: a part, and where in it."""
    parser = AnswerParser(plan, None, parts[0][0])
    told: list[Piece] = []
    for number, (stage, text) in enumerate(parts):
        told += parser.enter(stage) if number else []
        place = cut[1] if cut is not None and cut[0] == number else 0
        told += parser.feed(text[:place]) + parser.feed(text[place:])
    return joined(told + parser.finish())


def sampled(rng: random.Random) -> tuple[Parts, Told]:
    """As a model with Mistral's newer forms answers: text, reasoning, text, calls."""
    thought = "".join(rng.choices(BITS, k=rng.randint(0, 6)))
    answer = rng.choice(["", "yes", " \n no \n"])
    parts: Parts = [(Stage(), ""), (Stage(kind="reasoning"), thought), (Stage(), answer)]
    calls = []
    for _ in range(rng.randint(0, 3)):
        arguments = json.dumps({"a": "".join(rng.choices(BITS, k=3))}, ensure_ascii=False)
        parts += [
            (Stage(kind="name"), "get"),
            (Stage(kind="arguments", tool="get"), arguments),
            (Stage(decides=True), ""),
        ]
        calls.append(("get", arguments))
    return parts, Told(thought.strip() or None, answer.lstrip() or None, calls)


@pytest.mark.parametrize("streamed", [False, True])
def test_every_split_reads_the_same(streamed: bool) -> None:
    """200 sampled answers, at every split point of each stage."""
    rng = random.Random(7)
    plan = ReasoningPlan(marks=MAGISTRAL, opened=False, exact=False, ids=(1, 2), streamed=streamed)
    for number in range(200):
        parts, expected = sampled(rng)
        assert read(plan, parts) == expected, number
        for part, (_, text) in enumerate(parts):
            for place in range(1, len(text)):
                assert read(plan, parts, (part, place)) == expected, (number, part, place)


def test_reasoning_that_is_not_told_apart() -> None:
    parts: Parts = [(Stage(), "a"), (Stage(kind="reasoning"), " so "), (Stage(), "\nb")]

    def told(**more: Any) -> Told:
        return read(
            ReasoningPlan(marks=MAGISTRAL, opened=False, exact=False, ids=(1, 2), **more), parts
        )

    assert told() == Told("so", "ab", [])
    assert told(told=False) == Told(None, "ab", [])
    assert told(separate=False).content == "a[THINK] so [/THINK]b"
    assert told(separate=False, told=False).content == "ab"


# -- where stages lead -----------------------------------------------------------------------------


def job(stage: Stage, **params: Any) -> Job:
    return Job(input_ids=[5], params=SamplingParams(**{"max_tokens": 9, **params}), stage=stage)


def result(**more: Any) -> Result:
    return Result(request_id=1, **{"token_ids": [6, 7], "generated_tokens": 3, "text": "x", **more})


def test_an_exit_leads_on_behind_its_token() -> None:
    inside = Stage(kind="reasoning", begin=(9,))
    first = job(Stage(exits={8: lambda: inside}), seed=3, stop_token_ids=(4,))
    assert first.stage_params.stop_token_ids == (4, 8)
    after = first.following(result(matched_stop=8, seed=3))
    assert after is not None
    assert (after.stage, after.prompt) == (inside, [5, 6, 7, 8, 9])
    assert (after.params.max_tokens, after.params.n) == (6, 1)
    assert first.following(result(matched_stop=4)) is None
    assert first.following(result(matched_stop="x")) is None
    assert first.following(result(finish_reason="length")) is None


def test_without_tokens_left_an_answer_is_cut() -> None:
    first = job(Stage(exits={8: Stage}), max_tokens=3)
    cut = result(matched_stop=8)
    assert first.following(cut) is None
    assert (first.told(cut).finish_reason, first.told(cut).incomplete) == ("length", "length")
    named = job(Stage(then=lambda _: Stage()), max_tokens=3)
    assert named.told(result()).incomplete == "length"
    more = Stage(decides=True, exits={8: Stage})
    called = job(Stage(then=lambda _: more), max_tokens=3)
    assert called.told(result()).finish_reason == "stop"  # more calls might have come, or none


def test_a_decision_is_taken_back() -> None:
    grammar = AskedGrammar("regex", GrammarSpec.regex("a"))
    first = job(
        Stage(exits={8: Stage}, decides=True, otherwise=Stage(grammar=grammar)), min_tokens=2
    )
    assert (first.stage_params.max_tokens, first.stage_params.min_tokens) == (1, 0)
    other = result(token_ids=[6], generated_tokens=1, finish_reason="length")
    after = first.following(other)
    assert after is not None
    assert (after.prompt, after.params.max_tokens) == ([5], 9)
    assert after.stage.grammar is grammar
    assert (first.told(other).text, first.told(other).generated_tokens) == ("", 0)
    taken = first.following(result(token_ids=[], generated_tokens=1, matched_stop=8))
    assert taken is not None
    assert (taken.prompt, taken.params.max_tokens) == ([5, 8], 8)


def test_the_end_of_a_grammar_leads_on_by_its_text() -> None:
    names: list[str] = []

    def then(text: str) -> Stage:
        names.append(text)
        return Stage(kind="arguments", tool=text, begin=(9,))

    first = job(Stage(kind="name", then=then), stop_token_ids=(4,))
    after = first.following(result(matched_stop=2))
    assert after is not None
    assert (after.stage.tool, after.prompt, names) == ("x", [5, 6, 7, 9], ["x"])
    for ended in (
        result(matched_stop=4),
        result(matched_stop="x"),
        result(incomplete="length", finish_reason="length"),
        result(finish_reason="deadline"),
    ):
        assert first.following(ended) is None
