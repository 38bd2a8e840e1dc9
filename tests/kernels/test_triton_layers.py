"""The Triton kernels between the products against their references, by Triton's interpreter."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from espalier.kernels.activation import silu_mul_reference
from espalier.kernels.norm import RMSNorm, rms_norm_reference
from espalier.kernels.rope import turn_and_write_reference
from tests.triton_interpreter import interpreted

pytest.importorskip("triton", reason="triton is not installed here")

from espalier.kernels import triton_activation, triton_norm, triton_rope

DTYPES = st.sampled_from([torch.float32, torch.bfloat16, torch.float16])
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}


def _near(found: torch.Tensor, wanted: torch.Tensor) -> None:
    tolerance = TOLERANCE[found.dtype]
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)


@given(
    rows=st.integers(0, 3),
    width=st.sampled_from([1, 31, 128, 1100]),
    dtype=DTYPES,
    seed=st.integers(0, 99),
)
@settings(max_examples=8)
def test_silu_mul(rows: int, width: int, dtype: torch.dtype, seed: int) -> None:
    torch.manual_seed(seed)
    gate_up = (torch.randn(rows, 2 * width) * 4).to(dtype)
    with interpreted():
        found = triton_activation.silu_mul(gate_up)
    _near(found, silu_mul_reference(gate_up))


@given(
    shape=st.sampled_from([(1, 48), (3, 16), (2, 3, 33), (0, 8)]),
    dtype=DTYPES,
    wide_weight=st.booleans(),
    adds=st.booleans(),
    size=st.sampled_from([1e-3, 1.0, 50.0]),
    seed=st.integers(0, 99),
)
@settings(max_examples=14)
def test_rms_norm(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    wide_weight: bool,
    adds: bool,
    size: float,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    x, delta = ((torch.randn(shape) * size).to(dtype) for _ in range(2))
    weight = torch.randn(shape[-1]).to(torch.float32 if wide_weight else dtype)
    whole = x + delta if adds else x.clone()
    with interpreted():
        found = triton_norm.rms_norm(x, weight, 1e-5, delta if adds else None)
    # The interpreter cuts off where it rounds to bfloat16; a GPU does not (tests/gpu).
    bound = 2.0**-7 if dtype == torch.bfloat16 else 0.0
    torch.testing.assert_close(x, whole, rtol=bound, atol=0.0)
    assert found.dtype == dtype
    _near(found, rms_norm_reference(whole.to(weight.dtype), weight, 1e-5).to(dtype))


@given(
    rows=st.integers(0, 4),
    heads=st.sampled_from([(1, 1), (4, 2), (3, 1)]),
    width=st.sampled_from([8, 12, 16]),
    share=st.sampled_from([1.0, 0.5]),
    dtype=DTYPES,
    norms=st.sampled_from([None, "narrow", "wide"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=14)
def test_turn_and_write(
    rows: int,
    heads: tuple[int, int],
    width: int,
    share: float,
    dtype: torch.dtype,
    norms: str | None,
    seed: int,
) -> None:
    """Slots that are not written stay as they are."""
    torch.manual_seed(seed)
    qkv = torch.randn(rows, (heads[0] + 2 * heads[1]) * width).to(dtype)
    angle = torch.randn(rows, int(width * share) // 2)
    cos = torch.cat((angle.cos(), angle.cos()), -1).unsqueeze(1).to(dtype)
    sin = torch.cat((-angle.sin(), angle.sin()), -1).unsqueeze(1).to(dtype)
    both = None
    if norms is not None:
        kind = torch.float32 if norms == "wide" else dtype
        both = (
            RMSNorm(torch.randn(width).to(kind), 1e-6),
            RMSNorm(torch.randn(width).to(kind), 1e-6),
        )
    slot_of = torch.randperm(7)[:rows]
    cache = torch.full((7, 2 * heads[1] * width), math.nan, dtype=dtype)
    expected = cache.clone()
    options = {"heads": heads[0], "kv_heads": heads[1], "width": width, "norms": both}
    wanted = turn_and_write_reference(qkv, cos, sin, slot_of, expected, **options)  # type: ignore[arg-type]
    before = qkv.clone()
    with interpreted():
        found = triton_rope.turn_and_write(qkv, cos, sin, slot_of, cache, **options)  # type: ignore[arg-type]
    assert torch.equal(qkv, before)
    _near(found, wanted)
    written = ~expected.isnan().all(dim=1)
    assert written.sum() == rows
    assert cache[~written].isnan().all()
    _near(cache[written], expected[written])
