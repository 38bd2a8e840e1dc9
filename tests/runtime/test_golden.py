"""The engine against transformers: the same logits and, over 64 greedy steps, the same tokens,
however the work is cut, shared, delayed or repeated."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from espalier.runtime.engine import Engine
from espalier.types import Result, SamplingParams

CLOSE = 1e-4
STEPS = 64
MODELS = ["llama2", "llama3", "mistral", "qwen2", "qwen3"]


def _prompt(length: int, seed: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(3, 199) for _ in range(length)]


PROMPTS = [_prompt(41, 1), _prompt(6, 2)]
OTHERS = [PROMPTS[0][:20] + _prompt(5 + i, 10 + i) if i % 3 else _prompt(9, i) for i in range(15)]


class Golden:
    """What transformers says. logprobs: per prompt, [length, vocab]; tokens: greedy, STEPS each."""

    def __init__(self, reference: Any) -> None:
        self.logprobs = []
        self.tokens = []
        with torch.inference_mode():
            for prompt in PROMPTS:
                tokens = list(prompt)
                first = None
                while len(tokens) < len(prompt) + STEPS:
                    logits = reference(torch.tensor([tokens])).logits[0].float()
                    first = logits if first is None else first
                    best = logits[-1].topk(2).values
                    assert best[0] - best[1] > CLOSE, "a near tie: take another model seed"
                    tokens.append(int(logits[-1].argmax()))
                assert first is not None
                self.logprobs.append(first.log_softmax(-1))
                self.tokens.append(tokens[len(prompt) :])


@pytest.fixture(scope="module", params=MODELS)
def golden(request: pytest.FixtureRequest, tiny_model: Callable[..., Any]) -> Any:
    """(folder, what transformers says of it)."""
    tiny = tiny_model(request.param)
    return tiny.folder, Golden(tiny.reference)


def _engine(folder: Any, **options: Any) -> Engine:
    return Engine(str(folder), device="cpu", dtype="float32", inline=True, **options)


def _greedy(engine: Engine, prompts: list[list[int]]) -> list[Result]:
    params = SamplingParams(max_tokens=STEPS, ignore_eos=True)
    return engine.generate(input_ids=prompts, sampling_params=params)


def _check(results: list[Result], wanted: Golden) -> None:
    for result, tokens in zip(results, wanted.tokens, strict=False):
        assert result.token_ids == tokens
        assert result.near_ties == 0


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"step_tokens": 7},
        {"page_size": 16, "max_total_tokens": 4096},
        {"overlap": True},
        {"overlap": True, "step_tokens": 7, "page_size": 16, "max_total_tokens": 4096},
        {"enable_radix_cache": False},
    ],
    ids=["plain", "chunked", "pages", "late", "late-chunked-pages", "no-cache"],
)
def test_the_same_tokens_computed_and_cached(golden: Any, options: dict[str, Any]) -> None:
    folder, wanted = golden
    with _engine(folder, **options) as engine:
        for again in (False, True):
            results = _greedy(engine, PROMPTS)
            _check(results, wanted)
            cached = options.get("enable_radix_cache", True) and again
            assert (sum(result.cached_tokens for result in results) > 0) == cached
        engine.check_invariants()


@pytest.mark.parametrize("overlap", [False, True])
def test_the_same_tokens_beside_fifteen_others(golden: Any, overlap: bool) -> None:
    folder, wanted = golden
    with _engine(folder, overlap=overlap) as engine:
        _check(_greedy(engine, PROMPTS + OTHERS), wanted)
        _check(_greedy(engine, OTHERS[:8] + PROMPTS + OTHERS[8:])[8:10], wanted)


@pytest.mark.parametrize("page", [1, 16])
@pytest.mark.parametrize("overlap", [False, True])
def test_the_same_tokens_when_pushed_out_in_the_middle(
    golden: Any, page: int, overlap: bool
) -> None:
    folder, wanted = golden
    options = {"max_total_tokens": 192, "page_size": page, "overlap": overlap}
    with _engine(folder, **options) as engine:
        _check(_greedy(engine, PROMPTS + OTHERS[:5])[:2], wanted)
        first, second = _greedy(engine, [OTHERS[0], *PROMPTS])[1:]
        _check([first, second], wanted)
        assert engine.stats()["retractions"] > 0
        engine.check_invariants()


def test_prompt_logprobs(golden: Any) -> None:
    """All of them, and the likeliest alternatives, within 1e-4; cached or not, in any chunks."""
    folder, wanted = golden
    params = SamplingParams(max_tokens=1, prompt_logprobs=4, ignore_eos=True)
    for options in ({}, {"step_tokens": 7}):
        with _engine(folder, **options) as engine:
            for _ in range(2):
                results = engine.generate(input_ids=PROMPTS, sampling_params=params)
                for prompt, result, logprobs in zip(PROMPTS, results, wanted.logprobs, strict=True):
                    _check_scores(prompt, result, logprobs)
                    assert result.token_ids[0] == int(logprobs[-1].argmax())


def _check_scores(prompt: list[int], result: Result, logprobs: torch.Tensor) -> None:
    told = result.prompt_logprobs
    assert told is not None
    assert told[0] is None
    assert len(told) == len(prompt)
    for at, entry in enumerate(told[1:], 1):
        assert entry is not None
        assert entry.token_id == prompt[at]
        assert abs(entry.logprob - float(logprobs[at - 1, prompt[at]])) < CLOSE
        best = logprobs[at - 1].topk(4)
        assert [token for token, _ in entry.top] == best.indices.tolist()
        for (_, ours), theirs in zip(entry.top, best.values.tolist(), strict=True):
            assert abs(ours - theirs) < CLOSE


def test_scores_of_given_tokens_share_their_prefix(golden: Any) -> None:
    folder, wanted = golden
    prompt, logprobs = PROMPTS[0], wanted.logprobs[0]
    endings = [prompt[30:], [7, 8], prompt[30:36]]
    with _engine(folder) as engine:
        results = engine.score([prompt[:30] + ending for ending in endings], [30] * 3)
        for result in (results[0], results[2]):
            told = [entry.logprob for entry in result.prompt_logprobs or [] if entry is not None]
            exact = [float(logprobs[at - 1, prompt[at]]) for at in range(30, 30 + len(told))]
            assert max(abs(a - b) for a, b in zip(told, exact, strict=True)) < CLOSE
        assert len(results[2].prompt_logprobs or []) == 6
        # The prefix once; then 10, 1 and 5 rows whose logits are wanted, though the last five's
        # keys are there.
        assert sum(result.computed_tokens for result in results) == 30 + 10 + 1 + 5


def test_logprobs_of_generated_tokens(golden: Any) -> None:
    """Raw: before bias and temperature."""
    folder, wanted = golden
    params = SamplingParams(
        max_tokens=1, logprobs=3, temperature=2.0, seed=5, logit_bias={17: 50.0}, ignore_eos=True
    )
    with _engine(folder) as engine:
        [result] = engine.generate(input_ids=[PROMPTS[0]], sampling_params=params)
    assert result.token_ids == [17]
    assert result.logprobs is not None
    [entry] = result.logprobs
    last = wanted.logprobs[0][-1]
    assert abs(entry.logprob - float(last[17])) < CLOSE
    assert [token for token, _ in entry.top] == last.topk(3).indices.tolist()
