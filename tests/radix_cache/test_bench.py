"""The benchmark measures what it says, at sizes that take no time."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from functools import partial
from pathlib import Path

import pytest

from espalier.benchmarks import radix


def test_rows_and_slopes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    small = partial(radix.measure, sizes=(400, 800, 1200), pools=(9000,), waiting=(10, 20))
    monkeypatch.setattr(radix, "measure", small)
    monkeypatch.setattr(radix, "PREFIX", 1024)
    monkeypatch.setattr(radix, "PATHS", 4)
    svg = tmp_path / "plot.svg"
    assert radix.main(["--json", str(tmp_path / "rows.json"), "--svg", str(svg)]) == 0
    assert len(list(ET.parse(svg).getroot())) > 20
    rows = {row["name"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    assert rows["match+lock 1024 tokens in 16 nodes @ 800"]["unit"] == "us"
    assert rows["evict one leaf @ 400"]["value"] > 0
    assert rows["evict one leaf, by hit density @ 400"]["value"] > 0
    assert rows["evict one leaf, by hit density, after an insertion @ 1.2e+03"]["value"] > 0
    assert rows["insert 512 tokens: slope"]["unit"] == "log/log"
