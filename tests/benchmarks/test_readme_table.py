"""README shows what the committed result files say."""

from __future__ import annotations

from pathlib import Path

import pytest

from espalier.benchmarks import readme_table, report
from espalier.benchmarks.report import Row
from tests.support import ROOT


def test_readme_is_up_to_date() -> None:
    text = (ROOT / "README.md").read_text()
    rendered = readme_table.render(ROOT / "benchmarks" / "results")
    updated = readme_table.update(text, readme_table.RESULTS_MARKS, rendered)
    assert text == updated, "run make bench, or readme_table alone"


def test_sections(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        Row(name="prefix/null/all/judge", value=1.0, unit="x", peers={"no sharing": 5.7}),
        Row(name="prefix/null/eight/judge", value=1.25, unit="x", peers={"no sharing": 5.7}),
    ]
    report.finish("prefix", [], tmp_path / "prefix.json", rows)
    rows = [Row(name="cpu/6.8M fp32/b1", value=1300.0, unit="tokens/s", peers={"hf": 300.0})]
    report.finish("cpu", [], tmp_path / "cpu.json", rows)
    rows = [
        Row(name="match @ 1e+03", value=4.0, unit="us"),
        Row(name="match @ 1e+06", value=5.0, unit="us"),
        Row(name="match: slope", value=0.031, unit="log/log"),
    ]
    report.finish("radix", [], tmp_path / "radix.json", rows)
    rows = [Row(name="scheduler/step, plain @ 256", value=300.0, unit="us")]
    report.finish("scheduler", [], tmp_path / "scheduler.json", rows)
    capsys.readouterr()
    lines = readme_table.render(tmp_path).splitlines()
    assert "| judge | 5.70 | 1.00 | 1.25 |" in lines
    assert "| 6.8M fp32/b1, tokens/s | 1,300 | 300 |" in lines
    assert "| match | 1,000,000 | 5.00 us | 0.03 |" in lines
    assert "| step, plain | 256 | 300 us |  |" in lines


def test_update_needs_its_marks() -> None:
    marks = ("<!-- a -->", "<!-- b -->")
    text = "before <!-- a --> old <!-- b --> after"
    new = readme_table.update(text, marks, "new")
    assert new == "before <!-- a -->\nnew\n<!-- b --> after"
    assert readme_table.update(new, marks, "new") == new
    for broken in ("<!-- a -->", "<!-- b -->", ""):
        with pytest.raises(ValueError, match="lacks"):
            readme_table.update(broken, marks, "new")


def test_readme_has_a_place_for_the_demo() -> None:
    readme_table.update((ROOT / "README.md").read_text(), readme_table.DEMO_MARKS, "")
