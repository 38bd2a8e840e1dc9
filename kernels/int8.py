"""Weights of 8 bits on a CPU: W is q times a scale for each output, and products are exact.

A weight is rounded to the nearest of 255 steps of its output's largest (symmetric, round to
nearest). What is multiplied with it is not rounded to 8 bits: `native_int8.c` takes each row of
activations as whole numbers of 24 bits (a sign among them) times one power of two, so that an
element is off by 2^-23 of the row's largest at most (in rows below 2^-104 by 2^-127), and adds up
products of whole numbers, which rounds nothing. A product's row is therefore the same to the last
bit beside any others, in any number of threads and by every instruction set: `linear_reference`
says which. The norm or the gate before it is C's, too, whose rows are their own.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

import torch
from torch import Tensor

from .native import ASK, has_int8, library
from .norm import RMSNorm

_STEPS = 127
_BLOCK, _PAD = 16, 64  # outputs of a block, and what inputs are padded to a multiple of
_AT_ONCE = 1 << 22  # weights that are rounded at a time
_PARALLEL = 1 << 18
"""Products (of numbers) from which several threads are worth their start."""


def missing(dtype: torch.dtype) -> str | None:
    """Why activations of `dtype` cannot be multiplied with such weights here; None if they can."""
    if sys.byteorder != "little":
        return "this processor is big-endian"
    if dtype not in (torch.float32, torch.bfloat16):
        return f"activations in {str(dtype).removeprefix('torch.')} are not multiplied"
    c = library(dtype)
    if c is None:
        return (
            f"the C operators are not there: no C compiler on the PATH or in CC, one that failed "
            f"(there is a warning of it), or {ASK}=0"
        )
    if not has_int8(c):
        return (
            "the C compiler failed at their instructions and built the other operators (there is a "
            "warning of it): its assembler may be too old for this processor"
        )
    return None


def instructions() -> str:
    """What multiplies on this processor, as "AMX" or "AVX2"; where `missing` is None."""
    c = library(torch.float32)
    return "" if c is None or not has_int8(c) else str(c.instructions8().decode())


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight [outputs, inputs] -> q, int8 of the same shape from -127 to 127, and scale [outputs]
    float32, so that q * scale is within scale / 2 of it. NaN and infinity go to the scale."""
    wide = weight.float()
    largest = wide.abs().amax(1) if wide.shape[1] else wide.new_zeros(len(wide))
    scale = largest / _STEPS
    steps = (wide / scale[:, None]).nan_to_num_(0.0).round_()
    return steps.clamp_(-_STEPS, _STEPS).to(torch.int8), scale


class _Struct(ctypes.Structure):
    """weight8 of native_int8.c."""

    _fields_ = (
        ("packed", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
        ("sum", ctypes.c_void_p),
        ("outputs", ctypes.c_int64),
        ("inputs", ctypes.c_int64),
        ("padded", ctypes.c_int64),
    )


class Int8Weight:
    """`quantise(weight)` of weight [outputs, inputs] on a CPU, laid out as native_int8.c reads it.

    nbytes: what it takes, a quarter of float32's and 8 bytes an output.
    """

    __slots__ = ("_packed", "_scale", "_struct", "_sum", "address", "inputs", "outputs")

    def __init__(self, weight: Tensor) -> None:
        self.outputs, self.inputs = weight.shape
        blocks, padded = -(-self.outputs // _BLOCK), -(-self.inputs // _PAD) * _PAD
        self._packed = torch.zeros((blocks, padded // 4, _BLOCK, 4), dtype=torch.int8)
        self._scale = torch.empty(self.outputs, dtype=torch.float32)
        self._sum = torch.empty(self.outputs, dtype=torch.int32)
        few = max(1, _AT_ONCE // (_BLOCK * padded)) if padded else blocks
        for block in range(0, blocks, few):
            rows = slice(block * _BLOCK, min((block + few) * _BLOCK, self.outputs))
            q, self._scale[rows] = quantise(weight[rows])
            self._sum[rows] = q.sum(1, dtype=torch.int32)
            whole = q.new_zeros((-(-len(q) // _BLOCK) * _BLOCK, padded))
            whole[: len(q), : self.inputs] = q
            parts = whole.view(-1, _BLOCK, padded // 4, 4)
            self._packed[block : block + few] = parts.transpose(1, 2)
        pointers = (part.data_ptr() for part in (self._packed, self._scale, self._sum))
        self._struct = _Struct(*pointers, self.outputs, self.inputs, padded)
        self.address = ctypes.addressof(self._struct)

    @property
    def nbytes(self) -> int:
        """Bytes."""
        return sum(part.nbytes for part in (self._packed, self._scale, self._sum))

    def parts(self) -> tuple[Tensor, Tensor]:
        """q and scale, as `quantise` gives them."""
        flat = self._packed.transpose(1, 2).reshape(len(self._packed) * _BLOCK, -1)
        return flat[: self.outputs, : self.inputs], self._scale

    def rows(self, ids: Tensor, dtype: torch.dtype) -> Tensor:
        """The weights of the outputs `ids` [T] as numbers of `dtype` [T, inputs]. Raises IndexError
        for an output that there is not."""
        ids = ids.contiguous()
        out = torch.empty((ids.shape[0], self.inputs), dtype=dtype)
        done = _c(dtype).rows8(ids.data_ptr(), self.address, out.data_ptr(), len(ids))
        if not done:
            raise IndexError(f"a row out of {self.outputs}")
        return out


def linear_reference(x: Tensor, q: Tensor, scale: Tensor) -> Tensor:
    """x [T, inputs] . (q [outputs, inputs] * scale [outputs]) in float32, to the last bit: x is
    rounded to 24 bits, sums are of whole numbers, and each is rounded to float64, then to float32.
    A row that is not finite is NaN.
    """
    wide = x.float()
    largest = wide.abs().amax(1) if x.shape[1] else wide.new_zeros(len(x))
    exponent = (torch.frexp(largest)[1] - 1).clamp(min=-104)
    unit = torch.ldexp(torch.ones_like(largest, dtype=torch.float64), exponent - 22)
    numbers = (wide.double() / unit[:, None]).round().clamp(max=float((1 << 23) - 1))
    whole = numbers.nan_to_num(0.0).long() @ q.long().T
    product = (whole.double() * (unit[:, None] * scale.double())).float()
    return product.masked_fill_(~wide.isfinite().all(1, keepdim=True), torch.nan)


def linear(x: Tensor, weight: Int8Weight, bias: Tensor | None, y: Tensor, *, add: bool) -> Tensor:
    """Write `linear_reference(x, weight) + bias` to y [T, outputs], or add it, and return y. x, y
    and bias are of one dtype, float32 or bfloat16. Raises MemoryError."""
    x = _checked(x, weight.inputs, weight, bias, y)
    at = None if bias is None else bias.data_ptr()
    pointers = x.data_ptr(), weight.address, at, y.data_ptr()
    return _done(_c(x.dtype).linear8(*pointers, len(x), add, *_threads(x, weight)), y)


def linear_of_norm(
    norm: RMSNorm, x: Tensor, weight: Int8Weight, bias: Tensor | None, y: Tensor
) -> Tensor:
    """As `linear` of `norm(x)`, whose norm is C's in any number of rows and threads."""
    x = _checked(x, weight.inputs, weight, bias, y)
    at = None if bias is None else bias.data_ptr()
    normed = x.data_ptr(), norm.wide.data_ptr(), norm.eps, norm.weight.dtype != x.dtype
    pointers = weight.address, at, y.data_ptr()
    return _done(_c(x.dtype).normed_linear8(*normed, *pointers, len(x), *_threads(x, weight)), y)


def linear_of_gate(gate_up: Tensor, weight: Int8Weight, bias: Tensor | None, y: Tensor) -> Tensor:
    """Add to y as `linear` of SiLU(gate) * up, gate_up [T, 2 * inputs], in C as well."""
    gate_up = _checked(gate_up, 2 * weight.inputs, weight, bias, y)
    at = None if bias is None else bias.data_ptr()
    pointers = gate_up.data_ptr(), False, weight.address, at, y.data_ptr()
    threads = _threads(gate_up, weight)
    return _done(_c(y.dtype).gated_linear8(*pointers, len(y), True, *threads), y)


def _c(dtype: torch.dtype) -> Any:
    why = missing(dtype)
    if why is not None:
        raise RuntimeError(f"weights of 8 bits cannot be multiplied: {why}")
    return library(dtype)


def _checked(x: Tensor, width: int, weight: Int8Weight, bias: Tensor | None, y: Tensor) -> Tensor:
    """x as C reads it, which checks nothing."""
    shapes: list[tuple[Tensor, tuple[int, ...]]]
    shapes = [(x, (len(x), width)), (y, (len(x), weight.outputs))]
    shapes += [] if bias is None else [(bias, (weight.outputs,))]
    for tensor, shape in shapes:
        if tensor.shape != shape or tensor.dtype != x.dtype or not tensor.is_cpu:
            raise ValueError(
                f"expected {shape} in {x.dtype} on a CPU, got {tuple(tensor.shape)} in "
                f"{tensor.dtype} on {tensor.device}"
            )
    if not y.is_contiguous() or (bias is not None and not bias.is_contiguous()):
        raise ValueError("expected contiguous tensors to write to and to add")
    return x.contiguous()


def _threads(x: Tensor, weight: Int8Weight) -> tuple[int | None, int]:
    """How C starts threads, torch's own, and how many."""
    count = torch.get_num_threads()
    if count == 1 or len(x) * weight.inputs * weight.outputs < _PARALLEL:
        return None, 1
    return _start(), count


@cache
def _start() -> int | None:
    """GOMP_parallel of the OpenMP that torch has loaded; None where it has another."""
    try:
        return ctypes.cast(ctypes.CDLL(None).GOMP_parallel, ctypes.c_void_p).value
    except (OSError, AttributeError):
        return None


def _done(done: int, y: Tensor) -> Tensor:
    if not done:
        raise MemoryError("for the digits of activations")
    return y
