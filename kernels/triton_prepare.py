"""The inputs of a decode step in Triton: see `prepare.py`."""

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from .prepare import LAST, POSITION, ROW, SAMPLED, SEAT, SLOT, TOKEN, RowInputs

BLOCK = 256


# fmt: off
@triton.jit(do_not_specialize=["count", "growths"])
def _prepare_rows_kernel(
    rows, growth, last, tables, input_ids, positions, slot_of, seats, sample_positions,
    count, growths, table_row,
    TOKEN: tl.constexpr, LAST: tl.constexpr, POSITION: tl.constexpr, SLOT: tl.constexpr,
    SEAT: tl.constexpr, SAMPLED: tl.constexpr, BLOCK: tl.constexpr,
):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < count
    seat = tl.load(rows + LAST * count + i, mask=inside, other=-1)
    told = tl.load(rows + TOKEN * count + i, mask=inside, other=0).to(tl.int64)
    sampled = tl.load(last + tl.maximum(seat, 0), mask=inside & (seat >= 0), other=0)
    tl.store(input_ids + i, tl.where(seat >= 0, sampled, told), mask=inside)
    place = tl.load(rows + POSITION * count + i, mask=inside, other=0)
    tl.store(positions + i, place.to(tl.int64), mask=inside)
    slot = tl.load(rows + SLOT * count + i, mask=inside, other=0)
    tl.store(slot_of + i, slot.to(tl.int64), mask=inside)
    own = tl.load(rows + SEAT * count + i, mask=inside, other=0)
    tl.store(seats + i, own.to(tl.int64), mask=inside)
    at = tl.load(rows + SAMPLED * count + i, mask=inside, other=0)
    tl.store(sample_positions + i, at.to(tl.int64), mask=inside)
    grows = i < growths
    table = tl.load(growth + i, mask=grows, other=0).to(tl.int64)
    where = tl.load(growth + growths + i, mask=grows, other=0)
    given = tl.load(growth + 2 * growths + i, mask=grows, other=0)
    tl.store(tables + table * table_row + where, given.to(tl.int64), mask=grows)
# fmt: on


def prepare(rows: Tensor, growth: Tensor, last: Tensor, tables: Tensor, out: RowInputs) -> None:
    """See `prepare.prepare_reference`."""
    count, growths = rows.shape[1], growth.shape[1]
    assert rows.shape[0] == ROW
    assert rows.is_contiguous()
    assert growth.is_contiguous()
    assert tables.stride(1) == 1
    launch: Any = _prepare_rows_kernel
    launch[(triton.cdiv(max(count, growths), BLOCK),)](
        rows, growth, last, tables, *out, count, growths, tables.stride(0),
        TOKEN=TOKEN, LAST=LAST, POSITION=POSITION, SLOT=SLOT, SEAT=SEAT, SAMPLED=SAMPLED,
        BLOCK=BLOCK,
    )  # fmt: skip
