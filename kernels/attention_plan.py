"""How paged attention is divided among programs: plain ints, made once a step for all layers.

The keys of a sequence are cut at the multiples of `split`, wherever the sequence's rows stand and
whoever runs beside it, so that partial results are merged in the same pieces each time (P3). An
*item* is one program's work: a tile of rows over one piece of the keys, or over all their keys
where the sequence has many rows and needs no pieces to fill a device. Partial results of a row lie
one after the other in the order of their pieces.

A run of positions that several sequences share (a node of the radix tree) is read once for the rows
of all of them: an item's rows may belong to several sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]

WHOLE = 16
"""Sequences with more rows than this are not cut in pieces: their tiles are work enough, and a
partial result of each row and piece would be a lot of memory."""

ROWS_AT, ROWS, TABLE, BEGIN, END, PIECE = range(6)
ITEM_WIDTH = 6
"""An item: where its rows are listed, how many they are, whose slot table it reads, its first key
and the one after its last, and the piece's number, -1 where its result is final."""


class SharedRun(NamedTuple):
    """The sequences `members` (indices into the batch) have the same slots at positions
    begin <= p < end, and their rows all stand at `end` or after."""

    members: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class AttentionPlan:
    """items [N, ITEM_WIDTH]; rows: lists of rows that items refer to; position [T]: of each row;
    first [T]: where a row's partial result of piece 0 would lie (before its first where a window
    hides that piece); merged [R, 3]: row, its first partial result, how many; partials: how many
    there are."""

    items: Ints
    rows: Ints
    position: Ints
    first: Ints
    merged: Ints
    partials: int


def aligned(count: int) -> int:
    """The next multiple of 4."""
    return -(-count // 4) * 4


class PlanRoom(NamedTuple):
    """How much of a plan a packed form of it has room for. Its parts begin at multiples of 4 ints,
    whatever is in them: a GPU's kernels are compiled anew for addresses that are aligned otherwise.
    """

    items: int
    listed: int
    rows: int
    merged: int
    partials: int

    @classmethod
    def of(cls, plan: AttentionPlan) -> PlanRoom:
        """Just enough for `plan`."""
        sizes = len(plan.items), len(plan.rows), len(plan.position), len(plan.merged)
        return cls(*sizes, plan.partials)

    def holds(self, plan: AttentionPlan) -> bool:
        """Whether `plan` fits."""
        return all(have >= need for have, need in zip(self, PlanRoom.of(plan), strict=True))

    def sections(self) -> list[tuple[int, int]]:
        """Where the count of items, position, first, merged, the lists of rows and the items lie:
        of each the first int and the one after its last. Items come last: they are seldom as many
        as there is room for."""
        sizes = [1, self.rows, self.rows, 3 * self.merged, self.listed, ITEM_WIDTH * self.items]
        found, at = [], 0
        for size in sizes:
            found.append((at, at + size))
            at += aligned(size)
        return found

    @property
    def size(self) -> int:
        """Ints of the packed form."""
        return aligned(self.sections()[-1][1])

    def pack(self, plan: AttentionPlan, out: Ints) -> int:
        """Writes `plan`, which fits, to `out`; returns how many ints of it matter. What is merged
        beyond the plan's is nothing."""
        count = np.array([len(plan.items)], dtype=np.int32)
        sections = self.sections()
        (start, stop) = sections[3]
        out[start + plan.merged.size : stop] = 0
        parts = [count, plan.position, plan.first, plan.merged, plan.rows, plan.items]
        for (start, _), part in zip(sections, parts, strict=True):
            out[start : start + part.size] = part.ravel()
        return sections[-1][0] + plan.items.size


def plan_attention(
    query_start: Sequence[int],
    seq_len: Sequence[int],
    table_of: Sequence[int],
    *,
    tile: int,
    split: int,
    window: int | None = None,
    shared: Sequence[SharedRun] = (),
) -> AttentionPlan:
    """query_start, seq_len, table_of: see `AttentionBatch`. tile: most rows of an item. split: keys
    of a piece. shared: what is read once; cut to whole pieces. No position of a sequence may be in
    two of its runs."""
    start = np.asarray(query_start, dtype=np.int64)
    keys = np.asarray(seq_len, dtype=np.int64)
    rows = np.diff(start)
    total = int(start[-1])
    owner = np.repeat(np.arange(len(rows)), rows)
    position = np.arange(total) - np.repeat(start[1:] - keys, rows)
    low = np.zeros_like(position) if window is None else np.maximum(position - window + 1, 0)

    runs = _whole_pieces(shared, split)
    cut = (rows <= WHOLE) & (low[start[:-1]] // split < (keys - 1) // split)
    for run in runs:
        cut[list(run.members)] = True

    items, of = _items(start, np.asarray(table_of), position, low, cut, tile=tile, split=split)
    listed = np.arange(total)
    if runs:
        items, listed = _share(
            items, of, runs, start, low, table_of, listed, tile=tile, split=split
        )

    # Where the partial results lie.
    cut_rows = np.flatnonzero(cut[owner])
    first_of = low[cut_rows] // split
    counts = position[cut_rows] // split + 1 - first_of
    at = np.cumsum(counts) - counts
    first = np.zeros(total, dtype=np.int64)
    first[cut_rows] = at - first_of
    return AttentionPlan(
        items=items.astype(np.int32),
        rows=listed.astype(np.int32),
        position=position.astype(np.int32),
        first=first.astype(np.int32),
        merged=np.stack((cut_rows, at, counts), axis=1).astype(np.int32),
        partials=int(counts.sum()),
    )


def _items(
    start: NDArray[np.int64],
    table_of: NDArray[np.int64],
    position: NDArray[np.int64],
    low: NDArray[np.int64],
    cut: NDArray[np.bool_],
    *,
    tile: int,
    split: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The items of each sequence by itself, and whose they are. low [T]: the first key that a row
    sees. cut [B]: whether a sequence is cut in pieces."""
    # Tiles: at most `tile` rows of one sequence.
    rows = np.diff(start)
    count = -(-rows // tile)
    of = np.repeat(np.arange(len(rows)), count)
    within = np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count)
    tile_at = start[of] + within * tile
    tile_rows = np.minimum(tile, start[of + 1] - tile_at)
    begin, end = low[tile_at], position[tile_at + tile_rows - 1] + 1

    # Items: a tile's pieces, or the tile.
    first_piece = begin // split
    pieces = np.where(cut[of], (end - 1) // split + 1 - first_piece, 1)
    which = np.repeat(np.arange(len(of)), pieces)
    nth = np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    is_cut = cut[of][which]
    piece = np.where(is_cut, first_piece[which] + nth, -1)
    items = np.empty((len(which), ITEM_WIDTH), dtype=np.int64)
    items[:, ROWS_AT] = tile_at[which]
    items[:, ROWS] = tile_rows[which]
    items[:, TABLE] = table_of[of[which]]
    items[:, BEGIN] = np.where(is_cut, np.maximum(begin[which], piece * split), begin[which])
    items[:, END] = np.where(is_cut, np.minimum(end[which], (piece + 1) * split), end[which])
    items[:, PIECE] = piece
    return items, of[which]


def _whole_pieces(shared: Sequence[SharedRun], split: int) -> list[SharedRun]:
    """The runs from one multiple of `split` to another; those of one member, or of no whole piece,
    save nothing."""
    cut = [
        SharedRun(run.members, -(-run.begin // split) * split, run.end // split * split)
        for run in shared
    ]
    return [run for run in cut if len(run.members) > 1 and run.begin < run.end]


def _share(
    items: NDArray[np.int64],
    owner: NDArray[np.int64],
    runs: Sequence[SharedRun],
    start: NDArray[np.int64],
    low: NDArray[np.int64],
    table_of: Sequence[int],
    listed: NDArray[np.int64],
    *,
    tile: int,
    split: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Items and lists of rows with each run's pieces taken from its members and made once."""
    kept = np.ones(len(items), dtype=bool)
    more: list[tuple[int, ...]] = []
    lists = [listed]
    at = len(listed)
    for run in runs:
        first, stop = run.begin // split, run.end // split
        mine = np.isin(owner, run.members)
        kept &= ~(mine & (items[:, PIECE] >= first) & (items[:, PIECE] < stop))
        rows = np.concatenate([np.arange(start[b], start[b + 1]) for b in run.members])
        lists.append(rows)
        for begin in range(0, len(rows), tile):
            part = rows[begin : begin + tile]
            lowest = int(low[part].min())
            more += [
                (
                    at + begin,
                    len(part),
                    table_of[run.members[0]],
                    max(lowest, piece * split),
                    (piece + 1) * split,
                    piece,
                )
                for piece in range(max(first, lowest // split), stop)
            ]
        at += len(rows)
    made = np.array(more, dtype=np.int64).reshape(-1, ITEM_WIDTH)
    return np.concatenate((made, items[kept])), np.concatenate(lists)
