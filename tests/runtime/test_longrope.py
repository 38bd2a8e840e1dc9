"""LongRoPE past its original context (256 here, of 512), against transformers, which turns a
sequence by its long factors from there on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from espalier.errors import InvalidRequestError, ModelLoadError
from espalier.runtime.config import ModelConfig, read_json
from espalier.runtime.engine import Engine
from espalier.runtime.models import load_model
from espalier.types import SamplingParams
from tests.golden_matrix import CLOSE, STEPS, compare, prompt
from tests.tiny_models import Driver, save_tiny

LONG = prompt(300, 1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(our folder, transformers' model)."""
    folder = tmp_path_factory.mktemp("longrope")
    return folder, save_tiny("phi4-mini", folder)


def _expected(reference: Any, tokens: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = reference(torch.tensor([tokens])).logits[0].float()
    return logits


def test_whole_in_pieces_and_on_a_cached_prefix(tiny: Any) -> None:
    folder, reference = tiny
    driver = Driver.of(folder, context_length=512, slots=2048)
    wanted = _expected(reference, LONG)
    whole = driver.step({"whole": LONG})["whole"]
    assert (whole - wanted).abs().max() < CLOSE
    pieces = [LONG[at : at + 70] for at in range(0, 300, 70)]
    found = torch.cat([driver.step({"cut": piece})["cut"] for piece in pieces])
    assert (found - wanted).abs().max() < CLOSE
    other = LONG[:200] + prompt(90, 2)
    driver.fork("whole", "fork", 200)
    forked = driver.step({"fork": other[200:]})["fork"]
    assert (forked - _expected(reference, other)[200:]).abs().max() < CLOSE


def test_short_sequences_are_turned_as_the_beginning_of_long_ones(tiny: Any) -> None:
    """Else their keys would serve nobody. By default they are turned by the short factors."""
    folder, reference = tiny
    begin = LONG[:40]
    far = Driver.of(folder, context_length=512).step({"a": begin})["a"]
    assert (far - _expected(reference, LONG)[:40]).abs().max() < CLOSE
    for within in (None, 256, 50):
        near = Driver.of(folder, context_length=within).step({"a": begin})["a"]
        assert (near - _expected(reference, begin)).abs().max() < CLOSE
        assert (near - far).abs().max() > 0.01


@pytest.mark.parametrize(
    "options", [{}, {"step_tokens": 7}, {"page_size": 16}, {"max_total_tokens": 512}]
)
def test_an_engine_goes_past_it(tiny: Any, options: dict[str, Any]) -> None:
    """From 250 tokens to 274, from 300, and again with all that is cached."""
    folder, reference = tiny
    prompts = [LONG[:250], LONG, LONG[:100] + prompt(170, 3)]
    params = SamplingParams(max_tokens=STEPS, ignore_eos=True, logprobs=199)
    with Engine(str(folder), dtype="float32", inline=True, context_length=512, **options) as engine:
        assert engine.max_context == 512
        for _ in range(2):
            results = engine.generate(input_ids=prompts, sampling_params=params)
            for given, result in zip(prompts, results, strict=True):
                cell = compare(given, result, reference)
                assert (cell.difference < CLOSE, cell.wrong) == (True, 0)
        engine.check_invariants()


def test_what_the_engine_was_not_started_for_is_refused(tiny: Any) -> None:
    folder, _ = tiny
    with Engine(str(folder), inline=True) as engine:
        assert engine.max_context == 256
        with pytest.raises(InvalidRequestError, match="at most 255 tokens") as caught:
            engine.generate(input_ids=[LONG])
    assert "context_length" in str(caught.value)
    with pytest.raises(InvalidRequestError, match="at most 512 tokens, the model's") as caught:
        Engine(str(folder), inline=True, context_length=513)
    assert caught.value.where == "context_length"


def test_it_is_said_at_load(tiny: Any) -> None:
    folder, _ = tiny
    [note] = load_model(folder, progress=False).notes
    assert "256 tokens, of the 512" in note
    assert "context_length=512" in note
    [note] = load_model(folder, context_length=400, progress=False).notes
    assert "also those of at most 256 tokens" in note
    assert load_model(folder, context_length=256, progress=False).notes == []


def test_long_factors_that_are_missing(tiny: Any) -> None:
    data = read_json(Path(tiny[0]) / "config.json")
    del data["rope_parameters"]["long_factor"]
    assert ModelConfig.from_dict(data).context_length == 256
    with pytest.raises(ModelLoadError, match="long_factor"):
        ModelConfig.from_dict(data, 257)
