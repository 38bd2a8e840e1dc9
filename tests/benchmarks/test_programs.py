"""Compiled batches of the twins compute no more than they must, and less than interpreted ones."""

from __future__ import annotations

import pytest

from espalier.benchmarks import programs
from espalier.benchmarks.program_twins import TWINS

BY_NAME = {twin.name: twin for twin in TWINS}


def test_the_optimum_is_counted_by_hand() -> None:
    asked = [([1, 2, 3], [7, 8]), ([1, 2, 4], []), ([1, 2, 3, 7, 8, 9], []), ([1, 2, 4], [])]
    # 1 2 3 4; 7 is decoded, 8 is not (nothing followed it), 9; the last one again
    assert programs.optimum(asked) == (4 + 1 + 1 + 1, 7)


@pytest.mark.parametrize("name", ["tree_of_thought", "judge", "skeleton_of_thought"])
def test_a_batch_of_64(name: str) -> None:
    rows = {row.name: row.value for row in programs.measure(BY_NAME[name], rounds=0)}
    assert rows[f"programs/{name}/unbounded/compiled"] == 1.0
    assert rows[f"programs/{name}/unbounded/computed"] <= 1.0
    assert rows[f"programs/{name}/quarter/computed"] <= 0.9
    assert rows[f"programs/{name}/quarter/compiled"] <= 1.02


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_no_twin_computes_more_than_interpreted(name: str) -> None:
    """Bounded, what is evicted depends on who asks first, by a few tokens: the best of three."""
    quarter = []
    for _ in range(3):
        rows = {row.name: row.value for row in programs.measure(BY_NAME[name], size=8, rounds=0)}
        assert rows[f"programs/{name}/unbounded/computed"] <= 1.0
        quarter.append(rows[f"programs/{name}/quarter/computed"])
        if quarter[-1] <= 1.0:
            break
    assert min(quarter) <= 1.0


def test_every_example_has_its_twin() -> None:
    assert len(BY_NAME) == len(TWINS) == 10
