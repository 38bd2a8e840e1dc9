from __future__ import annotations

import pytest
import torch

from espalier.kernels.activation import silu_mul, silu_mul_reference


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_like_the_reference(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    gate_up = (torch.randn(5, 24) * 4).to(dtype)
    expected = silu_mul_reference(gate_up)
    torch.testing.assert_close(silu_mul(gate_up.clone()), expected)
