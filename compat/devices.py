"""`sglang.srt.utils`: what kind of device this process has, as far as programs ask."""

from __future__ import annotations

import functools
import shutil
from importlib.metadata import PackageNotFoundError, version


def is_hip() -> bool:
    """Whether torch is built for AMD's devices."""
    try:
        return "rocm" in version("torch")
    except PackageNotFoundError:
        return False


@functools.cache
def is_cuda() -> bool:
    """Whether there is an NVIDIA device."""
    return shutil.which("nvidia-smi") is not None


def is_npu() -> bool:
    """Ascend devices: none here."""
    return False


def is_xpu() -> bool:
    """Intel's devices: none here."""
    return False


def is_cpu() -> bool:
    """Whether there is nothing but the CPU."""
    return not is_cuda() and not is_hip()


__all__ = ["is_cpu", "is_cuda", "is_hip", "is_npu", "is_xpu"]
