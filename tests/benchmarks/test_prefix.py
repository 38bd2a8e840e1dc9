"""The prefix benchmark counts what it says, and the engine meets the optimum."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from espalier.benchmarks import belady, prefix, report
from espalier.errors import InvalidRequestError
from espalier.runtime.build import overlaps
from espalier.runtime.engine import Engine
from tests.support import data_path


def test_a_workload_by_hand() -> None:
    a, b = tuple(range(10, 30)), tuple(range(40, 50))
    workload = [[a + b, a + b, a + b[:5]], [a + b + b]]
    with Engine(model="null", inline=True, max_total_tokens=4096) as engine:
        # a and b once, b again; an exact repeat costs its last token, unless a step serves both
        assert prefix.run(engine, workload, "all", seed=0) in (40, 41, 42)
        with pytest.raises(AssertionError):
            assert prefix.run(engine, [[a], [b]], "all", seed=0) == len(a)
    with Engine(model="null", inline=True, enable_radix_cache=False) as engine:
        assert prefix.run(engine, [[a + b], [a + b]], "eight", seed=0) == 60


@pytest.mark.data
def test_the_null_engine_meets_the_optimum(tmp_path: Path) -> None:
    data_path("yardsticks/prefix_workloads.py")
    file = tmp_path / "prefix.json"
    options = ["--model", "null", "--scale", "0.05", "--capacity", "unbounded"]
    assert prefix.main([*options, "--json", str(file)]) == 0
    rows = report.read(file)
    assert len(rows) == 22
    assert [row["name"] for row in rows if row["value"] > 1] == []
    assert all(row["peers"]["no sharing"] >= 1 for row in rows)


@pytest.mark.data
def test_a_workload_that_is_not_there_is_told_with_the_nearest() -> None:
    data_path("yardsticks/prefix_workloads.py")
    with pytest.raises(InvalidRequestError, match=r"'jugde' \(at --only\)\. Did you mean judge\?"):
        prefix.main(["--model", "null", "--only", "jugde"])


@pytest.mark.data
def test_bounded_it_stays_near_what_knows_the_future(tmp_path: Path) -> None:
    """Workloads with loops, headers, and growing histories, at a quarter of their lengths.

    All at once the engine chooses the order, and loses nothing, but where a wave does not tell
    which of its branches go on: `tree_of_thought` keeps what fits of 48, of which 16 do. What is
    lost by that, on average over the choice, is 0.12 to 0.13 at the least (docs/LOG.md). With
    results that come a step late, whoever has ended holds his slots one step longer: a hundredth.
    """
    late = overlaps(on_gpu=False)
    data_path("yardsticks/prefix_workloads.py")
    file = tmp_path / "prefix.json"
    options = ["--model", "null", "--scale", "0.25", "--capacity", "half", "--capacity", "quarter"]
    only = ["react", "chat_short", "chat_long", "cyclic", "judge", "mmlu5", "tree_of_thought"]
    options += [part for name in only for part in ("--only", name)]
    assert prefix.main([*options, "--json", str(file)]) == 0
    rows = report.read(file)
    assert len(rows) == 2 * 2 * 7
    for row in rows:
        all_at_once, eight = (1.02, 1.4) if late else (1.0001, 1.3)
        bar = all_at_once if "/all/" in row["name"] else eight
        if row["name"].endswith("/all/tree_of_thought/quarter"):
            bar = 1.15
        assert row["value"] <= bar, row["name"]
        assert row["value"] <= 1.001 * row["peers"]["LRU"], row["name"]


@pytest.mark.data
def test_a_host_tier_computes_what_is_short_and_no_more(tmp_path: Path) -> None:
    data_path("yardsticks/prefix_workloads.py")
    file = tmp_path / "prefix.json"
    options = ["--model", "null", "--scale", "0.1", "--capacity", "quarter", "--host"]
    assert prefix.main([*options, "--only", "cyclic", "--json", str(file)]) == 0
    rows = {row["name"]: row["value"] for row in report.read(file)}
    assert len(rows) == 4
    assert rows["prefix/null/eight/cyclic/quarter/host/computed"] < 0.7


@pytest.mark.data
def test_a_model_is_asked_for_ids_that_it_has(tmp_path: Path) -> None:
    data_path("yardsticks/prefix_workloads.py")
    file = tmp_path / "prefix.json"
    options = ["--model", "sprig", "--scale", "0.02", "--capacity", "quarter", "--host"]
    only = ["--only", "tree_of_thought", "--arrival", "eight"]
    assert prefix.main([*options, *only, "--json", str(file)]) == 0
    computed, seconds = report.read(file)
    assert 0 < computed["value"] <= 1
    assert seconds["value"] > 0


def test_belady_by_hand() -> None:
    """Three runs of ten tokens in turn, room for two: LRU never hits; Belady every second time."""
    runs = [tuple(range(start, start + 10)) for start in (0, 20, 40)]
    turns = [runs[turn % 3] for turn in range(9)]
    assert belady.distinct(turns) == 30
    assert belady.computed(turns, 20, "lru") == 90
    # 0 1 2 miss; then one of the two others hits each turn but every second, its last token run.
    assert belady.computed(turns, 20, "belady") == 3 * 10 + 3 * 10 + 3 * 1
    assert belady.computed(turns, 30, "belady") == 30 + 6
    with pytest.raises(ValueError, match="less than a prompt"):
        belady.computed(turns, 9, "lru")


def test_belady_gives_up_the_ends_of_leaves_first() -> None:
    stem, a, b = tuple(range(8)), (50, 51), (60, 61)
    prompts = [stem + a, stem + b, stem + a]
    assert belady.computed(prompts, 12, "lru") == 10 + 2 + 1
    assert belady.computed(prompts, 11, "lru") == 10 + 2 + 1  # one token of a left, the last runs
    assert belady.computed(prompts, 10, "lru") == 10 + 2 + 2


@given(
    prompts=st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=6), min_size=1, max_size=12)
)
def test_with_room_for_all_both_meet_the_optimum(prompts: list[list[int]]) -> None:
    prefixes = {tuple(prompt[:end]) for prompt in prompts for end in range(1, len(prompt) + 1)}
    seen: set[tuple[int, ...]] = set()
    wanted = 0
    for prompt in prompts:
        ends = [tuple(prompt[:end]) for end in range(1, len(prompt) + 1)]
        wanted += max(1, sum(end not in seen for end in ends))
        seen.update(ends)
    assert belady.distinct(prompts) == len(prefixes)
    for rule in ("belady", "lru"):
        assert belady.computed(prompts, 100, rule) == wanted
