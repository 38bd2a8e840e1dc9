"""`make test-gpu` runs where there is a GPU, and says so where there is none."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.gpu


def test_a_cuda_device_is_there() -> None:
    torch = pytest.importorskip("torch")
    assert torch.cuda.is_available(), "make test-gpu needs a CUDA device and a torch built for it"
