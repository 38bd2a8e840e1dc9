"""deterministic: the same to the last bit, whatever else runs and however a prompt is cut."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from espalier.errors import NotSupportedError
from espalier.runtime.engine import Engine
from espalier.types import Result, SamplingParams
from tests.tiny_foreign import save_foreign

Make = Callable[..., Any]


def _prompts() -> list[list[int]]:
    rng = random.Random(5)
    stem = [rng.randrange(3, 190) for _ in range(37)]
    prompts = []
    for _ in range(9):
        tail = [rng.randrange(3, 190) for _ in range(rng.randrange(1, 30))]
        prompts.append(stem[: rng.randrange(5, 38)] + tail)
    return prompts


def _params(number: int, **more: Any) -> SamplingParams:
    return SamplingParams(
        max_tokens=20,
        ignore_eos=True,
        temperature=(0.0, 0.9)[number % 2],
        seed=number,
        logprobs=3,
        **more,
    )


def _bits(result: Result) -> tuple[Any, ...]:
    """Tokens and logprobs, compared exactly."""
    logprobs = [(entry.logprob, entry.top) for entry in result.logprobs or []]
    return tuple(result.token_ids), tuple(map(repr, logprobs))


def _engine(tiny_model: Make, **options: Any) -> Engine:
    return Engine(str(tiny_model("qwen3").folder), inline=True, device="cpu", **options)


@pytest.fixture(scope="module")
def alone(tiny_model: Make) -> list[tuple[Any, ...]]:
    """Each prompt by itself, nothing cached."""
    found = []
    with _engine(tiny_model, enable_radix_cache=False) as engine:
        for number, prompt in enumerate(_prompts()):
            params = _params(number, deterministic=True)
            found += engine.generate(input_ids=[prompt], sampling_params=params)
    return [_bits(result) for result in found]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"step_tokens": 7},
        {"page_size": 16, "max_total_tokens": 1600},
        {"max_total_tokens": 200},
        {"overlap": True},
    ],
    ids=["together", "chunks of 7", "pages of 16", "retracted", "one step late"],
)
def test_bit_for_bit(
    tiny_model: Make, alone: list[tuple[Any, ...]], options: dict[str, Any]
) -> None:
    params = [_params(number, deterministic=True) for number in range(len(alone))]
    with _engine(tiny_model, **options) as engine:
        results = engine.generate(input_ids=_prompts(), sampling_params=params)
        again = engine.generate(input_ids=_prompts()[::-1], sampling_params=params[::-1])
        retractions = engine.stats()["retractions"]
    assert [_bits(result) for result in results] == alone
    assert [_bits(result) for result in again[::-1]] == alone
    assert any(result.cached_tokens for result in again)
    assert bool(retractions) == (options.get("max_total_tokens") == 200)


def test_beside_others_that_do_not_ask(tiny_model: Make, alone: list[tuple[Any, ...]]) -> None:
    """Their prefixes are the same, and are not shared with it."""
    free = SamplingParams(max_tokens=20, ignore_eos=True)
    with _engine(tiny_model) as engine:
        engine.generate(input_ids=_prompts(), sampling_params=free)
        prompts = [prompt for prompt in _prompts() for _ in range(2)]
        params = [
            each
            for number in range(len(alone))
            for each in (free, _params(number, deterministic=True))
        ]
        results = engine.generate(input_ids=prompts, sampling_params=params)
        engine.check_invariants()
        [plain] = engine.generate(input_ids=_prompts()[:1], sampling_params=free)
    assert [_bits(result) for result in results[1::2]] == alone
    assert results[0].token_ids == plain.token_ids


def test_scores_too(tiny_model: Make) -> None:
    """Alone, together and on what others of its kind have cached."""
    prompts, start = _prompts(), [2] * len(_prompts())
    with _engine(tiny_model, enable_radix_cache=False) as engine:
        alone = [
            engine.score([prompt], [2], deterministic=True)[0].prompt_logprobs for prompt in prompts
        ]
    with _engine(tiny_model) as engine:
        engine.score(prompts, start)
        found = engine.score(prompts, start, deterministic=True)
        params = _params(0, deterministic=True)
        [after] = engine.generate(input_ids=prompts[:1], sampling_params=params)
    assert [repr(result.prompt_logprobs) for result in found] == list(map(repr, alone))
    assert not any(result.cached_tokens > 2 for result in found[:1])
    assert after.cached_tokens > 2


def test_a_whole_engine_of_it(tiny_model: Make, alone: list[tuple[Any, ...]]) -> None:
    with _engine(tiny_model, deterministic=True) as engine:
        params = [_params(number) for number in range(len(alone))]
        results = engine.generate(input_ids=_prompts(), sampling_params=params)
    assert [_bits(result) for result in results] == alone


def test_numbers_are_the_models(tiny_model: Make) -> None:
    """Not only the same each time, but right: as without, to rounding."""
    params = {"max_tokens": 12, "ignore_eos": True, "logprobs": 0, "prompt_logprobs": 0}
    with _engine(tiny_model) as engine:
        for prompt in _prompts()[:4]:
            [plain] = engine.generate(input_ids=[prompt], sampling_params=params)
            [fixed] = engine.generate(
                input_ids=[prompt], sampling_params={**params, "deterministic": True}
            )
            assert fixed.token_ids == plain.token_ids
            ours = [*(fixed.logprobs or []), *(fixed.prompt_logprobs or [])]
            theirs = [*(plain.logprobs or []), *(plain.prompt_logprobs or [])]
            assert len(ours) == len(theirs) == 12 + len(prompt)
            for one, other in zip(ours, theirs, strict=True):
                assert (one is None) == (other is None)
                if one is not None and other is not None:
                    assert one.logprob == pytest.approx(other.logprob, abs=1e-4)


def test_up_to_the_end_of_the_context(tiny_model: Make) -> None:
    """The last block reaches beyond it."""
    with _engine(tiny_model, max_total_tokens=60) as engine:
        prompt = list(range(3, 40))
        [fixed] = engine.generate(
            input_ids=[prompt],
            sampling_params={"max_tokens": None, "ignore_eos": True, "deterministic": True},
        )
        assert fixed.finish_reason == "length"
        assert len(prompt) + len(fixed.token_ids) == 61  # the last needs no slot


@pytest.mark.parametrize("model_type", ["mixtral", "gpt_oss", "deepseek_v3"])
def test_models_whose_rows_depend_on_each_other_refuse(model_type: str, tmp_path: Path) -> None:
    """Experts: a row is multiplied together with those that chose the same one."""
    save_foreign(model_type, tmp_path)
    with pytest.raises(NotSupportedError, match="experts"):
        Engine(str(tmp_path), inline=True, device="cpu", deterministic=True)
    with Engine(str(tmp_path), inline=True, device="cpu") as engine:
        params = {"max_tokens": 2, "deterministic": True}
        with pytest.raises(NotSupportedError, match="experts"):
            engine.generate(input_ids=[[5, 6]], sampling_params=params)
        assert engine.generate(input_ids=[[5, 6]], sampling_params={"max_tokens": 2})


def test_a_model_of_transformers_own(tmp_path: Path) -> None:
    save_foreign("gpt2", tmp_path)
    params = [_params(number, deterministic=True) for number in range(4)]
    prompts = _prompts()[:4]
    with Engine(str(tmp_path), inline=True, device="cpu") as engine:
        alone = [
            engine.generate(input_ids=[prompt], sampling_params=each)[0]
            for prompt, each in zip(prompts, params, strict=True)
        ]
    with Engine(str(tmp_path), inline=True, device="cpu", step_tokens=7) as engine:
        together = engine.generate(input_ids=prompts, sampling_params=params)
    assert [_bits(result) for result in together] == [_bits(result) for result in alone]
