"""What the GPU tests share. ESPALIER_GPU_TEST_DEVICE=cpu runs their code where there is no GPU."""

from __future__ import annotations

import os

import pytest

from tests.runtime.conftest import tiny_model

__all__ = ["device", "tiny_model"]


@pytest.fixture(scope="session")
def device() -> str:
    """The device to test."""
    return os.environ.get("ESPALIER_GPU_TEST_DEVICE", "cuda")
