"""Compiles what a GPU's steps run, while an engine starts: the first request would wait for it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..kernels.attention_plan import SharedRun
from ..kernels.prepare import ROW, RowInputs, prepare
from .batch import ForwardBatch
from .kv_cache import KVCache
from .model_runner import Masks
from .models import CausalLM
from .plan import Penalties, Plan, SeatParams
from .sampler import Sampler


@torch.inference_mode()
def warm_up(
    model: CausalLM, kv: KVCache, sampler: Sampler, *, max_context: int, graphs: bool = False
) -> None:
    """Runs rows of no meaning, as a step has them: decoding over few keys and many, beside others
    of the same prefix, and a prompt; the sampler with filters and without, and with all that a
    request may ask of it; and what graphs, if there are any, begin with. They write and read the
    trash slot alone."""
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
    _sample_one(logits[:1])
    if graphs:
        _prepare(tables)


def _sample_one(logits: Tensor) -> None:
    """By a sampler of one seat, which asks for a bias, a ban, tokens held back and penalties."""
    sampler = Sampler(1, logits.shape[1], logits.device)
    token = np.zeros(1, dtype=np.int64)
    asked = SeatParams(
        seat=0, seed=0, index=0, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0,
        bias=((0, 1.0), (1, -float("inf"))), banned=(2,), min_tokens=1, first=1, logprobs=None,
        penalties=Penalties(1.1, 0.1, 0.1, prompt=token, generated=token),
    )  # fmt: skip
    sampler.sit(asked)
    plan = Plan(step=0, sample_from=[0], sample_seats=[0], sample_positions=[1])
    sampler.sample(logits, plan, Masks(), set())


def _prepare(tables: Tensor) -> None:
    """The inputs of two rows, and a slot that a table gets."""
    packed = torch.zeros(ROW * 2 + 4, dtype=torch.int32, device=tables.device)
    longs = torch.zeros(len(RowInputs._fields), 2, dtype=torch.int64, device=tables.device)
    rows, growth = packed[: ROW * 2].view(ROW, 2), packed[ROW * 2 :][:3].view(3, 1)
    prepare(rows, growth, longs[0].clone(), tables, RowInputs(*(each.clone() for each in longs)))
