"""What CUDA graphs do, on a CPU: torch's operators and interpreted kernels are recorded once, with
the memory they read and write, and done again on the same memory.

As on a GPU, whatever the host decided while it was recorded stays so. What no GPU could record is
an error here: a tensor that the host makes meanwhile, and a question whose answer the host waits
for.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten

_WAITS = {torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.equal}


class CannotCapture(RuntimeError):
    """What a CUDA graph cannot hold."""


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _tensors(*values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(values)[0] if isinstance(leaf, Tensor)]


def _tracked() -> list[Tensor]:
    return [found for found in gc.get_objects() if issubclass(type(found), torch.Tensor)]


def _frozen() -> list[Tensor]:
    """The tensors that are older than the file of tests (`conftest.what_is_there_stays`)."""
    gc.collect()
    gc.unfreeze()
    found = _tracked()
    gc.freeze()
    return found


class Recording(TorchDispatchMode):
    """The operators that run inside, in order."""

    def __init__(self, older: list[Tensor]) -> None:
        super().__init__()
        self.work: list[Callable[[], None]] = []
        self.kept: list[Any] = []  # memory of its own, as a graph's private pool
        self.fresh: list[Tensor] = []
        gc.collect()
        self.known = {_storage(found) for found in older + _tracked()}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket in _WAITS:
            raise CannotCapture(f"{func} waits for the device")
        for given in _tensors(args, kwargs):
            if _storage(given) not in self.known:
                raise CannotCapture(f"{func} reads a tensor of the host's: {given}")
        found = func(*args, **kwargs)
        outs = _tensors(found)
        self.kept.append((args, kwargs, outs))
        self.known.update(map(_storage, outs))
        inputs = {_storage(given) for given in _tensors(args, kwargs)}
        fresh = [out for out in outs if _storage(out) not in inputs]
        writes = any(
            a.alias_info is not None and a.alias_info.is_write for a in func._schema.arguments
        )
        self.fresh += fresh
        if fresh or writes:
            self.work.append(lambda: _again(func, args, kwargs, fresh))
        return found

    def launched(self, launch: Callable[[], None], given: list[Tensor]) -> None:
        """A kernel of Triton's."""
        for tensor in given:
            if _storage(tensor) not in self.known:
                raise CannotCapture(f"a kernel reads a tensor of the host's: {tensor}")
        self.kept.append(given)
        self.work.append(launch)


def _again(func: Any, args: Any, kwargs: Any, fresh: list[Tensor]) -> None:
    inputs = {_storage(given) for given in _tensors(args, kwargs)}
    found = [out for out in _tensors(func(*args, **kwargs)) if _storage(out) not in inputs]
    for to, out in zip(fresh, found, strict=True):
        to.copy_(out)


class FakeCapture:
    """`graph_capture.Capture`. graphs, replays: how many there were. triton: whether operators are
    Triton's, or for a while torch's."""

    def __init__(self) -> None:
        self.graphs = 0
        self.replays = 0
        self.failing = False
        self.triton = True
        self._older = _frozen()

    def __call__(self, work: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        from triton.runtime import interpreter

        if self.failing:
            raise CannotCapture("no more memory")
        self.graphs += 1
        recording = Recording(self._older)
        launch = interpreter.GridExecutor.__call__

        def noted(executor: Any, *args: Any, **kwargs: Any) -> None:
            def once() -> None:
                with _disable_current_modes():
                    launch(executor, *args, **kwargs)

            recording.launched(once, _tensors(args, kwargs))
            once()

        interpreter.GridExecutor.__call__ = noted
        try:
            with recording:
                out = work()
        finally:
            interpreter.GridExecutor.__call__ = launch
        for made in recording.fresh:
            _poison(made)

        def replay() -> None:
            self.replays += 1
            for each in recording.work:
                each()

        return out, replay


def _poison(made: Tensor) -> None:
    """What was computed while it was recorded must not be read: on a GPU, nothing was."""
    if made.dtype == torch.bool:
        made.logical_not_()
    else:
        made.fill_(math.nan if made.is_floating_point() else 2**7 - 1)


@contextmanager
def faked_graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCapture]:
    """An engine made inside has graphs, of Triton's kernels by their interpreter. What is patched
    stays so until `monkeypatch` is undone."""
    from espalier.kernels import activation, attention, kv_quant, native, norm, prepare, rope
    from espalier.runtime import biases, graph_inputs, kernel_choice, layers, penalties, sampler
    from espalier.runtime.models import llama
    from tests.triton_interpreter import interpreted

    made = FakeCapture()
    for module in (
        activation,
        attention,
        biases,
        kv_quant,
        norm,
        penalties,
        prepare,
        rope,
        sampler,
    ):
        monkeypatch.setattr(module, "uses_triton", lambda tensor: made.triton)
    monkeypatch.setattr(llama, "adds_late", lambda x: True)
    monkeypatch.setattr(native, "library", lambda dtype: None)
    monkeypatch.setattr(layers, "_packs", lambda weight: False)
    monkeypatch.setattr(layers, "_few_in_c", lambda weight: 0)
    monkeypatch.setattr(
        kernel_choice,
        "graph_options",
        lambda options, model, device, kernels: graph_inputs.GraphOptions(
            options.page_size, 4, made
        ),
    )
    with interpreted():
        yield made
