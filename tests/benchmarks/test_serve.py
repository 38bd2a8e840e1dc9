"""The load generator measures what it sends."""

from __future__ import annotations

import json
from pathlib import Path

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


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(InvalidRequestError):
        serve.main(["--requests", "0"])
    with pytest.raises(InvalidRequestError):
        serve.main(["--rate", "nan"])
