"""Attention of a flat batch of rows over keys and values that lie in slots.

`paged_attention_reference` is the specification; `paged_attention` computes the same faster.
"""

from __future__ import annotations

import torch
from torch import Tensor


class AttentionBatch:
    """The rows of one step: sequence b has rows query_start[b]:query_start[b + 1], which are the
    last of its seq_len[b] positions; slot_tables[b, p] is the slot of its position p."""

    def __init__(self, query_start: list[int], seq_len: list[int], slot_tables: Tensor) -> None:
        self.query_start = query_start
        self.seq_len = seq_len
        self.slot_tables = slot_tables


def visible(rows: int, keys: int, window: int | None, device: torch.device) -> Tensor:
    """[rows, keys] bool: which keys the last `rows` of `keys` positions see: none after itself,
    and of those before only the last `window`, itself included."""
    row = torch.arange(keys - rows, keys, device=device).unsqueeze(1)
    key = torch.arange(keys, device=device)
    seen = key <= row
    return seen if window is None else seen & (key > row - window)


def paged_attention_reference(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    batch: AttentionBatch,
    *,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """q [T, Hq, Dk], k_cache [slots, Hkv, Dk], v_cache [slots, Hkv, Dv] -> [T, Hq, Dv].

    Query head h reads KV head h // (Hq / Hkv). softcap: scores become softcap * tanh(s / softcap).
    sinks [Hq]: one score more per head, whose value is zero. Softmax in float32.
    """
    out = torch.empty(q.shape[0], q.shape[1], v_cache.shape[2], dtype=q.dtype, device=q.device)
    group = q.shape[1] // k_cache.shape[1]
    for b, keys in enumerate(batch.seq_len):
        first, last = batch.query_start[b], batch.query_start[b + 1]
        slots = batch.slot_tables[b, :keys]
        k = k_cache[slots].float().repeat_interleave(group, dim=1)
        v = v_cache[slots].float().repeat_interleave(group, dim=1)
        score = torch.einsum("qhd,khd->hqk", q[first:last].float(), k) * scale
        if softcap is not None:
            score = softcap * torch.tanh(score / softcap)
        hidden = ~visible(last - first, keys, window, q.device)
        score = score.masked_fill(hidden, float("-inf"))
        if sinks is not None:
            sink = sinks.float().view(-1, 1, 1).expand(-1, last - first, 1)
            score = torch.cat((score, sink), dim=-1)
        weight = score.softmax(dim=-1)[..., :keys]
        out[first:last] = torch.einsum("hqk,khd->qhd", weight, v).to(q.dtype)
    return out


def paged_attention(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    batch: AttentionBatch,
    *,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """See `paged_attention_reference`."""
    return paged_attention_reference(
        q, k_cache, v_cache, batch, scale=scale, window=window, softcap=softcap, sinks=sinks
    )
