"""Attention of few rows on a CPU, in C (`native_attention.c`): each reads its keys and values where
they lie, none is padded to another's length, heads that share keys read them once, and so do
sequences that share a run of positions (`AttentionBatch.shared`)."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .native import operators

if TYPE_CHECKING:
    from .attention import AttentionBatch
    from .attention_plan import SharedRun

FEW = 8
"""Up to so many rows of a sequence are taken: for more, it pays to read keys once for several."""
_LANES = 16  # of native.c, at most: widths are multiples
_MOST = 1 << 15  # elements of all heads of a row: they lie on the stack
_KEYS = 64  # of native_attention.c: attended to at once by rows that share them
_HEADS, _CACHE = 32, 1 << 21
"""A run is read once for all where so many heads attend to a KV head, or where it does not fit a
core's own cache (bytes); below both, arranging it costs what is saved (docs/LOG.md)."""


class _Rows(NamedTuple):
    """runs [n, 3] int64: row, table, keys that it sees. of: the numbers of each sequence's runs.
    seen: keys of all their sequences."""

    runs: NDArray[np.int64]
    of: dict[int, list[int]]
    seen: int


class _Shape(ctypes.Structure):
    """As native.c has it: what the layers of a step share."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("tables", "runs", "shared", "members")),
        *((name, ctypes.c_void_p) for name in ("scratch", "state")),
        *((name, ctypes.c_int64) for name in ("table_row", "count", "shares", "heads")),
        *((name, ctypes.c_int64) for name in ("kv_heads", "k_width", "v_width", "q_row")),
        *((name, ctypes.c_int64) for name in ("k_row", "v_row", "window")),
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
    plan = plan_few(q, k_cache, v_cache, batch, scale=scale, window=window, softcap=softcap)
    if plan is None:
        return None, True
    out = q.new_empty(q.shape[0], q.shape[1], v_cache.shape[2])
    wide = None if sinks is None else sinks.float().contiguous()
    plan.attention(
        ctypes.byref(plan.shape),
        q.data_ptr(),
        k_cache.data_ptr(),
        v_cache.data_ptr(),
        out.data_ptr(),
        None if wide is None else wide.data_ptr(),
    )
    return out, plan.others


def plan_few(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    batch: AttentionBatch,
    *,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> Plan | None:
    """One for all layers alike, whose queries lie like `q`, made once a step; None where native.c
    has nothing for these tensors."""
    laid = (q.shape, q.stride(), k_cache.shape[1:], k_cache.stride(), v_cache.stride())
    key = window, scale, softcap, q.dtype, k_cache.dtype, v_cache.dtype, laid
    plans = batch.device_plans
    if key not in plans:
        plans[key] = _plan(q, k_cache, v_cache, batch, scale, window, softcap)
    found: Plan | None = plans[key]
    return found


class Plan(NamedTuple):
    """attention: native.c's. shape: what its first argument points to. others: whether there are
    rows that are not among `_rows`. kept: what `shape` points to."""

    attention: Any
    shape: ctypes.Structure
    others: bool
    kept: tuple[Any, ...]


def _suit(q: Tensor, k_cache: Tensor, v_cache: Tensor, tables: Tensor) -> bool:
    """Whether native.c reads tensors that lie so, of these widths and dtypes."""
    heads, k_width, v_width = q.shape[1], k_cache.shape[2], v_cache.shape[2]
    return (
        k_width % _LANES == v_width % _LANES == 0
        and heads * max(k_width, v_width) <= _MOST
        and q.stride()[1:] == k_cache.stride()[1:] == (k_width, 1)
        and v_cache.stride()[1:] == (v_width, 1)
        and q.dtype == k_cache.dtype == v_cache.dtype
        and (tables.dtype, tables.stride(1)) == (torch.int64, 1)
    )


def _plan(
    q: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    batch: AttentionBatch,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> Plan | None:
    rows = _rows(batch)
    heads, (kv_heads, k_width), v_width = q.shape[1], k_cache.shape[1:], v_cache.shape[2]
    if len(rows.runs) == 0 or not _suit(q, k_cache, v_cache, batch.slot_tables):
        return None
    # torch, which gathers and pads first, needs more than two threads to be as fast.
    c = operators(q, rows.seen * kv_heads * (k_width + v_width), threads=2)
    if c is None:
        return None
    bytes_per_key = kv_heads * (k_width + v_width) * q.itemsize
    told = batch.shared if window is None else ()
    runs, shared, members = _share(rows, told, heads // kv_heads, bytes_per_key)
    together = heads // kv_heads * max(shared[:, 1], default=0)
    lanes = -(-together // _LANES) * _LANES
    scratch = lanes * (k_width + v_width + 2) + _KEYS * (k_width + v_width) + _LANES
    kept = (
        torch.empty(scratch, dtype=torch.float32),
        torch.empty(len(runs) * heads * (v_width + 2), dtype=torch.float32),
        runs,
        shared,
        members,
    )
    shape = _Shape(
        tables=batch.slot_tables.data_ptr(),
        runs=runs.ctypes.data,
        shared=shared.ctypes.data,
        members=members.ctypes.data,
        scratch=kept[0].data_ptr(),
        state=kept[1].data_ptr(),
        table_row=batch.slot_tables.stride(0),
        count=len(runs),
        shares=len(shared),
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
    others = len(runs) < batch.query_start[-1]
    return Plan(c.attention, shape, others, kept)


def _share(
    rows: _Rows, shared: Sequence[SharedRun], group: int, bytes_per_key: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """runs [n, 4], shared [m, 4] and members, as native.c wants them. Of `shared` those that begin
    where a sequence's last one ended, so that its own positions are one piece, and that pay."""
    runs = np.zeros((len(rows.runs), 4), dtype=np.int64)
    runs[:, [0, 1, 3]] = rows.runs
    made: list[tuple[int, int, int, int]] = []
    members: list[int] = []
    for run in sorted(shared, key=lambda run: run.begin):
        few = [b for b in run.members if b in rows.of and runs[rows.of[b][0], 2] == run.begin]
        which = [i for b in few for i in rows.of[b]]
        pays = len(which) * group >= _HEADS or (run.end - run.begin) * bytes_per_key >= _CACHE
        if len(few) > 1 and pays:
            made.append((len(members), len(which), run.begin, run.end))
            members += which
            runs[which, 2] = run.end
    return (
        runs,
        np.array(made, dtype=np.int64).reshape(-1, 4),
        np.array(members, dtype=np.int64),
    )


def _rows(batch: AttentionBatch) -> _Rows:
    """The rows of the sequences that have up to `FEW`; made once a step."""
    found: _Rows | None = batch.device_plans.get("few")
    if found is None:
        rows: list[tuple[int, int, int]] = []
        of, seen = {}, 0
        for b, keys in enumerate(batch.seq_len):
            first, end = batch.query_start[b], batch.query_start[b + 1]
            if end - first <= FEW:
                table, before = batch.table_of[b], keys - end + 1
                of[b] = list(range(len(rows), len(rows) + end - first))
                rows += [(row, table, before + row) for row in range(first, end)]
                seen += keys
        found = _Rows(np.array(rows, dtype=np.int64).reshape(-1, 3), of, seen)
        batch.device_plans["few"] = found
    return found
