"""Flat batches of rows over keys and values in slots, drawn at random, for tests of attention."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import torch
from torch import Tensor

from espalier.kernels.attention import AttentionBatch
from espalier.kernels.attention_plan import SharedRun


@dataclass
class Case:
    """What attention is given."""

    q: Tensor
    k: Tensor
    v: Tensor
    batch: AttentionBatch


def make_case(
    shapes: list[tuple[int, int]],
    *,
    heads: tuple[int, int] = (4, 2),
    widths: tuple[int, int] = (8, 8),
    contiguous: bool = False,
    scattered: bool = False,
    page: int = 1,
    shared: list[SharedRun] | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> Case:
    """`shapes`: (rows, keys) per sequence. page: slots that follow one another. shared: runs whose
    slots are those of their first member. What lies past a table's end, and in slots of nobody, is
    NaN: it must not reach any result."""
    torch.manual_seed(seed)
    pages = sum(-(-keys // page) for _, keys in shapes)
    total = pages * page
    order = list(range(pages))
    if not contiguous:
        random.Random(seed).shuffle(order)
    slots = torch.tensor([first * page + i for first in order for i in range(page)])
    tables = torch.full((len(shapes) + 2, max(keys for _, keys in shapes) + 3), total)
    table_of = list(range(len(shapes)))
    if scattered:
        table_of = random.Random(seed).sample(range(len(tables)), len(shapes))
    starts, used = [0], 0
    kept = torch.zeros(total + 1, dtype=torch.bool)
    for b, (rows, keys) in enumerate(shapes):
        tables[table_of[b], :keys] = slots[used : used + keys]
        starts.append(starts[-1] + rows)
        used += -(-keys // page) * page
    for run in shared or ():
        here = slice(run.begin, run.end)
        for member in run.members[1:]:
            tables[table_of[member], here] = tables[table_of[run.members[0]], here]
    for b, (_, keys) in enumerate(shapes):
        kept[tables[table_of[b], :keys]] = True
    k = torch.randn(total + 1, heads[1], widths[0], dtype=dtype)
    v = torch.randn(total + 1, heads[1], widths[1], dtype=dtype)
    k[~kept], v[~kept] = math.nan, math.nan
    q = torch.randn(starts[-1], heads[0], widths[0], dtype=dtype)
    lengths = [keys for _, keys in shapes]
    whole = tables.to(device)
    batch = AttentionBatch(
        starts,
        lengths,
        whole if scattered else whole[: len(shapes)],
        table_of=table_of if scattered else None,
        shared=shared or (),
    )
    return Case(q.to(device), k.to(device), v.to(device), batch)
