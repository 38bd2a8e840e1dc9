"""Which implementation an operator takes: Triton's on a CUDA device, torch's elsewhere."""

from __future__ import annotations

import importlib.util
import os
from functools import cache

from torch import Tensor


def uses_triton(tensor: Tensor) -> bool:
    """Whether operators on `tensor` run as Triton kernels. ESPALIER_TRITON=0 says no, to compare
    both on one device; so does TRITON_INTERPRET=1, under which kernels are tested and nothing is
    fast."""
    return tensor.is_cuda and _triton_compiles()


@cache
def _triton_compiles() -> bool:
    if os.environ.get("ESPALIER_TRITON") == "0" or os.environ.get("TRITON_INTERPRET") == "1":
        return False
    return importlib.util.find_spec("triton") is not None


def power_of_2(count: int) -> int:
    """The least power of two that is not below `count`."""
    return 1 << max(0, count - 1).bit_length()
