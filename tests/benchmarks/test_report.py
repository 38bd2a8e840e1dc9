"""Rows, as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import espalier
from espalier.benchmarks import report
from espalier.benchmarks.report import Row
from espalier.errors import EspalierError, InvalidRequestError


def test_finish_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.json"
    rows = [
        Row(name="a", value=1234.5, unit="tokens/s", peers={"other": 0.25}),
        Row(name="longer", value=3, unit="s"),
    ]
    report.finish(
        "x", ["--scale", "2", "--json", str(file), "--svg", "x.svg", "--models", "a"], file, rows
    )
    head, first, second, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["value", "other", "unit"]
    assert first.split() == ["a", "1,234", "0.250", "tokens/s"]
    assert second.split() == ["longer", "3", "-", "s"]
    assert last.startswith("2 rows written")
    written = report.read(file)
    assert written == json.loads(file.read_text())
    assert set(written[0]) == set(
        "name value unit peers machine versions commit command".split()  # noqa: SIM905
    )
    assert written[0]["command"] == "espalier bench x --scale 2"
    assert written[0]["versions"]["espalier"] == espalier.__version__


def test_no_row_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    with pytest.raises(EspalierError, match=r"nothing was measured \(at espalier bench x\)"):
        report.finish("x", [], file, [])
    assert not file.exists()


def test_a_name_that_nothing_has_is_told_with_those_there_are() -> None:
    report.check_only(None, ["a"])
    report.check_only(["a", "b"], ["b", "a"])
    with pytest.raises(InvalidRequestError, match=r"one of a, b, got 'zzz' \(at --only\)$"):
        report.check_only(["a", "zzz"], ["a", "b"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.0, "1.00"),
        (12345, "12,345"),
        (99.44, "99.4"),
        (0.0123, "0.0123"),
        (309.2, "309"),
    ],
)
def test_number(value: float, text: str) -> None:
    assert report.number(value) == text


def test_a_commit_whose_figures_are_written_anew_is_told_without_a_plus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "__file__", str(tmp_path / "benchmarks" / "report.py"))
    figures, code = tmp_path / "benchmarks/results/x.json", tmp_path / "code.py"
    figures.parent.mkdir(parents=True)
    for file in (figures, code):
        file.write_text("1")
    name = ("-c", "user.name=x", "-c", "user.email=x")
    for asked in ("init -q", "add .", "commit -q -m x"):
        report._git("-C", str(tmp_path), *name, *asked.split())
    plain = report.commit.__wrapped__()
    figures.write_text("2")
    assert report.commit.__wrapped__() == plain
    code.write_text("2")
    assert report.commit.__wrapped__() == plain + "+"


def test_data_file_without_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ESPALIER_DATA", raising=False)
    with pytest.raises(espalier.InvalidRequestError, match="ESPALIER_DATA unset"):
        report.data_file("yardsticks/prefix_workloads.py")
    monkeypatch.setenv("ESPALIER_DATA", str(tmp_path))
    with pytest.raises(espalier.InvalidRequestError, match=r"a folder with nothing\.py"):
        report.data_file("nothing.py")
    (tmp_path / "there.py").write_text("x = 3")
    assert report.load_module(report.data_file("there.py")).x == 3
