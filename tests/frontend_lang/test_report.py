"""The run's report: the program's tree, its sums, as a table and as data."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

import espalier as esp
from espalier.errors import EngineError
from espalier.frontend_lang.records import CallRecord
from espalier.types import Result, Times

State = Any


@esp.function
def judge(s: State) -> None:
    s += "Text. " + esp.gen("first")
    forks = s.fork(2)
    forks += lambda i: f"q{i} " + esp.select("word", ["yes", "no"])
    forks.join()
    inner = s.fork(1)[0]
    inner += "deep" + esp.gen("deep")
    inner.sync()
    s += esp.gen()


def report() -> esp.Report:
    script = {"first": "one", "word": "no", "deep": "d", None: "last"}
    return judge.run(backend=esp.Scripted(script), seed=7).report()


def test_the_tree() -> None:
    data = report().to_dict()
    assert (data["program"], data["seed"]) == ("judge", 7)
    tree = data["tree"]
    assert [(call["kind"], call["name"]) for call in tree["calls"]] == [
        ("gen", "first"),
        ("gen", None),
    ]
    assert [(child["path"], child["after"]) for child in tree["children"]] == [
        ([0, 0], 1),
        ([0, 1], 1),
        ([1, 0], 1),
    ]
    assert data["totals"]["calls"] == 5
    assert data["totals"]["states"] == 4
    assert data["seconds"] > 0
    first = tree["calls"][0]
    assert (first["prompt"], first["generated"], first["finish_reason"]) == (7, 3, "stop")
    assert first["where"].startswith(__file__)
    assert first["text"] == "one"
    assert (
        first["seed"]
        == esp.function(judge.body)
        .run(backend=esp.Scripted({"first": "one", "word": "no", "deep": "d", None: "l"}), seed=7)
        .report()
        .to_dict()["tree"]["calls"][0]["seed"]
    )


def test_data_is_json() -> None:
    made = report()
    assert json.loads(made.json())["totals"] == made.totals()
    assert made.root.to_dict() == made.to_dict()["tree"]


def test_the_table_is_in_the_programs_order() -> None:
    text = report().text()
    lines = [line.split()[:2] for line in text.splitlines()]
    order = [line for line in lines if line and line[0] in ("gen", "select", "branch")]
    assert order == [
        ["gen", "first"],
        ["branch", "0"],
        ["select", "word"],
        ["branch", "1"],
        ["select", "word"],
        ["branch", "0"],
        ["gen", "deep"],
        ["gen", "#1"],
    ]
    assert "seed 7" in text
    assert "test_report.py:" in text
    assert str(report()).startswith("judge")


def test_it_prints_to_a_terminal() -> None:
    out = io.StringIO()
    report().print(Console(file=out, width=100, force_terminal=True))
    assert "5 calls in 4 states" in out.getvalue()


def test_the_columns_are_told_once_and_no_sentence_is_broken_without_a_terminal() -> None:
    out = io.StringIO()
    made = report()
    made.print(Console(file=out, width=60, force_terminal=False))
    lines = out.getvalue().splitlines()
    assert sum("cached before, shared with a row of the same step" in line for line in lines) == 1
    assert lines[-2:] == made.summary().splitlines()
    made.print(Console(file=(narrow := io.StringIO()), width=60, force_terminal=True))
    assert max(map(len, narrow.getvalue().splitlines()[-4:])) <= 60


@pytest.mark.parametrize(("width", "times"), [(140, True), (112, True), (80, False), (40, False)])
def test_a_narrow_terminal_gets_whole_words_and_no_times(width: int, times: bool) -> None:
    text = report().text(width)
    head = text.splitlines()[1].split()
    assert head[0] == "call"
    assert ("prefill" in head) == times
    assert ("times are left out" in text) != times
    if width >= 80:
        assert {"prompt", "cached", "shared", "computed", "generated", "finish"} <= set(head)


def test_an_errors_text_takes_no_column_away() -> None:
    @esp.function
    def body(s: State) -> None:
        s += "a" + esp.gen("x")

    made = body.run(backend=esp.Scripted({"x": EngineError("a word " * 30)})).report()
    assert "prefill ms" in made.text()


def test_failures_and_losses_are_told() -> None:
    @esp.function
    def body(s: State) -> None:
        s += "a" + esp.gen("x") + esp.gen("y")

    made = body.run(backend=esp.Scripted({"x": EngineError("boom")})).report()
    assert made.totals()["failed"] == 1
    assert "failed: boom" in made.text(width=200)
    assert "1 failed" in made.summary()
    assert "boom" in str(made.to_dict()["tree"]["error"])


def test_incomplete_values_are_told() -> None:
    @esp.function
    def body(s: State) -> None:
        s += "a" + esp.gen("x", int)

    script = {"x": esp.Reply("-", finish_reason="length")}
    assert "incomplete: length" in body.run(backend=esp.Scripted(script)).report().text(200)


def test_a_script_computes_nothing_and_saves_nothing() -> None:
    @esp.function
    def body(s: State) -> None:
        s += "a" + esp.gen("x") + esp.select("y", ["b", "c"])

    made = body.run(backend=esp.Scripted({"x": "xx", "y": "c"})).report()
    totals = made.totals()
    assert totals["prompt"] > 0
    assert (totals["cached"], totals["computed"], totals["shared"]) == (0, 0, 0)
    assert f"{totals['prompt']} prompt tokens, none computed, 2 generated" in made.summary()
    assert "saved" not in made.summary()
    assert 'class="computed"' not in made.html()


def test_an_empty_program() -> None:
    @esp.function
    def body(s: State) -> None:
        s += "only text"

    made = body.run(backend=esp.Scripted()).report()
    assert made.totals()["prompt"] == 0
    assert "0 calls in 1 state:" in made.summary()


def test_a_record_adds_up_rows_and_keeps_the_longest_times() -> None:
    record = CallRecord("select", "x", "f:1", 0)
    rows = [
        Result(
            request_id=at,
            prompt_tokens=10,
            cached_tokens=at,
            computed_tokens=5,
            shared_tokens=5 - at,
            near_ties=1,
            times=Times(prefill=0.1 * at, total=1.0 - 0.1 * at),
        )
        for at in range(3)
    ]
    record.count(rows)
    assert (record.prompt, record.cached, record.computed, record.shared) == (30, 3, 15, 12)
    assert record.near_ties == 3
    assert (record.times.prefill, record.times.total) == (0.2, 1.0)
    assert record.to_dict()["times"]["prefill"] == 0.2


def test_forks_nested_deeper_than_pythons_calls() -> None:
    @esp.function
    def program(s: State) -> None:
        s += "a"
        states = [s]
        for _ in range(1500):
            states.append(states[-1].fork(1)[0])
        states[-1] += esp.gen("x")
        states[-1].sync()

    report = program.run(backend=esp.Scripted("v")).report()
    assert report.totals()["states"] == 1501
    assert "gen x" in report.text(width=4000)
