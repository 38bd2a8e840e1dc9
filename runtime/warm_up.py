"""Compiles what a GPU's steps run, while an engine starts: the first request would wait for it."""

from __future__ import annotations

import torch

from ..kernels.attention_plan import SharedRun
from .batch import ForwardBatch
from .kv_cache import KVCache
from .models import CausalLM
from .sampler import Sampler


@torch.inference_mode()
def warm_up(model: CausalLM, kv: KVCache, sampler: Sampler, *, max_context: int) -> None:
    """Runs rows of no meaning, as a step has them: decoding over few keys and many, beside others
    of the same prefix, and a prompt; and the sampler with filters and without. They write and read
    the trash slot alone."""
    device, long = kv.device, min(max_context, 600)
    for rows, keys, shared in ((1, 1, False), (1, long, False), (1, long, True), (20, 20, False)):
        if keys > max_context:
            continue
        sequences = 2 if shared else 1
        # As wide as the real ones: kernels are compiled for what their strides are divisible by.
        tables = torch.full((sequences, max_context), kv.trash_slot, device=device)
        count = rows * sequences
        batch = ForwardBatch(
            input_ids=torch.zeros(count, dtype=torch.int64, device=device),
            positions=torch.arange(keys - rows, keys, device=device).repeat(sequences),
            slot_of=torch.full((count,), kv.trash_slot, device=device),
            query_start=[rows * number for number in range(sequences + 1)],
            seq_len=[keys] * sequences,
            slot_tables=tables,
            logits_at=torch.arange(count, device=device),
            shared=[SharedRun((0, 1), 0, keys - 1)] if shared else [],
        )
        logits = model.forward(batch, kv)
    zeros = torch.zeros(len(logits), dtype=torch.int64, device=device)
    for filtered in (False, True):
        sampler.draw(logits, seats=zeros, positions=zeros, rows=zeros - 1, filtered=filtered)
