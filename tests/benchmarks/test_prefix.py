"""The prefix benchmark counts what it says, and the engine meets the optimum."""

from __future__ import annotations

from pathlib import Path

import pytest

from espalier.benchmarks import prefix, report
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
    assert prefix.main(["--model", "null", "--scale", "0.05", "--json", str(file)]) == 0
    rows = report.read(file)
    assert len(rows) == 22
    assert [row["name"] for row in rows if row["value"] > 1] == []
    assert all(row["peers"]["no sharing"] >= 1 for row in rows)
