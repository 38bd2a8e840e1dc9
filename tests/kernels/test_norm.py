from __future__ import annotations

import pytest
import torch

from espalier.kernels.norm import RMSNorm, rms_norm_reference

pytestmark = pytest.mark.usefixtures("both_operators")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1, 48), (7, 48), (3, 2, 16)])
@pytest.mark.parametrize("size", [1e-4, 1.0, 100.0])
def test_like_the_reference(dtype: torch.dtype, shape: tuple[int, ...], size: float) -> None:
    torch.manual_seed(0)
    x = (torch.randn(shape) * size).to(dtype)
    weight = torch.randn(shape[-1]).to(dtype)
    before = x.clone()
    ours = RMSNorm(weight, 1e-6)(x)
    assert torch.equal(x, before)
    theirs = rms_norm_reference(x, weight, 1e-6)
    assert ours.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def test_a_wide_weight_is_multiplied_wide() -> None:
    x, weight = torch.randn(3, 16).bfloat16(), torch.randn(16) + 1
    ours = RMSNorm(weight, 1e-6)(x)
    assert torch.equal(ours, rms_norm_reference(x.float(), weight, 1e-6).bfloat16())


def test_zeros_stay_zero() -> None:
    assert torch.equal(RMSNorm(torch.ones(8), 1e-6)(torch.zeros(2, 8)), torch.zeros(2, 8))


def test_add_changes_the_residual_in_place() -> None:
    x, delta, weight = torch.randn(3, 16), torch.randn(3, 16), torch.randn(16)
    whole = x + delta
    normed = RMSNorm(weight, 1e-5).add(x, delta)
    assert torch.equal(x, whole)
    torch.testing.assert_close(normed, rms_norm_reference(whole, weight, 1e-5))
