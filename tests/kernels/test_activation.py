from __future__ import annotations

from typing import Any

import pytest
import torch

from espalier.kernels.activation import (
    gelu_mul,
    gelu_mul_reference,
    silu_mul,
    silu_mul_reference,
)

pytestmark = pytest.mark.usefixtures("both_operators")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("kernel", "reference"), [(silu_mul, silu_mul_reference), (gelu_mul, gelu_mul_reference)]
)
def test_like_the_reference(kernel: Any, reference: Any, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    gate_up = (torch.randn(5, 24) * 4).to(dtype)
    expected = reference(gate_up)
    torch.testing.assert_close(kernel(gate_up.clone()), expected)
