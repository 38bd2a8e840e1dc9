"""The benchmark measures what it says, at sizes that take no time."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from functools import partial
from pathlib import Path

import pytest

from espalier.benchmarks import frontend, report


def test_rows_slopes_and_plot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    small = partial(frontend.measure, tokens=(16, 32, 64), counts=(1, 2, 4), programs=(10, 20, 40))
    monkeypatch.setattr(frontend, "measure", small)
    file, svg = tmp_path / "rows.json", tmp_path / "plot.svg"
    assert frontend.main(["--json", str(file), "--svg", str(svg)]) == 0
    rows = {row["name"]: row for row in report.read(file)}
    assert rows["frontend/fork, by tokens of the state @ 64"]["value"] > 0
    assert rows["frontend/gens/s, null engine, by programs @ 40"]["value"] > 0
    assert rows["frontend/gens/s, answered at once"]["value"] > 0
    assert rows["frontend/fork, by how many at once: slope"]["unit"] == "log/log"
    assert len(list(ET.parse(svg).getroot())) > 10
