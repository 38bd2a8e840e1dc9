"""200 random requests give the same tokens alone and all at once, in any order, cached or not,
at once or one step late (P3)."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from espalier.benchmarks.soak_cases import GRAMMARS
from espalier.runtime.engine import Engine
from espalier.types import Result, SamplingParams
from tests.tiny_tokenizers import made

COUNT = 200


class Case:
    """One request of every kind: prompts that share, seeds, filters, stops, grammars."""

    def __init__(self, number: int, rng: random.Random, stems: list[list[int]]) -> None:
        stem = rng.choice(stems)
        tail = [rng.randrange(4, 400) for _ in range(rng.randint(0, 8))]
        self.prompt = stem[: rng.randint(1, len(stem))] + tail
        more: dict[str, Any] = {}
        if rng.random() < 0.7:
            more["temperature"] = rng.choice([0.3, 0.8, 1.0, 1.7])
            more["top_k"] = rng.choice([0, 0, 5, 50])
            more["top_p"] = rng.choice([1.0, 1.0, 0.9, 0.5])
            more["min_p"] = rng.choice([0.0, 0.0, 0.05])
        if rng.random() < 0.2:
            more["stop"] = rng.sample([" ", "e", "th", "\ufffd", "ab", "."], 2)
        if rng.random() < 0.1:
            more["logit_bias"] = {rng.randrange(400): 3.0, 300: -float("inf")}
        if rng.random() < 0.1:
            more["min_tokens"] = 6
        late = random.Random(number)  # of its own, so that the draws around it stay
        if late.random() < 0.2:
            more["repetition_penalty"] = late.choice([0.8, 1.2])
            more["frequency_penalty"] = late.choice([0.0, 0.6, -0.2])
            more["presence_penalty"] = late.choice([0.0, 0.5])
        if late.random() < 0.1:
            more["stop_regex"] = ["[a-f]{2}", "o.?w"]
        if late.random() < 0.1:
            more["deterministic"] = True
        if late.random() < 0.1 and "temperature" in more:
            more["temperature"] = 0.01
        self.grammar = rng.choice(GRAMMARS) if rng.random() < 0.3 else None
        self.params = SamplingParams(
            max_tokens=rng.choice([6, 9, 14, 20, 60]) if self.grammar is None else 24,
            seed=number,
            ignore_eos=rng.random() < 0.5,
            logprobs=2 if rng.random() < 0.1 else None,
            **more,
        )


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    rng = random.Random(0)
    text = made("byte-level").encode("the quick brown fox jumps over the lazy dog " * 3)
    stems = [text, text[7:], [rng.randrange(4, 400) for _ in range(50)]]
    return [Case(number, rng, stems) for number in range(COUNT)]


def _run(engine: Engine, cases: list[Case]) -> list[Result]:
    return engine.generate(
        input_ids=[case.prompt for case in cases],
        sampling_params=[case.params for case in cases],
        grammar=[case.grammar for case in cases],
    )


@pytest.fixture(scope="module")
def folder(tiny_model: Callable[..., Any]) -> str:
    return str(tiny_model("llama3", text=True).folder)


@pytest.fixture(scope="module")
def alone(folder: str, cases: list[Case]) -> list[Result]:
    """Each by itself, nothing cached."""
    with Engine(folder, inline=True, device="cpu", enable_radix_cache=False) as engine:
        return [_run(engine, [case])[0] for case in cases]


def test_alone_the_requests_are_of_every_kind(alone: list[Result], cases: list[Case]) -> None:
    reasons = [result.finish_reason for result in alone]
    assert 20 < reasons.count("stop") < 180
    assert sum(isinstance(result.matched_stop, str) for result in alone) > 5
    assert sum(case.grammar is not None for case in cases) > 40
    assert len({tuple(result.token_ids) for result in alone}) > 150
    incomplete = [r for r, c in zip(alone, cases, strict=True) if c.grammar and r.incomplete]
    assert all(isinstance(result.matched_stop, str) for result in incomplete)
    near = sum(result.near_ties for result in alone)
    print(f"near ties: {near} of {sum(result.generated_tokens for result in alone)} tokens")
    assert near == 0


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"overlap": True},
        {"enable_radix_cache": False},
        {"step_tokens": 64, "overlap": True, "page_size": 8, "max_total_tokens": 240},
        {"max_running": 7},
    ],
    ids=["plain", "late", "no-cache", "tight", "few-seats"],
)
@pytest.mark.parametrize("order", [0, 1])
def test_together(
    folder: str, cases: list[Case], alone: list[Result], options: dict[str, Any], order: int
) -> None:
    numbers = list(range(COUNT))
    random.Random(order).shuffle(numbers)
    with Engine(folder, inline=True, device="cpu", **options) as engine:
        results = _run(engine, [cases[number] for number in numbers])
        engine.check_invariants()
        if "max_total_tokens" in options:
            assert engine.stats()["retractions"] > 0
    for number, result in zip(numbers, results, strict=True):
        wanted = alone[number]
        assert result.token_ids == wanted.token_ids, f"request {number}"
        assert (result.text, result.finish_reason) == (wanted.text, wanted.finish_reason)
        assert result.incomplete == wanted.incomplete
        assert result.near_ties == 0
        _same_logprobs(result, wanted)


def test_half_precision_needs_deterministic(folder: str, cases: list[Case]) -> None:
    """Its near ties are not counted: rounding moves its logits farther than they tell."""
    few = [copy.copy(case) for case in cases[:10]]
    for case in few:
        case.params = msgspec.structs.replace(case.params, deterministic=True)
    options: dict[str, Any] = {"inline": True, "device": "cpu", "dtype": "bfloat16"}
    with Engine(folder, enable_radix_cache=False, **options) as engine:
        alone = [_run(engine, [case])[0].token_ids for case in few]
    with Engine(folder, **options) as engine:
        together = [result.token_ids for result in _run(engine, few)]
    assert together == alone


def _same_logprobs(result: Result, wanted: Result) -> None:
    assert (result.logprobs is None) == (wanted.logprobs is None)
    for ours, theirs in zip(result.logprobs or [], wanted.logprobs or [], strict=True):
        assert ours.token_id == theirs.token_id
        assert ours.logprob == pytest.approx(theirs.logprob, abs=1e-4)
