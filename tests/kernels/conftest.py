from __future__ import annotations

import pytest

from espalier.kernels import native


@pytest.fixture(params=["C", "torch"])
def both_operators(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The test runs with the CPU's operators in C, and without."""
    if request.param == "torch":
        monkeypatch.setattr(native, "library", lambda dtype: None)
    return str(request.param)
