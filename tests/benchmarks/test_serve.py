"""The load generator measures what it sends."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from espalier.benchmarks import serve
from espalier.benchmarks.serve_client import Timed
from espalier.errors import InvalidRequestError


def test_figures_are_of_what_was_timed() -> None:
    timed = [
        Timed(began=0.0, status=200, pieces=[0.1 * n, 0.1 * n + 0.01, 0.1 * n + 0.03], tokens=3)
        for n in range(1, 11)
    ]
    rows = {row.name: row.value for row in serve.figures("x", [*timed, Timed(began=0.0)], 2.0)}
    assert rows["x: requests a second"] == 5
    assert rows["x: tokens a second"] == 15
    assert rows["x: failed"] == 1
    assert rows["x: time to first token, p50"] == pytest.approx(600)
    assert rows["x: whole answer, p99"] == pytest.approx(1030)
    assert rows["x: between tokens, p50"] == pytest.approx(20)


@pytest.mark.parametrize("kind", [["--concurrency", "4"], ["--rate", "50"], ["--no-stream"]])
def test_a_server_of_its_own_answers_all(kind: list[str], tmp_path: Path) -> None:
    file = tmp_path / "serve.json"
    small = ["--model", "null", "--requests", "12", "--max-tokens", "5", "--json", str(file)]
    assert serve.main([*small, *kind]) == 0
    rows = {row["name"].partition(": ")[2]: row["value"] for row in json.loads(file.read_text())}
    assert rows["failed"] == 0
    assert rows["requests a second"] > 0
    assert rows["tokens a second"] == pytest.approx(5 * rows["requests a second"])


def test_sweeps_are_plotted(tmp_path: Path) -> None:
    """A chart for each: six waiting times at each of their loads."""
    file = tmp_path / "serve.svg"
    small = ["--model", "null", "--requests", "4", "--max-tokens", "3", "--svg", str(file)]
    assert serve.main([*small, "--concurrency", "1", "2", "4", "--rate", "40", "80"]) == 0
    root = ElementTree.fromstring(file.read_text())
    charts = root.findall("{http://www.w3.org/2000/svg}svg")
    assert [chart.get("y") for chart in charts] == ["0", "400"]
    for chart, loads in zip(charts, (3, 2), strict=True):
        lines = chart.findall("{http://www.w3.org/2000/svg}polyline")
        assert len(lines) == 9
        assert {len(line.get("points", "").split()) for line in lines} == {loads}
    with pytest.raises(InvalidRequestError, match="two loads or more"):
        serve.main([*small, "--concurrency", "1", "--rate", "40"])


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(InvalidRequestError):
        serve.main(["--requests", "0"])
    with pytest.raises(InvalidRequestError):
        serve.main(["--rate", "nan"])
