from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from espalier.errors import NotSupportedError
from espalier.runtime import layers
from espalier.runtime.layers import Linear
from espalier.runtime.loader import Group, Weights

CPU = torch.device("cpu")


@pytest.fixture
def tensors(tmp_path: Path) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    tensors = {
        f"{name}.{kind}": torch.randn(*((size, 24) if kind == "weight" else (size,)))
        for name, size in (("q", 16), ("k", 8))
        for kind in ("weight", "bias")
    }
    save_file(tensors, tmp_path / "model.safetensors")
    return tensors


@pytest.mark.parametrize("intel", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [0, 1, 2, 33])
def test_fused_parts_are_each_their_own_product(
    tensors: dict[str, torch.Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    intel: bool,
    dtype: torch.dtype,
    bias: bool,
    rows: int,
) -> None:
    """In every layout: an Intel CPU's and the others'."""
    monkeypatch.setattr(layers, "_is_intel", lambda: intel)
    with Weights(tmp_path, device=CPU, dtype=dtype) as weights:
        both = Linear(weights, ["q", "k"], [16, 8], 24, kind="column", bias=bias)
    x = torch.randn(rows, 24).to(dtype)
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
    monkeypatch.setattr("torch.backends.mkl.is_available", lambda: True)
    narrow, wide, large = torch.zeros(256, 256), torch.zeros(8192, 256), torch.zeros(1024, 1024)
    monkeypatch.setattr(layers, "_is_intel", lambda: True)
    assert [layers._turned_rows(x) for x in (narrow, wide, large)] == [sys.maxsize, 3, 0]
    assert layers._turned_rows(narrow.bfloat16()) == 0
    assert layers._turned_rows(narrow.to("meta")) == 0
    assert not layers._packs(narrow.to("meta"))
    monkeypatch.setattr(layers, "_is_intel", lambda: False)
    assert layers._turned_rows(narrow) == 0


@pytest.mark.parametrize("onednn", [False, True])
def test_wide_weights_are_kept_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, onednn: bool
) -> None:
    """Few rows go by one layout and more by the other, to the same products."""
    monkeypatch.setattr("torch.backends.mkl.is_available", lambda: True)
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: onednn)
    monkeypatch.setattr(layers, "_is_intel", lambda: True)
    torch.manual_seed(0)
    weight, bias = torch.randn(1100, 24), torch.randn(1100)
    save_file({"wide.weight": weight, "wide.bias": bias}, tmp_path / "model.safetensors")
    with Weights(tmp_path, device=CPU, dtype=torch.float32) as weights:
        layer = Linear(weights, ["wide"], [1100], 24, kind="column", bias=True)
    for rows in (0, 1, 3, 4, 40):
        x, residual = torch.randn(rows, 24), torch.randn(rows, 1100)
        expected = F.linear(x, weight, bias)
        torch.testing.assert_close(layer(x), expected)
        torch.testing.assert_close(layer.add_to(residual.clone(), x), residual + expected)


def test_products_have_few_numbers_of_rows(
    tensors: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a kernel of its own, which oneDNN keeps."""
    monkeypatch.setattr(layers, "_is_intel", lambda: False)
    with Weights(tmp_path, device=CPU, dtype=torch.float32) as weights:
        layer = Linear(weights, ["q"], [16], 24, kind="column")
    multiplied: set[int] = set()
    packed = layers._packed_linear

    def note(x: torch.Tensor, *more: object) -> torch.Tensor:
        multiplied.add(len(x))
        product: torch.Tensor = packed(x, *more)
        return product

    monkeypatch.setattr(layers, "_packed_linear", note)
    x = torch.randn(2048, 24)
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
    monkeypatch.setattr(layers, "_is_intel", lambda: False)
    with Weights(tmp_path, device=CPU, dtype=torch.float32) as weights:
        layer = Linear(weights, ["q"], [16], 24, kind="row", bias=True)
    x = torch.randn(5, 24)
    assert torch.equal(layer(x), F.linear(x, tensors["q.weight"], tensors["q.bias"]))


def test_what_is_not_built_is_refused(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    with Weights(tmp_path, device=CPU, dtype=torch.float32) as weights:
        with pytest.raises(NotSupportedError, match="2 ranks"):
            Linear(weights, ["q"], [16], 24, kind="row", group=Group(0, 2))
        with pytest.raises(NotSupportedError, match="awq"):
            Linear(weights, ["q"], [16], 24, kind="row", format="awq")  # type: ignore[arg-type]
        half = Linear(weights, ["q"], [16], 24, kind="column", bias=True, group=Group(1, 2))
    x = torch.randn(3, 24)
    whole = F.linear(x, tensors["q.weight"], tensors["q.bias"])
    torch.testing.assert_close(half(x), whole[:, 8:])
