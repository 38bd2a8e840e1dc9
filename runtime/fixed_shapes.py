"""Forward passes whose shapes depend on absolute positions alone (`deterministic`).

How a product is summed may depend on its shape: on how many rows a step has, where a chunk begins,
whose neighbours run. Here the rows of one sequence run by themselves, in blocks of `BLOCK`
positions that begin at multiples of `BLOCK`; rows of a block that the step does not ask for are run
all the same, with a token of no meaning, and write to the trash slot. So a position is computed by
the same operators over the same shapes each time, prefilled or decoded, alone or not, and its
numbers are the same to the last bit (on the same device with as many threads).

It costs: a decoded token runs `BLOCK` rows, and sequences do not share a product.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .batch import ForwardBatch
from .kv_cache import KVCache
from .models import CausalLM
from .plan import Plan

BLOCK = 16


def forward_mixed(
    model: CausalLM,
    kv: KVCache,
    plan: Plan,
    input_ids: Tensor,
    tables: Tensor,
    fixed: list[bool],
) -> tuple[Tensor, Tensor | None]:
    """Logits [N, V] of a step, and its hidden states [P, hidden size] where any are asked for and
    the model tells them. fixed[b]: whether sequence b of the plan wants fixed shapes; the others
    run together. input_ids [T] of the plan; tables [seats, width]: slot tables, width at least the
    context rounded up to a multiple of BLOCK."""
    rows: list[Tensor | None] = [None] * len(plan.logits_at)
    states: list[Tensor | None] = [None] * len(plan.pool_rows)
    if not all(fixed):
        batch, places, pooled = _together(
            plan, input_ids, tables, [b for b, f in enumerate(fixed) if not f]
        )
        for place, row in zip(places, model.forward(batch, kv), strict=True):
            rows[place] = row
        if batch.hidden is not None:
            for place, row in zip(pooled, batch.hidden, strict=True):
                states[place] = row
    place_of = {row: place for place, row in enumerate(plan.logits_at)}
    pool_of = {row: place for place, row in enumerate(plan.pool_rows)}
    for b, wants in enumerate(fixed):
        if not wants:
            continue
        for block in _blocks(plan, b, input_ids, tables, kv.trash_slot, place_of, pool_of):
            logits = model.forward(block.batch, kv)
            for place, at in block.asked:
                rows[place] = logits[at]
            if block.batch.hidden is not None:
                for place, at in block.pooled:
                    states[place] = block.batch.hidden[at]
    found = [row for row in rows if row is not None]
    assert len(found) == len(rows)
    told = [row for row in states if row is not None]
    return (
        torch.stack(found) if found else input_ids.new_zeros((0, 0), dtype=torch.float32),
        torch.stack(told) if told and len(told) == len(states) else None,
    )


class _Block(NamedTuple):
    """asked, pooled: (place among the plan's, row of the block) of the logits and hidden states
    that are wanted."""

    batch: ForwardBatch
    asked: list[tuple[int, int]]
    pooled: list[tuple[int, int]]


def _together(
    plan: Plan, input_ids: Tensor, tables: Tensor, which: list[int]
) -> tuple[ForwardBatch, list[int], list[int]]:
    """The sequences `which` as one batch, and the places of its logits and of its hidden states
    among the plan's."""
    device = input_ids.device
    old_rows: list[int] = []
    query_start = [0]
    for b in which:
        old_rows.extend(range(plan.query_start[b], plan.query_start[b + 1]))
        query_start.append(len(old_rows))
    new_row = {old: new for new, old in enumerate(old_rows)}
    places = [place for place, row in enumerate(plan.logits_at) if row in new_row]
    pooled = [place for place, row in enumerate(plan.pool_rows) if row in new_row]
    take = torch.tensor(old_rows, device=device)
    seq_len = [plan.seq_len[b] for b in which]
    batch = ForwardBatch(
        input_ids=input_ids[take],
        positions=torch.tensor(plan.positions, device=device)[take],
        slot_of=torch.tensor(plan.slot_of, device=device)[take],
        query_start=query_start,
        seq_len=seq_len,
        slot_tables=tables,
        table_of=[plan.seats[b] for b in which],
        logits_at=torch.tensor(
            [new_row[plan.logits_at[place]] for place in places], dtype=torch.int64, device=device
        ),
        hidden_at=torch.tensor([new_row[plan.pool_rows[place]] for place in pooled], device=device)
        if pooled
        else None,
    )
    return batch, places, pooled


def _blocks(
    plan: Plan,
    b: int,
    input_ids: Tensor,
    tables: Tensor,
    trash_slot: int,
    place_of: dict[int, int],
    pool_of: dict[int, int],
) -> Iterator[_Block]:
    """The blocks of sequence b's rows in order."""
    device = input_ids.device
    first, end = plan.query_start[b], plan.query_start[b + 1]
    start = plan.positions[first]
    stop = start + end - first
    seat = plan.seats[b]
    for base in range(start - start % BLOCK, stop, BLOCK):
        low, high = max(start, base), min(stop, base + BLOCK)
        here = slice(low - base, high - base)
        row = first + low - start  # of the plan
        ids = torch.zeros(BLOCK, dtype=torch.int64, device=device)
        ids[here] = input_ids[row : row + high - low]
        slots = torch.full((BLOCK,), trash_slot, dtype=torch.int64, device=device)
        slots[here] = torch.tensor(plan.slot_of[row : row + high - low], device=device)
        asked, pooled = (
            [(places[row + i], low - base + i) for i in range(high - low) if row + i in places]
            for places in (place_of, pool_of)
        )
        table = tables[seat : seat + 1, : base + BLOCK].clone()
        table[:, stop:] = table[:, :1]  # nobody sees these positions, but 0 * NaN is NaN
        batch = ForwardBatch(
            input_ids=ids,
            positions=torch.arange(base, base + BLOCK, device=device),
            slot_of=slots,
            query_start=[0, BLOCK],
            seq_len=[base + BLOCK],
            slot_tables=table,
            # All rows or none: how many are asked for must not change the product either.
            logits_at=torch.arange(BLOCK if asked else 0, device=device),
            hidden_at=torch.arange(BLOCK, device=device) if pooled else None,
        )
        yield _Block(batch, asked, pooled)
