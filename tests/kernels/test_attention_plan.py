"""The plan against what it must cover: each row sees each key once, and whole pieces are fixed."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, strategies as st

from espalier.kernels.attention_plan import (
    BEGIN,
    END,
    PIECE,
    ROWS,
    ROWS_AT,
    TABLE,
    WHOLE,
    AttentionPlan,
    SharedRun,
    plan_attention,
)

_shapes = st.lists(
    st.integers(1, 40).flatmap(
        lambda rows: st.tuples(st.just(rows), st.integers(rows, rows + 120))
    ),
    min_size=1,
    max_size=6,
)


def _plan(
    shapes: list[tuple[int, int]],
    window: int | None = None,
    shared: tuple[SharedRun, ...] = (),
    tile: int = 5,
    split: int = 16,
) -> AttentionPlan:
    start = [0]
    for rows, _ in shapes:
        start.append(start[-1] + rows)
    return plan_attention(
        start,
        [keys for _, keys in shapes],
        [100 + b for b in range(len(shapes))],
        tile=tile,
        split=split,
        window=window,
        shared=shared,
    )


def _check(plan: AttentionPlan, shapes: list[tuple[int, int]], window: int | None) -> None:
    """Every (row, key) that is seen is in one item; partial results fill their places once."""
    places = [keys - rows + i for rows, keys in shapes for i in range(rows)]
    assert plan.position.tolist() == places
    seen: Counter[tuple[int, int]] = Counter()
    partial: Counter[int] = Counter()
    final: Counter[int] = Counter()
    for item in plan.items.tolist():
        for row in plan.rows[item[ROWS_AT] : item[ROWS_AT] + item[ROWS]].tolist():
            low = 0 if window is None else max(0, places[row] - window + 1)
            keys = [n for n in range(item[BEGIN], item[END]) if low <= n <= places[row]]
            seen.update((row, n) for n in keys)
            if item[PIECE] < 0:
                final[row] += 1
            elif keys:
                assert {n // 16 for n in keys} == {item[PIECE]}
                partial[int(plan.first[row]) + item[PIECE]] += 1
    wanted = {
        (row, n)
        for row, place in enumerate(places)
        for n in range(0 if window is None else max(0, place - window + 1), place + 1)
    }
    assert seen == Counter(wanted)
    assert partial == Counter(range(plan.partials))
    merged = [row for row, _, _ in plan.merged.tolist()]
    assert sorted([*final.elements(), *merged]) == list(range(len(places)))
    claimed = [at for _, first, count in plan.merged.tolist() for at in range(first, first + count)]
    assert sorted(claimed) == list(range(plan.partials))


@given(shapes=_shapes, window=st.sampled_from([None, 1, 9, 40, 500]))
def test_each_row_sees_each_of_its_keys_once(
    shapes: list[tuple[int, int]], window: int | None
) -> None:
    _check(_plan(shapes, window), shapes, window)


@given(
    shapes=_shapes,
    window=st.sampled_from([None, 9, 60]),
    cuts=st.lists(st.integers(0, 90), min_size=2, max_size=4, unique=True),
    first=st.integers(0, 3),
)
def test_shared_runs_are_read_once(
    shapes: list[tuple[int, int]], window: int | None, cuts: list[int], first: int
) -> None:
    """Runs of a path, each of fewer members than the one before it."""
    places = [keys - rows for rows, keys in shapes]
    runs, before = [], 0
    members = tuple(range(first % len(shapes), len(shapes)))
    for end in sorted(cuts):
        members = tuple(b for b in members if places[b] >= end)
        runs.append(SharedRun(members, before, end))
        before = end
    plan = _plan(shapes, window, tuple(runs))
    _check(plan, shapes, window)
    tables = Counter((item[TABLE], item[PIECE]) for item in plan.items.tolist())
    for run in runs:
        pieces = range(-(-run.begin // 16), run.end // 16)
        if len(run.members) > 1:
            read = {(100 + b, piece) for b in run.members[1:] for piece in pieces}
            assert not read & set(tables)


def test_pieces_are_the_same_whoever_shares_and_runs_beside() -> None:
    """A row's items are cut at the same keys alone, in a batch, and in a shared run."""

    def cut(plan: AttentionPlan, row: int) -> list[tuple[int, int]]:
        return sorted(
            (item[BEGIN], item[END])
            for item in plan.items.tolist()
            if row in plan.rows[item[ROWS_AT] : item[ROWS_AT] + item[ROWS]]
        )

    alone = cut(_plan([(1, 77)]), 0)
    assert alone == [(0, 16), (16, 32), (32, 48), (48, 64), (64, 77)]
    assert cut(_plan([(1, 77), (30, 40), (1, 9)]), 0) == alone
    assert cut(_plan([(1, 77), (1, 70)], shared=(SharedRun((0, 1), 0, 61),)), 0) == alone


def test_many_rows_are_not_cut() -> None:
    """A partial result for each row and piece of a long prompt would be gigabytes."""
    assert _plan([(WHOLE + 1, 400)]).partials == 0
    assert _plan([(1, 16)]).partials == 0
    assert _plan([(1, 17)]).partials == 2


def test_runs_of_one_and_of_no_whole_piece_are_left_alone() -> None:
    shapes = [(1, 40), (1, 50)]
    plain = _plan(shapes).items.tolist()
    assert _plan(shapes, shared=(SharedRun((1,), 0, 40),)).items.tolist() == plain
    assert _plan(shapes, shared=(SharedRun((0, 1), 3, 30),)).items.tolist() == plain
