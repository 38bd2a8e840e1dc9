"""The benchmark measures what it says, at sizes that take no time."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from functools import partial
from pathlib import Path

import pytest

from espalier.benchmarks import report, scheduler


def test_rows_slopes_and_plot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    small = partial(scheduler.measure, batches=(1, 2, 4), waiting=(5, 10, 20))
    monkeypatch.setattr(scheduler, "measure", small)
    monkeypatch.setattr(
        scheduler, "decoding", lambda batch, tokenizer=None, steps=3: float(batch + 1)
    )
    file, svg = tmp_path / "rows.json", tmp_path / "plot.svg"
    assert scheduler.main(["--json", str(file), "--svg", str(svg)]) == 0
    rows = {row["name"]: row for row in report.read(file)}
    assert rows["scheduler/step, text, by batch @ 4"]["value"] == 5
    assert rows["scheduler/step beside requests waiting @ 20"]["value"] > 0
    assert rows["scheduler/step beside requests waiting: slope"]["unit"] == "log/log"
    assert len(list(ET.parse(svg).getroot())) > 10


def test_a_decoding_step_is_timed() -> None:
    assert scheduler.decoding(2, steps=5) > 0
    median, mean = scheduler.queueing(40, steps=5)
    assert median > 0
    assert mean > 0
    assert scheduler.header_for_all(5) > 0
