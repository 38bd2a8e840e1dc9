"""The runner without arithmetic, and the environment that makes every runner a late one."""

from __future__ import annotations

import numpy as np
import pytest

from espalier.errors import InvalidRequestError
from espalier.grammar import GrammarSpec
from espalier.runtime.build import OVERLAP, SWITCHES, overlaps
from espalier.runtime.client import InlineLink
from espalier.runtime.engine import Engine
from espalier.runtime.model_runner import DelayedRunner, Masks, NullRunner
from espalier.runtime.plan import Plan
from espalier.types import SamplingParams, TokenLogprob


def test_the_null_runner_takes_the_lowest_token_that_a_row_allows() -> None:
    runner = NullRunner()
    plan = Plan(step=0, sample_from=[0, 1, 2])
    words = np.array([[0, 8 + 16], [1 << 31, 1], [0, 0]], dtype=np.uint32)
    handle = runner.launch(plan)
    # Row 9 was made while nothing else was to do, for a place that cannot be reached in time.
    runner.sample(handle, Masks(samples=[1, 2], rows=[4, 7], new_rows=[4, 7, 9], new_words=words))
    assert runner.collect(handle).tokens == [1, 32 + 3, 31]


@pytest.mark.parametrize("overlap", [False, True])
def test_the_null_model_is_sure_of_every_token(overlap: bool) -> None:
    params = SamplingParams(max_tokens=2, logprobs=3)
    sure = [TokenLogprob(1, 0.0, [(1, 0.0)])] * 2
    with Engine("null", inline=True, overlap=overlap, max_running=1) as engine:
        asked = [params, SamplingParams(max_tokens=2), SamplingParams(max_tokens=2, logprobs=0)]
        told, silent, own = engine.generate(input_ids=[[5, 6], [7], [8]], sampling_params=asked)
        assert (told.logprobs, silent.logprobs) == (sure, None)  # one after the other in one seat
        assert own.logprobs == [TokenLogprob(1, 0.0)] * 2
        [prompt] = engine.generate(input_ids=[[5, 6, 7]], sampling_params={"prompt_logprobs": 2})
        [first, *rest] = prompt.prompt_logprobs or []
        assert first is None
        assert rest == [TokenLogprob(6, 0.0, [(6, 0.0)]), TokenLogprob(7, 0.0, [(7, 0.0)])]
        [scored] = engine.score([[5, 6]], [1])
        assert scored.prompt_logprobs == [TokenLogprob(6, 0.0)]


def test_the_null_model_writes_no_end() -> None:
    """Sprig's token 1 ends a text: every answer was empty."""
    with Engine("null", tokenizer="sprig", inline=True) as engine:
        assert 1 in engine.tokenizer.eos_ids
        [result] = engine.generate("a", SamplingParams(max_tokens=3))
        assert (result.token_ids, result.finish_reason) == ([2, 2, 2], "length")
    with Engine("null", vocab_size=1, inline=True) as engine:
        [result] = engine.generate(input_ids=[[0]], sampling_params=SamplingParams(max_tokens=3))
        assert result.token_ids == [0, 0, 0]


def test_a_grammars_end_comes_before_ignore_eos() -> None:
    """As SamplingParams says: where it may end, the model (here its lowest token) may end it."""
    params = SamplingParams(max_tokens=10, ignore_eos=True)
    with Engine("null", tokenizer="sprig", inline=True) as engine:
        [result] = engine.generate("a", params, grammar=GrammarSpec.regex("b[ab]*"))
    assert (result.text, result.finish_reason, result.incomplete) == ("b", "stop", None)


@pytest.mark.parametrize("asked", [None, False, True])
def test_the_environment_makes_late_results_the_default(
    asked: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is how `make test-delayed` reaches every engine, also those of other processes."""
    for value in ("1", "0"):
        monkeypatch.setenv(OVERLAP, value)
        with Engine("null", inline=True, overlap=asked) as engine:
            assert isinstance(engine.link, InlineLink)
            late = isinstance(engine.link.core._runner, DelayedRunner)
            assert late == (value == "1" if asked is None else asked)


def test_the_environment_turns_overlap_off_on_a_gpu_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, late in (("", (False, True)), ("1", (True, True)), ("0", (False, False))):
        monkeypatch.setenv(OVERLAP, value)
        assert (overlaps(on_gpu=False), overlaps(on_gpu=True)) == late


@pytest.mark.parametrize("name", SWITCHES)
def test_an_environment_that_says_neither_yes_nor_no_starts_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where this engine would not have read it."""
    monkeypatch.setenv(name, "yes")
    for inline in (True, False):
        with pytest.raises(InvalidRequestError, match=f"1 or 0.*'yes'.*{name}"):
            Engine("null", inline=inline)


def test_what_is_let_go_of_with_a_step_under_way_comes_back_at_once() -> None:
    """Nobody steps an inline engine in which nothing runs."""
    with Engine("null", inline=True, overlap=True, max_total_tokens=64) as engine:
        params = SamplingParams(max_tokens=20, ignore_eos=True)
        pieces = engine.stream(input_ids=[5, 6, 7], sampling_params=params)
        next(pieces)
        pieces.close()  # type: ignore[attr-defined]
        stats = engine.stats()
        assert (stats["running"], stats["waiting"]) == (0, 0)
        assert stats["free_slots"] + stats["evictable_slots"] == stats["capacity"]
        engine.flush_cache()
        assert engine.stats()["free_slots"] == stats["capacity"]
