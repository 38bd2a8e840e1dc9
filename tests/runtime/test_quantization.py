"""An engine whose weights have 8 bits: the answers of a plain one on the rounded weights, and the
same ones however the work is cut."""

from __future__ import annotations

import argparse
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from espalier.errors import EspalierError, InvalidRequestError, NotSupportedError
from espalier.kernels import int8, native
from espalier.kernels.int8 import quantise
from espalier.runtime import cli, cli_serve
from espalier.runtime.engine import Engine
from espalier.runtime.models import load_model
from espalier.runtime.quantization import check_device
from espalier.types import Result, SamplingParams
from tests.tiny_foreign import save_foreign
from tests.tiny_models import save_tiny

pytestmark = pytest.mark.skipif(
    native.library(torch.float32) is None, reason="no C compiler: there are no such products"
)
Make = Callable[..., Any]


def _prompts() -> list[list[int]]:
    rng = random.Random(3)
    stem = [rng.randrange(3, 199) for _ in range(40)]
    return [stem[: 8 + 5 * n] + [rng.randrange(3, 199) for _ in range(4 + n)] for n in range(5)]


def _engine(folder: Any, **options: Any) -> Engine:
    return Engine(str(folder), inline=True, device="cpu", **options)


def _run(folder: Any, params: Any, **options: Any) -> list[Result]:
    with _engine(folder, **options) as engine:
        results = engine.generate(input_ids=_prompts(), sampling_params=params)
        engine.check_invariants()
    return results


def _logprobs(results: list[Result]) -> list[float]:
    return [
        entry.logprob
        for result in results
        for entry in result.prompt_logprobs or []
        if entry is not None
    ]


def _rounded(folder: Path, to: Path, *, tied: bool) -> Path:
    """A checkpoint of the weights as 8 bits have them, in float32."""
    shutil.copytree(folder, to)
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in tensors.items():
        if tensor.ndim == 2 and (tied or "embed_tokens" not in name):
            q, scale = quantise(tensor)
            tensors[name] = q * scale[:, None]
    save_file(tensors, to / "model.safetensors", metadata={"format": "pt"})
    return to


@pytest.mark.parametrize(
    ("kind", "tied"),
    [
        ("llama2", False),
        ("llama3", True),
        ("llama-biases", False),
        ("phi3", False),
        ("qwen3", True),
        ("gemma2", True),
        ("gemma3", True),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_is_the_model_of_the_rounded_weights(
    tiny_model: Make, tmp_path: Path, kind: str, tied: bool, dtype: str
) -> None:
    """To rounding: of every layer, fused or not, with biases, and of tied embeddings."""
    params = [SamplingParams(max_tokens=1, prompt_logprobs=0)] * 5
    folder = tiny_model(kind).folder
    found = _logprobs(_run(folder, params, dtype=dtype, quantization="int8"))
    wide = _rounded(folder, tmp_path / "rounded", tied=tied)
    expected = _logprobs(_run(wide, params, dtype=dtype))
    plain = _logprobs(_run(folder, params, dtype=dtype))
    near = 1e-4 if dtype == "float32" else 0.3
    assert found == pytest.approx(expected, abs=near)
    if dtype == "float32":
        off = [abs(a - b) for a, b in zip(found, plain, strict=True)]
        assert 1e-3 < max(off) < 1.0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "options",
    [
        {"step_tokens": 7},
        {"page_size": 16, "max_total_tokens": 1024},
        {"max_total_tokens": 112, "host_total_tokens": 1024},
        {"enable_radix_cache": False, "max_running": 2},
        {"overlap": True, "max_running": 1},
    ],
    ids=["chunks", "pages", "host tier", "two by two", "one by one"],
)
def test_the_same_tokens_however_work_is_cut(
    tiny_model: Make, options: dict[str, Any], dtype: str
) -> None:
    """bfloat16's attention rounds otherwise among others; in float32 near ties alone may differ."""
    params = [
        SamplingParams(
            max_tokens=20,
            ignore_eos=True,
            temperature=n % 2 * 0.9,
            seed=n,
            deterministic=dtype == "bfloat16",
        )
        for n in range(5)
    ]
    folder = tiny_model("qwen3").folder
    options |= {"quantization": "int8", "dtype": dtype}
    one = _run(folder, params, quantization="int8", dtype=dtype)
    other = _run(folder, params, **options)
    for a, b in zip(one, other, strict=True):
        assert a.token_ids == b.token_ids or a.near_ties or b.near_ties


def _bits(result: Result) -> tuple[Any, ...]:
    return tuple(result.token_ids), [repr((e.logprob, e.top)) for e in result.logprobs or []]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_deterministic_is_bit_for_bit(tiny_model: Make, dtype: str) -> None:
    """Alone, together, in chunks, in several threads, and beside others that do not ask."""
    params = SamplingParams(
        max_tokens=12, ignore_eos=True, temperature=0.9, seed=5, logprobs=3, deterministic=True
    )
    folder = tiny_model("llama3").folder
    options: dict[str, Any] = {"quantization": "int8", "dtype": dtype}
    with _engine(folder, enable_radix_cache=False, **options) as engine:
        alone = [engine.generate(input_ids=[ids], sampling_params=params)[0] for ids in _prompts()]
    expected = [_bits(result) for result in alone]
    assert [_bits(result) for result in _run(folder, params, **options)] == expected
    assert [_bits(r) for r in _run(folder, params, step_tokens=7, **options)] == expected
    torch.set_num_threads(2)
    try:
        assert [_bits(result) for result in _run(folder, params, **options)] == expected
    finally:
        torch.set_num_threads(1)
    free = SamplingParams(max_tokens=12, ignore_eos=True)
    with _engine(folder, **options) as engine:
        prompts = [ids for ids in _prompts() for _ in range(2)]
        mixed = engine.generate(input_ids=prompts, sampling_params=[params, free] * 5)
    assert [_bits(result) for result in mixed[::2]] == expected


def test_it_tells_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """To whoever asks the engine, and in the doctor's report; a quarter of the memory."""
    with Engine(inline=True, device="cpu", quantization="int8") as engine:
        told = engine.info.weights
    assert told.startswith(f"Weights: int8, multiplied by {int8.instructions()}: 4.9 MiB")
    assert told.endswith("where float32 takes 19.0")
    with Engine(inline=True, device="cpu") as engine:
        assert engine.info.weights == ""
    assert cli.main(["doctor", "--quantization", "int8"]) == 0
    out = capsys.readouterr().out
    assert told in out
    assert f"weights in int8 by {int8.instructions()}" in out


def test_embeddings_that_are_not_tied_stay_wide(tiny_model: Make) -> None:
    model: Any = load_model(tiny_model("llama2").folder, quantization="int8", progress=False)
    assert model.embedding.weight.dtype == torch.float32
    assert isinstance(model.head._int8, int8.Int8Weight)
    tied: Any = load_model(tiny_model("llama3").folder, quantization="int8", progress=False)
    assert tied.head._int8 is tied.embedding.weight


def test_a_checkpoint_in_float16_computes_in_float32(tmp_path: Path) -> None:
    save_tiny("qwen2", tmp_path, dtype=torch.float16)
    with _engine(tmp_path, quantization="int8") as engine:
        assert engine.info.dtype == "float32"
    with pytest.raises(NotSupportedError, match=r"float16.*bfloat16"):
        _engine(tmp_path, quantization="int8", dtype="float16")


def test_what_cannot_have_it_is_refused_by_name(
    tiny_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotSupportedError, match=r"device=cuda.*quantization.*cpu"):
        check_device(torch.device("cuda"))
    with pytest.raises(NotSupportedError, match=r"null.*quantization"):
        Engine("null", inline=True, quantization="int8")
    with pytest.raises(InvalidRequestError, match="quantization"):
        Engine("sprig", inline=True, quantization="awq")
    save_foreign("gpt2", tmp_path)
    with pytest.raises(NotSupportedError, match=r"GPT2LMHeadModel.*quantization"):
        _engine(tmp_path, quantization="int8")
    monkeypatch.setattr(int8, "library", lambda dtype: None)
    with pytest.raises(NotSupportedError, match=r"no C compiler.*quantization"):
        _engine(tiny_model("qwen3").folder, quantization="int8")


@pytest.mark.parametrize(
    ("words", "asked"),
    [([], None), (["-q", "none"], None), (["--quantization", "int8"], "int8")],
)
def test_how_a_server_is_asked_for_it(words: list[str], asked: str | None) -> None:
    parser = argparse.ArgumentParser()
    cli_serve.configure(parser)
    assert cli_serve.options_of(parser.parse_args(words), "sprig").quantization == asked


def test_a_chat_elsewhere_has_its_weights_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EspalierError, match="--quantization"):
        cli.main(["--debug", "chat", "--url", "http://localhost:1", "--quantization", "int8"])
    assert not capsys.readouterr().out
