"""Attention of few rows on a CPU, in C (`native.c`): each reads its keys and values where they lie,
none is padded to another's length, and heads that share keys read them once."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .native import operators

if TYPE_CHECKING:
    from .attention import AttentionBatch

FEW = 8
"""Up to so many rows of a sequence are taken: for more, it pays to read keys once for several."""
_LANES = 16  # of native.c: widths are multiples
_MOST = 1 << 15  # elements of all heads of a row: they lie on the stack


class _Rows(NamedTuple):
    """runs [n, 3] int64: row, table, keys that it sees. seen: keys of all their sequences."""

    runs: NDArray[np.int64]
    seen: int


class _Shape(ctypes.Structure):
    """As native.c has it: what the layers of a step share."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("tables", "runs")),
        *((name, ctypes.c_int64) for name in ("table_row", "count", "heads", "kv_heads")),
        *((name, ctypes.c_int64) for name in ("k_width", "v_width", "q_row", "k_row", "v_row")),
        ("window", ctypes.c_int64),
        *((name, ctypes.c_float) for name in ("scale", "softcap")),
    )


def attend_few(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    batch: AttentionBatch,
    *,
    scale: float,
    window: int | None,
    softcap: float | None,
    sinks: Tensor | None,
) -> tuple[Tensor | None, bool]:
    """`paged_attention` of the sequences of up to `FEW` rows; the other rows of the result are not
    yet written. None where native.c has nothing for these tensors, or no sequence has so few. And
    whether there are other rows."""
    key = window, scale, softcap, q.shape, q.stride(), k_cache.stride(), v_cache.stride()
    plans = batch.device_plans
    if key not in plans:
        plans[key] = _plan(q, k_cache, v_cache, batch, scale, window, softcap)
    attention, shape, others = plans[key]
    if attention is None:
        return None, True
    out = q.new_empty(q.shape[0], q.shape[1], v_cache.shape[2])
    wide = None if sinks is None else sinks.float()
    attention(
        shape,
        q.data_ptr(),
        k_cache.data_ptr(),
        v_cache.data_ptr(),
        out.data_ptr(),
        None if wide is None else wide.data_ptr(),
    )
    return out, others


def _plan(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    batch: AttentionBatch,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> tuple[Any, Any, bool]:
    """The function, None where native.c has none for these tensors; its first argument; whether
    there are rows that are not `_rows`. One for all layers alike."""
    rows = _rows(batch)
    heads, (kv_heads, k_width), v_width = q.shape[1], k_cache.shape[1:], v_cache.shape[2]
    suits = (
        len(rows.runs) > 0
        and k_width % _LANES == v_width % _LANES == 0
        and heads * max(k_width, v_width) <= _MOST
        and q.stride()[1:] == k_cache.stride()[1:] == (k_width, 1)
        and v_cache.stride()[1:] == (v_width, 1)
    )
    c = operators(q, rows.seen * kv_heads * (k_width + v_width)) if suits else None
    if c is None:
        return None, None, True
    shape = _Shape(
        tables=batch.slot_tables.data_ptr(),
        runs=rows.runs.ctypes.data,
        table_row=batch.slot_tables.stride(0),
        count=len(rows.runs),
        heads=heads,
        kv_heads=kv_heads,
        k_width=k_width,
        v_width=v_width,
        q_row=q.stride(0),
        k_row=k_cache.stride(0),
        v_row=v_cache.stride(0),
        window=window or 0,
        scale=scale,
        softcap=softcap or 0.0,
    )
    return c.attention, ctypes.byref(shape), len(rows.runs) < batch.query_start[-1]


def _rows(batch: AttentionBatch) -> _Rows:
    """The rows of the sequences that have up to `FEW`; made once a step."""
    found: _Rows | None = batch.device_plans.get("few")
    if found is None:
        rows, seen = [], 0
        for b, keys in enumerate(batch.seq_len):
            first, end = batch.query_start[b], batch.query_start[b + 1]
            if end - first <= FEW:
                table, before = batch.table_of[b], keys - end + 1
                rows += [(row, table, before + row) for row in range(first, end)]
                seen += keys
        found = _Rows(np.array(rows, dtype=np.int64).reshape(-1, 3), seen)
        batch.device_plans["few"] = found
    return found
