"""An engine whose KV cache has 8 bits: near the wide one's answers, and the same ones however the
work is cut."""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from espalier.errors import InvalidRequestError, NotSupportedError
from espalier.radix_cache.tier import Move
from espalier.runtime import cli_serve
from espalier.runtime.engine import Engine
from espalier.runtime.kv_cache import HostKV, KVCache, KVLayout, LayerKV
from espalier.types import Result, SamplingParams

Make = Callable[..., Any]
KINDS = ["fp8_e4m3", "int8"]
KEPT = {"fp8_e4m3": torch.float8_e4m3fn, "int8": torch.int8}


def _prompts() -> list[list[int]]:
    rng = random.Random(3)
    stem = [rng.randrange(3, 199) for _ in range(40)]
    return [stem[: 8 + 5 * n] + [rng.randrange(3, 199) for _ in range(4 + n)] for n in range(5)]


def _run(folder: Any, params: list[SamplingParams], **options: Any) -> list[Result]:
    with Engine(str(folder), inline=True, device="cpu", dtype="float32", **options) as engine:
        results = engine.generate(input_ids=_prompts(), sampling_params=params)
        engine.check_invariants()
    return results


@pytest.mark.parametrize("kv_dtype", KINDS)
@pytest.mark.parametrize(
    "options",
    [
        {"step_tokens": 7},
        {"page_size": 16, "max_total_tokens": 1024},
        {"max_total_tokens": 112, "host_total_tokens": 1024},
        {"enable_radix_cache": False, "max_running": 2},
    ],
    ids=["chunks", "pages", "host tier", "two by two"],
)
def test_the_same_tokens_however_work_is_cut(
    tiny_model: Make, options: dict[str, Any], kv_dtype: str
) -> None:
    params = [
        SamplingParams(max_tokens=20, ignore_eos=True, temperature=n % 2 * 0.9, seed=n)
        for n in range(5)
    ]
    folder = tiny_model("qwen3").folder
    one = _run(folder, params, kv_dtype=kv_dtype)
    other = _run(folder, params, kv_dtype=kv_dtype, **options)
    for a, b in zip(one, other, strict=True):
        assert a.token_ids == b.token_ids or a.near_ties or b.near_ties


@pytest.mark.parametrize("kv_dtype", KINDS)
@pytest.mark.parametrize("kind", ["llama3", "mistral", "gemma2"])
def test_logprobs_are_near_those_of_wide_ones(tiny_model: Make, kind: str, kv_dtype: str) -> None:
    params = [SamplingParams(max_tokens=1, prompt_logprobs=0)] * 5
    folder = tiny_model(kind).folder
    wide, found = _run(folder, params), _run(folder, params, kv_dtype=kv_dtype)
    off = [
        abs(a.logprob - b.logprob)
        for one, other in zip(wide, found, strict=True)
        for a, b in zip(one.prompt_logprobs or [], other.prompt_logprobs or [], strict=True)
        if a is not None and b is not None
    ]
    assert 0 < max(off) < 0.3


@pytest.mark.parametrize("kv_dtype", KINDS)
def test_what_it_takes(kv_dtype: str) -> None:
    """A token's scales are 8 bytes a head, and rows are aligned to 16 bytes."""
    layout = KVLayout((LayerKV(8, 128, 128), LayerKV(1, 5, 3)))
    dtype = KEPT[kv_dtype]
    assert layout.bytes_per_token(dtype) == 2048 + 64 + 16 + 16
    kv = KVCache(layout, 4, dtype=dtype)
    assert [rows.shape for rows in kv.rows] == [(5, 2112), (5, 32)]
    assert kv.k[1].shape == (5, 1, 5)
    assert kv.v[1].shape == (5, 1, 3)


def test_what_goes_to_the_host_comes_back_with_its_scales() -> None:
    kv = KVCache(KVLayout((LayerKV(2, 8, 4),) * 2), 6, dtype=torch.int8)
    host = HostKV(kv, 6)
    torch.manual_seed(0)
    for layer in range(2):
        kv.write(layer, torch.arange(6), torch.randn(6, 24))
    before = [rows[:3].clone() for rows in kv.rows]
    slots, places = torch.tensor([0, 1, 2]).numpy(), torch.tensor([3, 4, 5]).numpy()
    host.move(Move("save", slots, places))
    for rows in kv.rows:
        rows[:3] = 77
    host.move(Move("load", slots, places))
    assert all(torch.equal(rows[:3], kept) for rows, kept in zip(kv.rows, before, strict=True))


def test_how_it_is_asked_for() -> None:
    for text in ("fp8", "fp8_e4m3"):
        parser = argparse.ArgumentParser()
        cli_serve.configure(parser)
        args = parser.parse_args(["--kv-cache-dtype", text])
        assert cli_serve.options_of(args, "sprig").kv_dtype == "fp8_e4m3"
    with pytest.raises(InvalidRequestError, match="kv_dtype"):
        Engine("sprig", inline=True, kv_dtype="fp4")
    with pytest.raises(NotSupportedError, match="kv_dtype"):
        Engine("null", inline=True, kv_dtype="int8")
