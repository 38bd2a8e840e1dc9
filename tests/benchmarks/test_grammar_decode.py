"""What the benchmark of constrained decoding compares: equal work, with grammars and without."""

from __future__ import annotations

from pathlib import Path

from espalier.benchmarks.grammar_decode import Load, measure
from tests.support import data_path


def test_rows_of_a_small_load(tmp_path: Path) -> None:
    data_path("real-schemas")
    said: list[str] = []
    rows = measure(
        ["6.8M"], tmp_path, loads=[Load(batch=2, requests=4, max_tokens=4)], say=said.append
    )
    names = [row.name.removeprefix("grammar/decode/6.8M fp32, batch 2/") for row in rows]
    assert names == ["wall", "CPU", "per token"]
    assert all(row.value > 0 for row in rows)
    assert rows[2].peers["free"] > 0
    assert said == ["6.8M fp32: 4 requests, 2 at once"]
