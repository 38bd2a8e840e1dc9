"""The CPU's operators in C where numbers are infinite, none, tiny, or as large as they get: as
torch has it. (A sum with an infinity in it may be one where torch's is none, and the reverse.)"""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from espalier.kernels import native
from espalier.kernels.activation import gelu_mul, gelu_mul_reference, silu_mul, silu_mul_reference
from espalier.kernels.attention import paged_attention, paged_attention_reference
from espalier.kernels.norm import RMSNorm, rms_norm_reference
from espalier.kernels.rope import turn_and_write, turn_and_write_reference
from espalier.kernels.sampling import masked_greedy
from tests.attention_cases import make_case

pytestmark = pytest.mark.skipif(
    native.library(torch.float32) is None, reason="no C compiler: torch's operators are taken"
)
DTYPES = [torch.float32, torch.bfloat16]
SIZES = [0.0, 1e-45, 1e-40, 1e-20, 1.0, 20.0, 87.5, 88.5, 89.5, 104.0, 500.0, 1e20, 3e38, math.inf]
EXTREMES = [*SIZES, *(-size for size in SIZES), math.nan]
SUMMED = [size for size in EXTREMES if abs(size) != 3e38]
"""Of what is added up, in whatever order, or multiplied first: that near the end of the range it
overflows where torch does is not promised."""


def _same(found: Tensor, wanted: Tensor, least: float = 1e-30) -> None:
    """Where one is a number the other is, and they are near each other, or apart by `least`."""
    assert torch.equal(found.isfinite(), wanted.isfinite())
    near = 2e-6 if found.dtype == torch.float32 else 2e-2
    both = found.isfinite()
    torch.testing.assert_close(found[both], wanted[both], rtol=near, atol=least)


def _exactly(found: Tensor, wanted: Tensor) -> None:
    _same(found, wanted)
    torch.testing.assert_close(found.isnan(), wanted.isnan())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gelu", [False, True])
def test_gates(dtype: torch.dtype, gelu: bool) -> None:
    pairs = torch.tensor(list(itertools.product(EXTREMES, EXTREMES)), dtype=dtype)
    gate_up = pairs.T.reshape(1, -1).contiguous()
    kernel, reference = (gelu_mul, gelu_mul_reference) if gelu else (silu_mul, silu_mul_reference)
    _exactly(kernel(gate_up.clone()), reference(gate_up))


@pytest.mark.parametrize("dtype", DTYPES)
def test_norm(dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    x = torch.randn(len(EXTREMES), 40).to(dtype)
    x[:, 7] = torch.tensor(EXTREMES, dtype=dtype)
    x = torch.cat((x, torch.tensor(SIZES[:-1], dtype=dtype).unsqueeze(1).expand(-1, 40)))
    weight = torch.randn(40).to(dtype)
    _exactly(RMSNorm(weight, 1e-6)(x.contiguous()), rms_norm_reference(x, weight, 1e-6))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("normed", [False, True])
def test_turning(dtype: torch.dtype, normed: bool) -> None:
    torch.manual_seed(2)
    rows, heads, kv_heads, width = len(SUMMED), 2, 1, 16
    qkv = torch.randn(rows, (heads + 2 * kv_heads) * width).to(dtype)
    for part in (3, width * heads + 9, width * (heads + kv_heads) + 2):
        qkv[:, part] = torch.tensor(SUMMED, dtype=dtype)
    angle = torch.rand(rows, 1, width // 2)
    cos = torch.cat((angle.cos(), angle.cos()), -1).to(dtype)
    sin = torch.cat((-angle.sin(), angle.sin()), -1).to(dtype)
    norm = RMSNorm(torch.randn(width).to(dtype), 1e-6)
    given = {"heads": heads, "kv_heads": kv_heads, "width": width}
    norms = (norm, norm) if normed else None
    found, wanted = (torch.zeros(rows, 2 * kv_heads * width, dtype=dtype) for _ in range(2))
    slots = torch.randperm(rows)
    queries = turn_and_write_reference(qkv, cos, sin, slots, wanted, norms=norms, **given)
    _same(turn_and_write(qkv.clone(), cos, sin, slots, found, norms=norms, **given), queries, 2e-6)
    _same(found, wanted, 2e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("part", ["q", "k", "v"])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_attention(dtype: torch.dtype, part: str, softcap: float | None) -> None:
    """A sequence is hit, at its first position, and its neighbour is not."""
    for extreme in SUMMED:
        case = make_case([(2, 70), (1, 20)], widths=(16, 16), dtype=dtype)
        if part == "q":
            case.q[0, 0, 3] = extreme
        else:
            cache = case.k if part == "k" else case.v
            cache[case.batch.slot_tables[0, 0], 0, 3] = extreme
        given = {"scale": 0.3, "softcap": softcap}
        found = paged_attention(case.q, case.k, case.v, case.batch, **given)
        wanted = paged_attention_reference(case.q, case.k, case.v, case.batch, **given)
        _same(found, wanted, 2e-5 if dtype == torch.float32 else 2e-2)


def test_the_likeliest() -> None:
    torch.manual_seed(3)
    logits = torch.randn(len(EXTREMES) + 2, 37)
    logits[:-2, 11] = torch.tensor(EXTREMES)
    logits[-2:] = torch.tensor([[-math.inf], [math.inf]])
    tokens, near = masked_greedy(logits.clone(), None)
    best = logits.max(-1)
    broken = logits.isnan().any(-1)
    assert torch.equal(tokens[~broken], best.indices[~broken])
    assert (tokens[broken] == 11).all()
    second = logits.scatter(-1, best.indices.unsqueeze(1), -math.inf).amax(-1)
    assert torch.equal(near[~broken], (second >= best.values - 1e-4)[~broken])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("before", ["nothing", "a norm", "a gate"])
def test_products(dtype: torch.dtype, before: str) -> None:
    torch.manual_seed(4)
    c: Any = native.library(dtype)
    rows, inputs, outputs = len(SUMMED), 16, 5
    x = torch.randn(rows, inputs * (2 if before == "a gate" else 1)).to(dtype)
    x[:, 3] = torch.tensor(SUMMED, dtype=dtype)
    weight, scale = torch.randn(outputs, inputs).to(dtype), torch.randn(inputs).to(dtype)
    wide = scale.float()
    y = torch.empty(rows, outputs, dtype=dtype)
    ends = weight.data_ptr(), None, y.data_ptr(), rows, inputs, outputs
    given = x
    if before == "a norm":
        given = rms_norm_reference(x, scale, 1e-6)
        c.normed_linear(x.data_ptr(), wide.data_ptr(), 1e-6, False, *ends)
    elif before == "a gate":
        given = silu_mul_reference(x)
        c.gated_linear(x.data_ptr(), False, *ends, False)
    else:
        c.linear(x.data_ptr(), *ends, False)
    wanted = (given.double() @ weight.double().T).to(dtype)
    _same(y, wanted, 1e-5 if dtype == torch.float32 else 0.1)
