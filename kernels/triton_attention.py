"""Paged attention in Triton: decode rows, chunks of prompts and shared prefixes in one launch.

A program takes one item of the plan (`attention_plan.py`) for one KV head. The query heads that
share the KV head are packed with the rows, so that keys and values are read once for all of them.
Softmax is computed online (Milakov and Gimelshein, 2018; Dao et al., 2022), in float32 and powers
of two; what was cut in pieces is merged by the logarithms of the sums.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from .attention import AttentionBatch
from .attention_plan import ITEM_WIDTH, PlanRoom, plan_attention
from .device import power_of_2, put
from .kv_quant import KVScales
from .tuned import Tiles, tiles_for

LOG2_E = math.log2(math.e)


MOST_PARTIAL = 1 << 29
"""Bytes of partial results. Where many sequences are so long that they would be more, pieces are
longer: their results differ in the last bits then."""

_MEMORY = 48 << 10
"""Bytes of keys and values that a program reads at once: some three times as much lies in shared
memory, of which the smaller GPUs have 99 KB."""


def block_sizes(tiles: Tiles, k_width: int, v_width: int, dtype: torch.dtype) -> dict[str, int]:
    """KEYS, BLOCK_K and BLOCK_V, of the widths and the dtype alone."""
    block_k, block_v = (max(16, power_of_2(width)) for width in (k_width, v_width))
    keys = tiles.keys
    while keys > 16 and keys * (block_k + block_v) * dtype.itemsize > _MEMORY:
        keys //= 2
    return {"KEYS": keys, "BLOCK_K": block_k, "BLOCK_V": block_v}


class DevicePlan(NamedTuple):
    """A packed `AttentionPlan` on the device, and how to launch it: `programs` take its items in
    turns, `packed` query rows each. room: of it; split: keys of a piece; total [1]: how many items
    there are."""

    room: PlanRoom
    packed: int
    programs: int
    split: int
    total: Tensor
    position: Tensor
    first: Tensor
    merged: Tensor
    rows: Tensor
    items: Tensor

    @classmethod
    def of(
        cls, whole: Tensor, room: PlanRoom, packed: int, programs: int, split: int
    ) -> "DevicePlan":
        """Views of the packed form `whole`, int32."""
        views = [whole[start:stop] for start, stop in room.sections()]
        return cls(room, packed, programs, split, *views)


def packed_rows(tiles: Tiles, group: int, *, lone: bool) -> int:
    """Packed query rows of a program. lone: each sequence has one row, and nothing is shared."""
    return max(tiles.few if lone else tiles.many, power_of_2(group))


def plan_key(group: int, window: int | None, tiles: Tiles) -> tuple[int, int | None, Tiles]:
    """What layers have in common that run from the same plan, in `AttentionBatch.device_plans`."""
    return group, window, tiles


def _device_plan(
    batch: AttentionBatch, group: int, window: int | None, tiles: Tiles, row_bytes: int
) -> DevicePlan:
    """The plan of `batch` for layers with this window, copied to the device once. row_bytes: of one
    row's partial results of one piece."""
    key = plan_key(group, window, tiles)
    found: DevicePlan | None = batch.device_plans.get(key)
    if found is not None:
        return found
    lone = batch.query_start[-1] == len(batch.seq_len) and not batch.shared
    packed = packed_rows(tiles, group, lone=lone)
    split = tiles.split
    while True:
        plan = plan_attention(
            batch.query_start,
            batch.seq_len,
            batch.table_of,
            tile=packed // group,
            split=split,
            window=window,
            shared=batch.shared,
        )
        if plan.partials * row_bytes <= MOST_PARTIAL or split >= max(batch.seq_len):
            break
        split *= 2
    room = PlanRoom.of(plan)
    whole = np.empty(room.size, dtype=np.int32)
    room.pack(plan, whole)
    there = put(whole, batch.slot_tables.device)
    found = DevicePlan.of(there, room, packed, len(plan.items), split)
    batch.device_plans[key] = found
    return found


# fmt: off
@triton.jit
def _mix(
    query, place, k, v, k_scales, v_scales, table_at, begin, end, scale, softcap, window,
    k_slot, v_slot, scale_slot,
    K_WIDTH: tl.constexpr, V_WIDTH: tl.constexpr, PACKED: tl.constexpr, KEYS: tl.constexpr,
    BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr, HAS_CAP: tl.constexpr, HAS_WINDOW: tl.constexpr,
    HAS_SCALES: tl.constexpr, LOG2_E: tl.constexpr,
):
    """The mean of the values of keys begin <= n < end that each packed row sees, and the logarithm
    of the sum of its weights, of base 2."""
    wide_k, wide_v = tl.arange(0, BLOCK_K), tl.arange(0, BLOCK_V)
    top = tl.full([PACKED], float("-inf"), tl.float32)
    total = tl.zeros([PACKED], tl.float32)
    mixed = tl.zeros([PACKED, BLOCK_V], tl.float32)
    for start in range(begin // KEYS * KEYS, end, KEYS):
        n = start + tl.arange(0, KEYS)
        inside = (n >= begin) & (n < end)
        slot = tl.load(table_at + n, mask=inside, other=0).to(tl.int64)
        key = tl.load(
            k + slot[None, :] * k_slot + wide_k[:, None],
            mask=inside[None, :] & (wide_k < K_WIDTH)[:, None], other=0.0,
        )
        score = tl.dot(query, key.to(query.dtype), input_precision="ieee") * scale
        if HAS_SCALES:
            score *= tl.load(k_scales + slot * scale_slot, mask=inside, other=0.0)[None, :]
        if HAS_CAP:
            score = softcap * LOG2_E * (1.0 - 2.0 / (tl.exp(2.0 / softcap * score) + 1.0))
        else:
            score = score * LOG2_E
        seen = inside[None, :] & (n[None, :] <= place[:, None])
        if HAS_WINDOW:
            seen = seen & (n[None, :] > place[:, None] - window)
        score = tl.where(seen, score, float("-inf"))
        higher = tl.maximum(top, tl.max(score, 1))
        shift = tl.where(higher == float("-inf"), 0.0, higher)
        weight = tl.exp2(score - shift[:, None])
        fade = tl.exp2(top - shift)
        total = total * fade + tl.sum(weight, 1)
        value = tl.load(
            v + slot[:, None] * v_slot + wide_v[None, :],
            mask=inside[:, None] & (wide_v < V_WIDTH)[None, :], other=0.0,
        )
        mixed = mixed * fade[:, None]
        if HAS_SCALES:  # over the greatest of them: small ones would leave float16's range
            scales = tl.load(v_scales + slot * scale_slot, mask=inside, other=0.0)
            greatest = tl.max(scales, 0)
            weight *= (scales / tl.where(greatest == 0.0, 1.0, greatest))[None, :]
            part = tl.dot(weight.to(query.dtype), value.to(query.dtype), input_precision="ieee")
            mixed += part * greatest
        else:
            mixed += tl.dot(weight.to(query.dtype), value.to(query.dtype), input_precision="ieee")
        top = higher
    return mixed / tl.where(total == 0.0, 1.0, total)[:, None], top + tl.log2(total)


@triton.jit
def _attend(
    q, k, v, k_scales, v_scales, out, partial, partial_sum, tables, item, listed, position, first,
    sinks, scale, softcap, window, split,
    q_row, q_head, k_slot, k_head, v_slot, v_head, scale_slot, table_row,
    HEADS: tl.constexpr, GROUP: tl.constexpr, K_WIDTH: tl.constexpr, V_WIDTH: tl.constexpr,
    PACKED: tl.constexpr, KEYS: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    HAS_CAP: tl.constexpr, HAS_SINKS: tl.constexpr, HAS_WINDOW: tl.constexpr,
    HAS_SCALES: tl.constexpr, LOG2_E: tl.constexpr,
):
    """One item, of one KV head."""
    kv_head = tl.program_id(1)
    rows_at, rows, table = tl.load(item), tl.load(item + 1), tl.load(item + 2)
    begin, end, piece = tl.load(item + 3), tl.load(item + 4), tl.load(item + 5)
    m = tl.arange(0, PACKED)
    real = m < rows * GROUP
    row = tl.load(listed + rows_at + m // GROUP, mask=real, other=0)
    head = kv_head * GROUP + m % GROUP
    place = tl.load(position + row, mask=real, other=0)
    wide_k, wide_v = tl.arange(0, BLOCK_K), tl.arange(0, BLOCK_V)
    q_at = row.to(tl.int64) * q_row + head * q_head
    query = tl.load(
        q + q_at[:, None] + wide_k[None, :],
        mask=real[:, None] & (wide_k < K_WIDTH)[None, :], other=0.0,
    )
    mixed, summed = _mix(  # pyright: ignore[reportGeneralTypeIssues]
        query, place, k + kv_head * k_head, v + kv_head * v_head,
        k_scales + kv_head if HAS_SCALES else k_scales,
        v_scales + kv_head if HAS_SCALES else v_scales,
        tables + table.to(tl.int64) * table_row, begin, end, scale, softcap, window,
        k_slot, v_slot, scale_slot,
        K_WIDTH, V_WIDTH, PACKED, KEYS, BLOCK_K, BLOCK_V, HAS_CAP, HAS_WINDOW, HAS_SCALES, LOG2_E,
    )
    has = (wide_v < V_WIDTH)[None, :]
    if piece < 0:
        if HAS_SINKS:
            sink = tl.load(sinks + head, mask=real, other=0.0).to(tl.float32) * LOG2_E
            mixed = mixed / (1.0 + tl.exp2(sink - summed))[:, None]
        at = (row.to(tl.int64) * HEADS + head) * V_WIDTH
        to = out + at[:, None] + wide_v[None, :]
        tl.store(to, mixed.to(out.dtype.element_ty), mask=real[:, None] & has)
    else:
        sees = real & (place >= piece * split)
        if HAS_WINDOW:
            sees = sees & (place - window + 1 < (piece + 1) * split)
        at = (tl.load(first + row, mask=real, other=0) + piece).to(tl.int64) * HEADS + head
        tl.store(partial + at[:, None] * V_WIDTH + wide_v[None, :], mixed, mask=sees[:, None] & has)
        tl.store(partial_sum + at, summed, mask=sees)


@triton.jit
def _attend_kernel(
    q, k, v, k_scales, v_scales, out, partial, partial_sum, tables,
    count, items, listed, position, first,
    sinks, scale, softcap, window, split,
    q_row, q_head, k_slot, k_head, v_slot, v_head, scale_slot, table_row,
    HEADS: tl.constexpr, GROUP: tl.constexpr, K_WIDTH: tl.constexpr, V_WIDTH: tl.constexpr,
    PACKED: tl.constexpr, KEYS: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_V: tl.constexpr,
    ITEM: tl.constexpr, HAS_CAP: tl.constexpr, HAS_SINKS: tl.constexpr, HAS_WINDOW: tl.constexpr,
    HAS_SCALES: tl.constexpr, LOG2_E: tl.constexpr,
):
    # Programs take turns: in a CUDA graph there are as many, however many items there are.
    for at in range(tl.program_id(0), tl.load(count), tl.num_programs(0)):
        _attend(
            q, k, v, k_scales, v_scales, out, partial, partial_sum, tables,
            items + at * ITEM, listed, position, first, sinks, scale, softcap, window, split,
            q_row, q_head, k_slot, k_head, v_slot, v_head, scale_slot, table_row,
            HEADS, GROUP, K_WIDTH, V_WIDTH, PACKED, KEYS, BLOCK_K, BLOCK_V,
            HAS_CAP, HAS_SINKS, HAS_WINDOW, HAS_SCALES, LOG2_E,
        )  # fmt: skip
# fmt: on


@triton.jit
def _merge_kernel(
    partial,
    partial_sum,
    merged,
    out,
    sinks,
    HEADS: tl.constexpr,
    V_WIDTH: tl.constexpr,
    BLOCK_V: tl.constexpr,
    MERGED: tl.constexpr,
    HAS_SINKS: tl.constexpr,
    LOG2_E: tl.constexpr,
):
    entry = merged + tl.program_id(0) * 3
    head = tl.program_id(1)
    row, first, count = tl.load(entry), tl.load(entry + 1), tl.load(entry + 2)
    if count == 0:
        return
    wide = tl.arange(0, BLOCK_V)
    has = wide < V_WIDTH
    top = float("-inf")
    total = 0.0
    if HAS_SINKS:
        top = tl.load(sinks + head).to(tl.float32) * LOG2_E
        total = 1.0
    mixed = tl.zeros([BLOCK_V], tl.float32)
    for start in range(0, count, MERGED):
        i = start + tl.arange(0, MERGED)
        inside = i < count
        at = (first + i).to(tl.int64) * HEADS + head
        summed = tl.load(partial_sum + at, mask=inside, other=float("-inf"))
        part = tl.load(
            partial + at[:, None] * V_WIDTH + wide[None, :],
            mask=inside[:, None] & has[None, :],
            other=0.0,
        )
        higher = tl.maximum(top, tl.max(summed, 0))
        weight = tl.exp2(summed - higher)
        fade = tl.exp2(top - higher)
        total = total * fade + tl.sum(weight, 0)
        mixed = mixed * fade + tl.sum(part * weight[:, None], 0)
        top = higher
    out_at = (row.to(tl.int64) * HEADS + head) * V_WIDTH
    tl.store(out + out_at + wide, (mixed / total).to(out.dtype.element_ty), mask=has)


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
    scales: KVScales | None = None,
    tiles: Tiles | None = None,
) -> Tensor:
    """See `attention.paged_attention_reference`. `batch.shared` is read once for all who share it.
    The last dimension of q and of the caches lies in order. tiles: None takes those that were
    measured to be the fastest on this device (`tuned.py`)."""
    heads, kv_heads = q.shape[1], k_cache.shape[1]
    v_width = v_cache.shape[2]
    group = heads // kv_heads
    if tiles is None:
        tiles = tiles_for(q, k_cache, v_cache)
    plan = _device_plan(batch, group, window, tiles, heads * v_width * 4)
    out = torch.empty((q.shape[0], heads, v_width), dtype=q.dtype, device=q.device)
    partials = plan.room.partials
    partial = torch.empty((partials, heads, v_width), dtype=torch.float32, device=q.device)
    partial_sum = torch.empty((partials, heads), dtype=torch.float32, device=q.device)
    assert q.stride(2) == k_cache.stride(2) == v_cache.stride(2) == 1
    if scales is not None:
        assert scales.k.stride() == scales.v.stride()
        assert scales.k.stride(1) == 1
    k_scales, v_scales = (None, None) if scales is None else scales
    sizes = block_sizes(tiles, q.shape[2], v_width, q.dtype)
    launch: Any = _attend_kernel
    launch[(plan.programs, kv_heads)](
        q, k_cache, v_cache, k_scales, v_scales, out, partial, partial_sum, batch.slot_tables,
        plan.total, plan.items, plan.rows, plan.position, plan.first, sinks,
        scale, softcap or 1.0, window or 0, plan.split,
        *q.stride()[:2], *k_cache.stride()[:2], *v_cache.stride()[:2],
        0 if scales is None else scales.k.stride(0), batch.slot_tables.stride(0),
        HEADS=heads, GROUP=group, K_WIDTH=q.shape[2], V_WIDTH=v_width,
        PACKED=plan.packed, ITEM=ITEM_WIDTH,
        HAS_CAP=softcap is not None, HAS_SINKS=sinks is not None,
        HAS_WINDOW=window is not None, HAS_SCALES=scales is not None, LOG2_E=LOG2_E,
        num_warps=tiles.warps, num_stages=tiles.stages, **sizes,
    )  # fmt: skip
    if partials:
        launch = _merge_kernel
        launch[(plan.room.merged, heads)](
            partial, partial_sum, plan.merged, out, sinks,
            HEADS=heads, V_WIDTH=v_width, BLOCK_V=sizes["BLOCK_V"], MERGED=tiles.merged,
            HAS_SINKS=sinks is not None, LOG2_E=LOG2_E,
        )  # fmt: skip
    return out
