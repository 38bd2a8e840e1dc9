from __future__ import annotations

import torch

from espalier.runtime.batch import ForwardBatch


def test_from_host_pads_ragged_tables_with_the_trash_slot() -> None:
    batch = ForwardBatch.from_host(
        input_ids=[5, 6, 7],
        positions=[0, 1, 4],
        slot_of=[3, 2, 9],
        query_start=[0, 2, 3],
        seq_len=[2, 5],
        slot_tables=[[3, 2], [0, 1, 4, 6, 8]],
        logits_at=[1, 2],
        trash_slot=9,
    )
    assert batch.slot_tables.tolist() == [[3, 2, 9, 9, 9], [0, 1, 4, 6, 8]]
    for tensor in (batch.input_ids, batch.positions, batch.slot_of, batch.logits_at):
        assert tensor.dtype == torch.int64
