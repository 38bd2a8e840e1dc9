"""Which implementation an operator takes: torch's, or Triton's on a CUDA device where asked for.
And how what the host knows comes to a device."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import NotSupportedError
from .switches import switch

ASK = "ESPALIER_TRITON"
"""Set to 1, the variable of the environment that takes Triton's kernels; without it torch's
operators run, until the kernels have been checked on a GPU (docs/GPU.md)."""


def uses_triton(tensor: Tensor) -> bool:
    """Whether operators on `tensor` run as Triton kernels: on a CUDA device, if the environment
    asks for them. Under TRITON_INTERPRET=1 never: kernels are tested so, and nothing is fast.
    Raises InvalidRequestError for an environment that says neither yes nor no, NotSupportedError
    where there is no triton."""
    return tensor.is_cuda and _triton_compiles()


@cache
def _triton_compiles() -> bool:
    if not switch(ASK) or os.environ.get("TRITON_INTERPRET") == "1":
        return False
    if importlib.util.find_spec("triton") is None:
        raise NotSupportedError(
            "Triton's kernels need triton, which is not installed here",
            where=f"the environment's {ASK}",
            hint=f"Install triton, or leave {ASK} unset.",
        )
    return True


def power_of_2(count: int) -> int:
    """The least power of two that is not below `count`."""
    return 1 << max(0, count - 1).bit_length()


def current_device(device: torch.device) -> AbstractContextManager[object]:
    """Within it, kernels are launched on this GPU; nothing for other devices."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def put(array: NDArray[Any], device: torch.device) -> Tensor:
    """A copy of `array` on `device` that waits for nothing: to a GPU through pinned memory, which
    torch keeps until the copy is made. On a CPU it may share the array's memory."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def put_ints(numbers: Sequence[int], device: torch.device) -> Tensor:
    """`put` of int64."""
    return put(np.array(numbers, dtype=np.int64), device)
