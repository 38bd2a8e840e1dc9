"""The demo tells right from wrong, and is right."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jsonschema
import pytest

from espalier import frontend_lang as esp
from espalier.errors import InvalidRequestError
from espalier.runtime import cli, cli_demo
from examples.heldout_sentences import draw


def test_record() -> None:
    made = cli_demo.record(["item", " quantity", "price"])
    assert [(field.name, field.type) for field in dataclasses.fields(made)] == [
        ("item", str),
        ("quantity", int),
        ("price", float),
    ]
    with pytest.raises(InvalidRequestError, match="'colour'"):
        cli_demo.record(["colour"])


def test_call_schema_allows_the_tools_and_nothing_else() -> None:
    schema = cli_demo.call_schema(cli_demo.TOOLS)
    for call in cli_demo.CALLS.values():
        jsonschema.validate(call, schema)
    for bad in (
        {"tool": "weather", "args": {"a": 1, "b": 2}},
        {"tool": "remove", "args": {"city": "Rome"}},
        {"tool": "add", "args": {"a": 1}},
        {"tool": "add", "args": {"a": "1", "b": 2}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)


def test_programs_with_a_script() -> None:
    backend = esp.Scripted({"verdict": ["rude", "calm", "work"]})
    state = cli_demo.judge.run("Hm.", cli_demo.DIMENSIONS, backend=backend)
    assert state["summary"] == "rude, calm, work"
    asked = '{"tool": "add", "args": {"a": 1, "b": 2}}'
    backend = esp.Scripted({"call0": asked, "answer0": "Three."})
    state = cli_demo.assist.run(cli_demo.TOOLS, ["What is 1 plus 2?"], backend=backend)
    assert [m["content"] for m in state.messages()][1:] == [asked, "Result: 3", "Three."]


def test_a_wrong_value_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    script = {"record": '{"name": "Zorina Okafor", "age": 43, "city": "Lisbon"}'}
    tour = cli_demo.Tour(esp.Scripted(script))
    sentence, right = next(iter(cli_demo.PEOPLE.items()))
    tour.typed({sentence: right})
    assert tour.wrong == 1
    assert "WRONG, expected Person(name='Zorina Okafor', age=34" in capsys.readouterr().out


def test_score(capsys: pytest.CaptureFixture[str]) -> None:
    case = {"text": "Ida, 4", "fields": ["name", "age"], "expected": {"name": "Ida", "age": 4}}
    tour = cli_demo.Tour(esp.Scripted({"record": '{"name": "Ida", "age": 4}'}))
    assert tour.score([case] * 3) == 0
    tour = cli_demo.Tour(esp.Scripted({"record": '{"name": "Ida", "age": 5}'}))
    assert tour.score([case]) == 1
    assert "0 of 1 right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fields", "name"], "--fields goes with --text"),
        (["--text", "x", "--fields", "name,colour"], "got 'colour'"),
        (["--text", "x", "--fields", "name,name"], "name is named twice"),
        (["--cases", "no-such-file"], "expected a file of JSON lines"),
        (["--cases", __file__, "--text", "x"], "--cases bring their own texts"),
    ],
)
def test_bad_input(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "not json", '{"text": "x", "expected": {}}', "[1]", "\xff"])
def test_bad_cases(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cases"
    file.write_bytes(text.encode("latin-1"))
    assert cli.main(["demo", "--cases", str(file)]) == 2
    assert "--cases" in capsys.readouterr().err


def test_the_tour_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo"]) == 0
    out = capsys.readouterr().out
    assert "Person(name='Zorina Okafor', age=34, city='Lisbon')" in out
    assert "WRONG" not in out
    assert "computed" in out


def test_your_own_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--text", "Omar is 41 years old and lives in Rome."]) == 0
    assert "Record(name='Omar', age=41, city='Rome')" in capsys.readouterr().out


def test_sentences_it_never_saw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The bar of the demo: at least 18 of 20 held-out sentences."""
    file = tmp_path / "cases"
    lines = [json.dumps(case) for case in draw(20)]
    file.write_text("\n".join(lines))
    assert cli.main(["demo", "--cases", str(file)]) == 0
    assert "of 20 right" in capsys.readouterr().out
