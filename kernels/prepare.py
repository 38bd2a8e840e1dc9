"""The inputs of a decode step made from one packed buffer of ints: what a CUDA graph begins with.

The buffer has a row for each sequence, and the slots that their tables get. A row whose input token
the host does not know yet takes the last one sampled for its seat, which lies on the device.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from .device import uses_triton

TOKEN, LAST, POSITION, SLOT, SEAT, SAMPLED = range(6)
"""Of a row: its token; the seat whose last token it is instead, or -1; its position; the slot that
its keys and values go to; its seat; the position of the token that is sampled from it."""
ROW = 6


class RowInputs(NamedTuple):
    """What the model and the sampler read of each row, int64 [R]."""

    input_ids: Tensor
    positions: Tensor
    slot_of: Tensor
    seats: Tensor
    sample_positions: Tensor


def prepare_reference(
    rows: Tensor, growth: Tensor, last: Tensor, tables: Tensor, out: RowInputs
) -> None:
    """rows [ROW, R] int32 to `out`; growth [3, G] int32: seats, where, and the slot that their
    tables [seats, width] int64 get there. last [seats] int64."""
    known, seats = rows[LAST] < 0, rows[LAST].clamp(min=0)
    out.input_ids.copy_(rows[TOKEN].where(known, last[seats]))
    for to, what in zip(out[1:], (POSITION, SLOT, SEAT, SAMPLED), strict=True):
        to.copy_(rows[what])
    tables[growth[0].long(), growth[1].long()] = growth[2].long()


def prepare(rows: Tensor, growth: Tensor, last: Tensor, tables: Tensor, out: RowInputs) -> None:
    """See `prepare_reference`."""
    if uses_triton(rows):
        from . import triton_prepare

        triton_prepare.prepare(rows, growth, last, tables, out)
    else:
        prepare_reference(rows, growth, last, tables, out)
