"""Kernels that no GPU has checked are taken where they are asked for, and nowhere else."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from espalier.errors import InvalidRequestError, NotSupportedError
from espalier.kernels import device

ON_CUDA: Any = SimpleNamespace(is_cuda=True)
ON_CPU: Any = SimpleNamespace(is_cuda=False)


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With triton, out of its interpreter, and nothing said of before."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace())
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.delenv(device.ASK, raising=False)
    device._triton_compiles.cache_clear()
    yield
    device._triton_compiles.cache_clear()


def test_torch_is_the_default_on_cuda() -> None:
    assert not device.uses_triton(ON_CUDA)


def test_triton_is_taken_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESPALIER_TRITON", "1")
    assert device.uses_triton(ON_CUDA)
    assert not device.uses_triton(ON_CPU)


def test_never_under_its_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESPALIER_TRITON", "1")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert not device.uses_triton(ON_CUDA)


def test_what_cannot_be_honoured_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for given in ("true", "2", " 1"):
        monkeypatch.setenv("ESPALIER_TRITON", given)
        with pytest.raises(InvalidRequestError, match=r"1 or 0.*ESPALIER_TRITON"):
            device.uses_triton(ON_CUDA)
    monkeypatch.setenv("ESPALIER_TRITON", "1")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotSupportedError, match="not installed"):
        device.uses_triton(ON_CUDA)


def test_nothing_is_as_good_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for given in ("", "0"):
        monkeypatch.setenv("ESPALIER_TRITON", given)
        assert not device.uses_triton(ON_CUDA)
