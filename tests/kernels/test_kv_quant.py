"""Keys and values in 8 bits: how far off they are, and attention that reads them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st

from espalier.kernels import attention
from espalier.kernels.attention import paged_attention, paged_attention_reference
from espalier.kernels.kv_quant import (
    GREATEST,
    KVScales,
    dequantise,
    quantise,
    write_quantised,
)
from tests.attention_cases import Case, make_case
from tests.triton_interpreter import interpreted

DTYPES = list(GREATEST)


@given(
    dtype=st.sampled_from(DTYPES),
    size=st.sampled_from([1e-30, 1e-4, 1.0, 300.0, 1e30]),
    width=st.sampled_from([1, 8, 128]),
    seed=st.integers(0, 999),
)
@settings(max_examples=60)
def test_no_element_is_off_by_more_than_is_said(
    dtype: torch.dtype, size: float, width: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(5, 3, width, generator=generator) * size
    x[0, 0] = 0
    kept, scale = quantise(x, dtype)
    assert (kept.dtype, scale.shape, scale.dtype) == (dtype, (5, 3), torch.float32)
    off = (dequantise(kept, scale, torch.float32) - x).abs()
    step = scale.unsqueeze(-1)
    rounding = 1 + 1e-5
    if dtype == torch.int8:
        assert (off <= 0.5 * step * rounding).all()
    else:
        assert (off <= torch.maximum(x.abs() / 16, step * 2.0**-10) * rounding).all()
    assert torch.equal(off[0, 0], torch.zeros(width))


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_no_number_stays_none(dtype: torch.dtype) -> None:
    x = torch.ones(2, 1, 4)
    x[1, 0, 2] = math.nan
    found = dequantise(*quantise(x, dtype), torch.float32)
    assert torch.equal(found[0], x[0])
    assert found[1, 0, 2].isnan()


def _quantised(case: Case, dtype: torch.dtype) -> tuple[Case, KVScales]:
    (k, k_scale), (v, v_scale) = quantise(case.k, dtype), quantise(case.v, dtype)
    return Case(case.q, k, v, case.batch), KVScales(k_scale, v_scale)


_cases = st.fixed_dictionaries(
    {
        "shapes": st.lists(
            st.sampled_from([(1, 1), (1, 60), (1, 35), (3, 9), (40, 61)]), min_size=1, max_size=4
        ),
        "heads": st.sampled_from([(4, 2), (5, 1)]),
        "widths": st.sampled_from([(8, 8), (12, 4)]),
        "contiguous": st.booleans(),
        "seed": st.integers(0, 99),
    }
)
_options = st.fixed_dictionaries(
    {"window": st.sampled_from([None, 5, 40]), "softcap": st.sampled_from([None, 5.0])}
)


@given(case=_cases, options=_options, dtype=st.sampled_from(DTYPES))
@settings(max_examples=60)
def test_torch_reads_them(
    case: dict[str, Any], options: dict[str, Any], dtype: torch.dtype
) -> None:
    made, scales = _quantised(make_case(**case), dtype)
    arguments = (made.q, made.k, made.v, made.batch)
    found = paged_attention(*arguments, scale=0.3, scales=scales, **options)
    wanted = paged_attention_reference(*arguments, scale=0.3, scales=scales, **options)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_small_values_keep_their_weights_in_float16(dtype: torch.dtype) -> None:
    pytest.importorskip("triton", reason="triton is not installed here")
    from espalier.kernels import triton_attention

    made = make_case(shapes=[(1, 60)], heads=(4, 2), widths=(8, 8), contiguous=True, seed=1)
    small, scales = _quantised(Case(made.q, made.k, made.v * 1e-3, made.batch), dtype)
    tiles = triton_attention.Tiles(split=16, keys=16, few=16, many=16, merged=2)
    with interpreted():
        found = triton_attention.paged_attention(
            small.q.half(), small.k, small.v, small.batch, scale=0.3, scales=scales, tiles=tiles
        )
    wanted = paged_attention_reference(
        small.q, small.k, small.v, small.batch, scale=0.3, scales=scales
    )
    largest = float(wanted.abs().max())
    torch.testing.assert_close(found.float(), wanted, rtol=0, atol=2e-3 * largest)


@given(case=_cases, options=_options, dtype=st.sampled_from(DTYPES))
@settings(max_examples=15)
def test_triton_reads_them(
    case: dict[str, Any], options: dict[str, Any], dtype: torch.dtype
) -> None:
    pytest.importorskip("triton", reason="triton is not installed here")
    from espalier.kernels import triton_attention

    tiles = triton_attention.Tiles(split=16, keys=16, few=16, many=16, merged=2)
    made, scales = _quantised(make_case(**case), dtype)
    arguments = (made.q, made.k, made.v, made.batch)
    with interpreted():
        found = triton_attention.paged_attention(
            *arguments, scale=0.3, scales=scales, tiles=tiles, **options
        )
    wanted = paged_attention_reference(*arguments, scale=0.3, scales=scales, **options)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@given(
    dtype=st.sampled_from(DTYPES),
    wide=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    heads=st.sampled_from([1, 3]),
    widths=st.sampled_from([(8, 8), (5, 12), (16, 1)]),
    rows=st.integers(1, 3),
    seed=st.integers(0, 999),
)
@settings(max_examples=12)
def test_triton_writes_what_torch_does(
    dtype: torch.dtype,
    wide: torch.dtype,
    heads: int,
    widths: tuple[int, int],
    rows: int,
    seed: int,
) -> None:
    """To the last bit, and nowhere else."""
    pytest.importorskip("triton", reason="triton is not installed here")
    from espalier.kernels import triton_kv_quant

    torch.manual_seed(seed)
    both = (torch.randn(rows, heads * sum(widths)) * 3).to(wide)
    both[0, : widths[0]] = 0
    if rows > 2:
        both[2, 0] = math.nan
    slots = torch.randperm(6)[:rows]
    found = []
    for write in (write_quantised, triton_kv_quant.write_quantised):
        k, v = (torch.full((6, heads, width), 7.0).to(dtype) for width in widths)
        scales = KVScales(torch.full((6, heads), 9.0), torch.full((6, heads), 9.0))
        with interpreted():
            write(both, slots, k, v, scales)
        found.append((k.float(), v.float(), *scales))
    for ours, theirs in zip(found[1][:2], found[0][:2], strict=True):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(found[1][2:], found[0][2:], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0.0, equal_nan=True)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float8_e4m3fn, 0.05), (torch.int8, 0.012)])
def test_attention_is_near_that_of_wide_ones(dtype: torch.dtype, bound: float) -> None:
    """Keys and values of standard normals at a model's width, 300 of them."""
    case = make_case([(1, 300)] * 4, heads=(8, 2), widths=(128, 128), seed=3)
    made, scales = _quantised(case, dtype)
    given: dict[str, Any] = {"scale": 128**-0.5}
    wanted = paged_attention_reference(case.q, case.k, case.v, case.batch, **given)
    found = paged_attention(made.q, made.k, made.v, made.batch, scales=scales, **given)
    error = (found - wanted).norm() / wanted.norm()
    assert 0 < error < bound


def test_operators_in_c_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """They know no scales."""

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(attention, "attend_few", never)
    made, scales = _quantised(make_case([(1, 5)]), torch.int8)
    paged_attention(made.q, made.k, made.v, made.batch, scale=1.0, scales=scales)
