"""Sampling parameters through the whole engine, on a tiny model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import transformers

from espalier.errors import EngineError, InvalidRequestError
from espalier.runtime.client import InlineLink
from espalier.runtime.engine import Engine
from espalier.runtime.model_runner import DelayedRunner
from espalier.runtime.torch_runner import TorchRunner
from espalier.types import Result, SamplingParams

PROMPT = [5, 6, 7, 8, 9, 10]
EOS = 2


@pytest.fixture(scope="module")
def engine(tiny_model: Callable[..., Any]) -> Iterator[Engine]:
    with Engine(str(tiny_model("qwen3").folder), inline=True, device="cpu") as made:
        yield made


def _run(engine: Engine, prompt: list[int] = PROMPT, **params: Any) -> Result:
    [result] = engine.generate(input_ids=[prompt], sampling_params=SamplingParams(**params))
    return result


def test_a_seed_repeats_and_is_reported(engine: Engine) -> None:
    first = _run(engine, max_tokens=12, temperature=1.5, ignore_eos=True)
    again = _run(engine, max_tokens=12, temperature=1.5, ignore_eos=True, seed=first.seed)
    other = _run(engine, max_tokens=12, temperature=1.5, ignore_eos=True)
    assert again.token_ids == first.token_ids
    assert again.seed == first.seed != other.seed
    assert other.token_ids != first.token_ids
    negative = _run(engine, max_tokens=12, temperature=1.5, ignore_eos=True, seed=-(2**63))
    assert negative.seed == -(2**63)


def test_drawn_seeds_follow_the_engines(tiny_model: Callable[..., Any]) -> None:
    seeds = []
    for seed in (1, 1, 2):
        with Engine("null", inline=True, seed=seed) as engine:
            results = engine.generate(input_ids=[[1], [1]], sampling_params={"max_tokens": 1})
            seeds.append([result.seed for result in results])
    assert seeds[0] == seeds[1] != seeds[2]
    assert len(set(seeds[0])) == 2


def test_n_samples_compute_the_prompt_once(engine: Engine) -> None:
    engine.flush_cache()
    result = _run(
        engine, n=4, max_tokens=10, temperature=1.5, seed=3, ignore_eos=True, prompt_logprobs=1
    )
    samples = result.samples
    assert [sample.index for sample in samples] == [0, 1, 2, 3]
    assert len({tuple(sample.token_ids) for sample in samples}) == 4
    assert sum(sample.computed_tokens for sample in samples) == len(PROMPT)
    assert sum(sample.shared_tokens for sample in samples) == 3 * len(PROMPT)
    assert {sample.seed for sample in samples} == {3}
    assert samples[0].token_ids == result.token_ids
    assert (
        samples[0].token_ids
        == _run(engine, max_tokens=10, temperature=1.5, seed=3, ignore_eos=True).token_ids
    )
    for sample in samples:
        assert sample.prompt_logprobs == result.prompt_logprobs
    assert result.prompt_logprobs is not None
    assert len(result.prompt_logprobs) == len(PROMPT)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_no_numbers_end_their_own_request(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    """As where float16 overflows: whoever sees token 7 computes NaN, and keys and values of its
    prefix, too: torch's attention multiplies what a row does not see by 0."""
    assert isinstance(engine.link, InlineLink)
    runner = engine.link.core._runner
    if isinstance(runner, DelayedRunner):
        runner = runner._inner
    assert isinstance(runner, TorchRunner)
    asked = {"max_tokens": 6, "ignore_eos": True, "temperature": temperature, "seed": 3}
    right = _run(engine, [5, 6, 8], **asked)
    engine.flush_cache()
    embedding = runner.model.embedding.weight.clone()  # type: ignore[attr-defined]
    embedding[7] = math.nan
    monkeypatch.setattr(runner.model.embedding, "weight", embedding)  # type: ignore[attr-defined]
    for more in ({}, {"prompt_logprobs": 0}):
        bad, good = engine.generate(
            input_ids=[[5, 6, 7], [9, 8]], sampling_params=asked | more, on_error="return"
        )
        assert type(bad.error) is EngineError
        assert "NaN" in str(bad.error)
        assert (bad.token_ids, bad.generated_tokens) == ([], 0)
        assert good.error is None
        assert engine.explain([5, 6, 7])["matched"] == 0
        assert _run(engine, [5, 6, 8], **asked).token_ids == right.token_ids
        engine.flush_cache()
    with pytest.raises(EngineError, match="NaN"):
        engine.score([[5, 6, 7, 8, 9]], [1])
    with pytest.raises(EngineError, match="NaN"):
        engine.embed(input_ids=[5, 6, 7, 8])
    assert engine.stats()["free_slots"] == engine.info.capacity
    engine.check_invariants()


def test_logit_bias_forces_and_bans(engine: Engine) -> None:
    free = _run(engine, max_tokens=8, ignore_eos=True)
    assert _run(engine, max_tokens=4, logit_bias={33: 1e30}).token_ids == [33] * 4
    assert _run(engine, max_tokens=4, logit_bias={33: 1e300}, temperature=1.0).token_ids == [33] * 4
    banned = dict.fromkeys(free.token_ids, -math.inf)
    result = _run(engine, max_tokens=8, ignore_eos=True, logit_bias=banned)
    assert not set(result.token_ids) & set(free.token_ids)
    for bias in (0.5, -3.0):
        near = _run(engine, max_tokens=1, ignore_eos=True, logit_bias={4: bias}, logprobs=0)
        assert near.logprobs is not None


def test_min_tokens_holds_every_end_back(engine: Engine) -> None:
    first = _run(engine, max_tokens=30, ignore_eos=True).token_ids
    stop = first[3]
    at = first.index(stop)
    plain = _run(engine, max_tokens=30, stop_token_ids=[stop], ignore_eos=True)
    assert plain.token_ids == first[:at]
    held = _run(engine, max_tokens=30, stop_token_ids=[stop], ignore_eos=True, min_tokens=at + 2)
    assert len(held.token_ids) >= at + 2
    assert stop not in held.token_ids


def test_the_models_own_end_counts_without_a_tokenizer(engine: Engine) -> None:
    """config.json names it."""
    result = _run(engine, max_tokens=5, logit_bias={EOS: 1e9})
    assert (result.token_ids, result.finish_reason, result.matched_stop) == ([], "stop", EOS)
    assert result.generated_tokens == 1
    ignoring = _run(engine, max_tokens=5, logit_bias={EOS: 1e9}, ignore_eos=True)
    assert ignoring.token_ids == [EOS] * 5
    held = _run(engine, max_tokens=5, logit_bias={EOS: 1e9}, min_tokens=3)
    assert len(held.token_ids) == 3
    assert EOS not in held.token_ids


def test_top_k_one_and_a_tiny_top_p_are_greedy(engine: Engine) -> None:
    greedy = _run(engine, max_tokens=12, ignore_eos=True).token_ids
    for params in (
        {"top_k": 1},
        {"top_p": 1e-9},
        {"top_p": 1e-46},
        {"min_p": 1.0},
        {"top_k": 2**40, "top_p": 1e-9},
    ):
        result = _run(engine, max_tokens=12, ignore_eos=True, temperature=1.3, seed=4, **params)
        assert result.token_ids == greedy


def test_numbers_that_float32_does_not_hold(engine: Engine) -> None:
    """The hottest draws from all that a grammar leaves; the greatest penalty forbids repeating."""
    params = [
        SamplingParams(max_tokens=1, temperature=1e39, seed=seed, logit_bias={9: 5.0, 12: -5.0})
        for seed in range(40)
    ]
    results = engine.generate(input_ids=[PROMPT] * 40, sampling_params=params)
    assert len({result.token_ids[0] for result in results}) > 25
    for repetition in (1e39, 1e-46):
        result = _run(engine, max_tokens=8, ignore_eos=True, repetition_penalty=repetition)
        repeats = {*PROMPT} & {*result.token_ids}
        assert len(result.token_ids) == 8
        assert bool(repeats) == (repetition < 1)


def test_frequencies_follow_the_models_own_probabilities(engine: Engine) -> None:
    """300 seeds of one prompt in one batch; the model's probabilities from its logprobs."""
    asked = _run(engine, max_tokens=1, logprobs=199, ignore_eos=True)
    assert asked.logprobs is not None
    probs = {token: math.exp(logprob) for token, logprob in asked.logprobs[0].top}
    assert math.isclose(sum(probs.values()), 1.0, abs_tol=1e-4)
    params = [
        SamplingParams(max_tokens=1, temperature=1.0, seed=seed, ignore_eos=True)
        for seed in range(300)
    ]
    results = engine.generate(input_ids=[PROMPT] * 300, sampling_params=params)
    counts = Counter(result.token_ids[0] for result in results)
    for token, prob in probs.items():
        spread = math.sqrt(300 * prob * (1 - prob)) + 1
        assert abs(counts[token] - 300 * prob) < 5 * spread


def test_a_near_tie_is_counted(engine: Engine) -> None:
    """Two tokens are given the same logit; the result says that its answer hung on a hair."""
    asked = _run(engine, max_tokens=1, logprobs=2, ignore_eos=True)
    assert asked.logprobs is not None
    (best, high), (second, low) = asked.logprobs[0].top
    tied = _run(engine, max_tokens=1, ignore_eos=True, logit_bias={second: high - low})
    assert tied.near_ties == 1
    assert tied.token_ids[0] in (best, second)
    clear = _run(engine, max_tokens=1, ignore_eos=True, logit_bias={second: high - low + 0.01})
    assert (clear.near_ties, clear.token_ids) == (0, [second])


def test_alternatives_are_each_requests_own(engine: Engine) -> None:
    """How many are told does not depend on what a neighbour of the same step asked for."""
    params = [
        SamplingParams(max_tokens=2, prompt_logprobs=0, logprobs=0, ignore_eos=True),
        SamplingParams(max_tokens=2, prompt_logprobs=5, logprobs=3, ignore_eos=True),
        SamplingParams(max_tokens=2, prompt_logprobs=2, ignore_eos=True),
    ]
    prompts = [[20 + i, *PROMPT] for i in range(3)]
    results = engine.generate(input_ids=prompts, sampling_params=params)
    for result, tops in zip(results, (0, 5, 2), strict=True):
        assert {len(entry.top) for entry in result.prompt_logprobs or [] if entry} == {tops}
    assert [len(entry.top) for entry in results[0].logprobs or []] == [0, 0]
    assert [len(entry.top) for entry in results[1].logprobs or []] == [3, 3]
    assert results[2].logprobs is None


def test_repetition_penalty_is_transformers(engine: Engine, tiny_model: Callable[..., Any]) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_model("qwen3").folder)
    for penalty in (0.6, 1.3, 3.0):
        [expected] = model.generate(
            torch.tensor([PROMPT]),
            attention_mask=torch.ones(1, len(PROMPT), dtype=torch.int64),
            max_new_tokens=24,
            min_new_tokens=24,
            do_sample=False,
            repetition_penalty=penalty,
            eos_token_id=None,
            pad_token_id=0,
        )
        ours = _run(engine, max_tokens=24, ignore_eos=True, repetition_penalty=penalty)
        assert ours.token_ids == expected[len(PROMPT) :].tolist()


def _naive_penalised(
    model: Any,
    count: int,
    repetition: float,
    frequency: float,
    presence: float,
    bias: dict[int, float],
) -> list[int]:
    """Greedy decoding by the definition, one token and one whole forward at a time."""
    generated: list[int] = []
    for _ in range(count):
        with torch.inference_mode():
            logits = model(torch.tensor([PROMPT + generated])).logits[0, -1].double().tolist()
        for token, value in bias.items():
            logits[token] += value
        for token in {*PROMPT, *generated}:
            value = logits[token]
            logits[token] = value / repetition if value > 0 else value * repetition
        for token in set(generated):
            logits[token] -= frequency * generated.count(token) + presence
        generated.append(max(range(len(logits)), key=logits.__getitem__))
    return generated


PENALTIES = [
    (1.0, 1.5, 0.0, {}),
    (1.0, 0.0, 2.0, {}),
    (1.4, 0.3, -0.5, {33: 0.2}),
    (0.8, -0.1, 0.4, {}),
    (1.0, -2.0, 0.0, {}),
]


def test_penalties_are_what_their_definition_says(
    engine: Engine, tiny_model: Callable[..., Any]
) -> None:
    """Alone, and all in one batch with requests that ask for none."""
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_model("qwen3").folder)
    expected = [_naive_penalised(model, 20, *penalties) for penalties in PENALTIES]
    plain = _run(engine, max_tokens=20, ignore_eos=True).token_ids
    assert all(tokens != plain for tokens in expected)
    params = [
        SamplingParams(
            max_tokens=20,
            ignore_eos=True,
            repetition_penalty=repetition,
            frequency_penalty=frequency,
            presence_penalty=presence,
            logit_bias=bias,
        )
        for repetition, frequency, presence, bias in PENALTIES
    ]
    alone = [
        engine.generate(input_ids=[PROMPT], sampling_params=each)[0].token_ids for each in params
    ]
    assert alone == expected
    free = SamplingParams(max_tokens=20, ignore_eos=True)
    mixed = [free, *params, free]
    together = engine.generate(input_ids=[PROMPT] * len(mixed), sampling_params=mixed)
    assert [result.token_ids for result in together] == [plain, *expected, plain]


def test_penalties_survive_a_retract(tiny_model: Callable[..., Any]) -> None:
    """Sequences thrown out in the middle come back with the counts they had."""
    params = SamplingParams(
        max_tokens=40, ignore_eos=True, frequency_penalty=0.7, presence_penalty=0.3
    )
    prompts = [[*PROMPT, 40 + i] for i in range(6)]
    folder = str(tiny_model("qwen3").folder)
    with Engine(folder, inline=True, device="cpu") as roomy:
        alone = [roomy.generate(input_ids=[p], sampling_params=params)[0] for p in prompts]
    with Engine(folder, inline=True, device="cpu", max_total_tokens=120) as tight:
        results = tight.generate(input_ids=prompts, sampling_params=params)
        assert tight.stats()["retractions"] > 0
    assert [r.token_ids for r in results] == [r.token_ids for r in alone]


def test_banning_all_that_may_come_is_an_error(engine: Engine) -> None:
    vocab = 199
    everything = dict.fromkeys(range(vocab), -math.inf)
    [bad, good] = engine.generate(
        input_ids=[PROMPT] * 2,
        sampling_params=[
            SamplingParams(max_tokens=3, logit_bias=everything, temperature=0.7),
            SamplingParams(max_tokens=3, ignore_eos=True),
        ],
        on_error="return",
    )
    assert isinstance(bad.error, InvalidRequestError)
    assert (bad.error.where, bad.finish_reason) == ("logit_bias", "error")
    assert good.finish_reason == "length"
    last = engine.generate(
        input_ids=[PROMPT],
        sampling_params=SamplingParams(
            max_tokens=3, logit_bias=dict.fromkeys(range(vocab), -1e300)
        ),
    )
    assert last[0].error is None
