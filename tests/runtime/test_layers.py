from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from espalier.errors import NotSupportedError
from espalier.kernels import native
from espalier.kernels.activation import silu_mul_reference
from espalier.kernels.norm import RMSNorm, rms_norm_reference
from espalier.runtime import layers
from espalier.runtime.layers import Linear
from espalier.runtime.loader import Group, Weights

CPU = torch.device("cpu")
FEW = 16


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an engine of one thread, which multiplies few rows in C."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)


@pytest.fixture
def tensors(tmp_path: Path) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    tensors = {
        f"{name}.{kind}": torch.randn(*((size, 32) if kind == "weight" else (size,)))
        for name, size in (("q", 16), ("k", 8))
        for kind in ("weight", "bias")
    }
    save_file(tensors, tmp_path / "model.safetensors")
    return tensors


@pytest.mark.parametrize("in_c", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [0, 1, 2, 7, 16, 17, 33])
def test_fused_parts_are_each_their_own_product(
    tensors: dict[str, torch.Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_c: bool,
    dtype: torch.dtype,
    bias: bool,
    rows: int,
) -> None:
    """In every layout."""
    if not in_c:
        monkeypatch.setattr(native, "library", lambda dtype: None)
    with Weights(tmp_path, device=CPU, dtype=dtype) as weights:
        both = Linear(weights, ["q", "k"], [16, 8], 32, kind="column", bias=bias)
    x = torch.randn(rows, 32).to(dtype)
    parts = [
        F.linear(
            x,
            tensors[f"{name}.weight"].to(dtype),
            tensors[f"{name}.bias"].to(dtype) if bias else None,
        )
        for name in ("q", "k")
    ]
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    product = torch.cat(parts, 1)
    torch.testing.assert_close(both(x), product, rtol=tolerance, atol=tolerance)
    residual = torch.randn(rows, 24).to(dtype)
    total = residual + product
    assert both.add_to(residual, x) is residual
    torch.testing.assert_close(residual, total, rtol=tolerance, atol=tolerance)


def test_how_weights_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are where C multiplies few rows by them, else in oneDNN's layout; nowhere in both."""
    weight = torch.zeros(8, 32)
    built = native.library(torch.float32) is not None
    assert layers._few_in_c(weight) == (FEW if built else 0)
    if platform.machine() == "x86_64" and "CC" not in os.environ:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
        own = built and "avx512_bf16" in flags and "amx_bf16" not in flags
        assert layers._few_in_c(weight.bfloat16()) == (64 if own else 0)
    assert not layers._few_in_c(weight[:, :24])
    assert not layers._few_in_c(weight.half())
    assert not layers._few_in_c(weight.to("meta"))
    assert not layers._packs(weight.to("meta"))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert not layers._few_in_c(weight)


@pytest.mark.parametrize("outputs", [1, 16, 37])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("add", [False, True])
def test_products_in_c(outputs: int, dtype: torch.dtype, bias: bool, add: bool) -> None:
    """Every number of rows gives each of them the same to the last bit, and a NaN stays in its
    row."""
    c = native.library(dtype)
    if c is None:
        pytest.skip("no C compiler")
    torch.manual_seed(outputs)
    x, weight = torch.randn(FEW, 48).to(dtype), torch.randn(outputs, 48).to(dtype)
    extra = torch.randn(outputs).to(dtype) if bias else None
    before = torch.randn(FEW, outputs).to(dtype)
    expected = F.linear(x.float(), weight.float(), None if extra is None else extra.float())
    expected = (expected + before.float() if add else expected).to(dtype)
    x[5, 3] = torch.nan
    expected[5] = torch.nan
    whole: torch.Tensor | None = None
    for rows in range(FEW, -1, -1):
        y = before[:rows].clone()
        at = None if extra is None else extra.data_ptr()
        c.linear(x.data_ptr(), weight.data_ptr(), at, y.data_ptr(), rows, 48, outputs, add)
        near = 1e-5 if dtype == torch.float32 else 2e-2
        torch.testing.assert_close(y, expected[:rows], rtol=near, atol=near, equal_nan=True)
        whole = y if whole is None else whole
        assert torch.equal(y.nan_to_num(7), whole[:rows].nan_to_num(7))


@pytest.mark.parametrize("in_c", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [0, 1, 5, 16, 17])
def test_with_what_stands_before(
    tensors: dict[str, torch.Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_c: bool,
    bias: bool,
    rows: int,
) -> None:
    """A norm or a gate before the product, made with it or apart."""
    if not in_c:
        monkeypatch.setattr(native, "library", lambda dtype: None)
    with Weights(tmp_path, device=CPU, dtype=torch.float32) as weights:
        layer = Linear(weights, ["q"], [16], 32, kind="column", bias=bias)
    weight, extra = tensors["q.weight"], tensors["q.bias"] if bias else None
    norm = RMSNorm(torch.randn(32), 1e-5)
    x, plus, gate_up, residual = (torch.randn(rows, size) for size in (32, 32, 64, 16))
    near = {"rtol": 1e-5, "atol": 1e-5}
    normed = F.linear(rms_norm_reference(x, norm.weight, 1e-5), weight, extra)
    torch.testing.assert_close(layer.of_norm(norm, x), normed, **near)
    normed = F.linear(rms_norm_reference(x + plus, norm.weight, 1e-5), weight, extra)
    added = x.clone()
    torch.testing.assert_close(layer.of_norm(norm, added, plus), normed, **near)
    assert torch.equal(added, x + plus)
    expected = residual + F.linear(silu_mul_reference(gate_up), weight, extra)
    assert layer.add_gated_to(residual, gate_up) is residual
    torch.testing.assert_close(residual, expected, **near)


def test_products_have_few_numbers_of_rows(
    tensors: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a kernel of its own, which oneDNN keeps."""
    monkeypatch.setattr(native, "library", lambda dtype: None)
    with Weights(tmp_path, device=CPU, dtype=torch.float32) as weights:
        layer = Linear(weights, ["q"], [16], 32, kind="column")
    multiplied: set[int] = set()
    multiply = layers._onednn_linear

    def note(x: torch.Tensor, *more: object) -> torch.Tensor:
        multiplied.add(len(x))
        product: torch.Tensor = multiply(x, *more)
        return product

    monkeypatch.setattr(layers, "_onednn_linear", note)
    x = torch.randn(2048, 32)
    whole = F.linear(x, tensors["q.weight"])
    for rows in [*range(1, 300), 511, 512, 513, 1025, 2048]:
        torch.testing.assert_close(layer(x[:rows]), whole[:rows])
        assert rows <= layers.padded_rows(rows) < rows * 9 / 8 + 1
    assert len(multiplied) < 60
    assert {1, 2, 16, 64, 256, 512, 2048} <= multiplied  # these are run as they are


def test_without_onednn_the_plain_product(
    tensors: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: False)
    monkeypatch.setattr(native, "library", lambda dtype: None)
    with Weights(tmp_path, device=CPU, dtype=torch.float32) as weights:
        layer = Linear(weights, ["q"], [16], 32, kind="row", bias=True)
    x = torch.randn(5, 32)
    assert torch.equal(layer(x), F.linear(x, tensors["q.weight"], tensors["q.bias"]))


def test_what_is_not_built_is_refused(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    with Weights(tmp_path, device=CPU, dtype=torch.float32) as weights:
        with pytest.raises(NotSupportedError, match="2 ranks"):
            Linear(weights, ["q"], [16], 32, kind="row", group=Group(0, 2))
        with pytest.raises(NotSupportedError, match="awq"):
            Linear(weights, ["q"], [16], 32, kind="row", format="awq")  # type: ignore[arg-type]
        half = Linear(weights, ["q"], [16], 32, kind="column", bias=True, group=Group(1, 2))
    x = torch.randn(3, 32)
    whole = F.linear(x, tensors["q.weight"], tensors["q.bias"])
    torch.testing.assert_close(half(x), whole[:, 8:])
