"""One step's rows as tensors: what the model's forward reads.

Rows of several sequences are packed flat, those of one sequence next to each other; prefill, chunk,
draft and decode rows mix. `T` rows, `B` sequences, `N` rows whose logits are wanted.

Every layer writes the keys and values of the whole step before it attends, so a row may read slots
that another sequence's row fills in the same step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..kernels.attention_plan import SharedRun


@dataclass
class ForwardBatch:
    """input_ids, positions [T] int64. slot_of [T] int64: the slot each row's KV is written to, the
    cache's trash slot for rows whose KV is there already. query_start (B + 1 host ints): the rows
    of sequence b are query_start[b]:query_start[b + 1], at least one. seq_len (B host ints): keys
    the last row of the sequence sees; its rows are the last of these positions. slot_tables
    [.., >= max(seq_len)] int64: slot of each position; entries from seq_len on may be any valid
    slot. table_of (B host ints): the sequences' rows of it; None: 0, 1, ... logits_at [N] int64:
    rows of T. shared: runs of positions that sequences have in the same slots. attention_plans:
    `AttentionBatch.device_plans`, which a CUDA graph has on the device before it runs.
    """

    input_ids: Tensor
    positions: Tensor
    slot_of: Tensor
    query_start: list[int]
    seq_len: list[int]
    slot_tables: Tensor
    logits_at: Tensor
    table_of: list[int] | None = None
    hidden_at: Tensor | None = None
    hidden: Tensor | None = None
    shared: Sequence[SharedRun] = ()
    attention_plans: dict[Any, Any] = field(default_factory=dict)

    @classmethod
    def from_host(
        cls,
        *,
        input_ids: Sequence[int],
        positions: Sequence[int],
        slot_of: Sequence[int],
        query_start: list[int],
        seq_len: list[int],
        slot_tables: Sequence[Sequence[int]],
        logits_at: Sequence[int],
        trash_slot: int,
        device: torch.device | str = "cpu",
    ) -> ForwardBatch:
        """From plain ints; `slot_tables` may be ragged and is padded with the trash slot."""
        longest = max(map(len, slot_tables))
        padded = [[*table, *[trash_slot] * (longest - len(table))] for table in slot_tables]

        def tensor(values: Sequence[int] | list[list[int]]) -> Tensor:
            return torch.tensor(values, dtype=torch.int64, device=device)

        return cls(
            input_ids=tensor(input_ids),
            positions=tensor(positions),
            slot_of=tensor(slot_of),
            query_start=query_start,
            seq_len=seq_len,
            slot_tables=tensor(padded),
            logits_at=tensor(logits_at),
        )
