"""`espalier run`: which program, with which arguments, and what it prints."""

from __future__ import annotations

import enum
import json
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from espalier.errors import InvalidRequestError, ProgramError
from espalier.frontend_lang.tools import ToolCall
from espalier.runtime import cli, cli_run

PROGRAM = """
from dataclasses import dataclass
import espalier as esp

@dataclass
class Point:
    x: int

@esp.function
def count(s, start: int = 1, name: str = "a", more=None):
    s["start"], s["name"], s["more"], s["point"] = start, name, more, Point(3)
    s += "word " + esp.gen("next", max_tokens=2)

@esp.function
def fails(s):
    s += "x"
    return 1 / 0

@esp.function
def returns(s, what="a list"):
    s["said"] = what
    pairs = {(1, 2): "a pair"}
    return {"nothing": None, "a list": [Point(1), "\u00e9"], "a pair": pairs}[what]

@esp.function
def cut(s):
    s += "x" + esp.gen("a", max_tokens=1) + esp.gen("b", regex="[a-z]{30}", max_tokens=1)

if __name__ == "__main__":
    raise SystemExit("not run")
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def test_find(file: Path, tmp_path: Path) -> None:
    module = cli_run.load(file)
    assert cli_run.find(module, "fails").name == "fails"
    with pytest.raises(InvalidRequestError, match="one of count, fails, returns, cut"):
        cli_run.find(module, "")
    with pytest.raises(InvalidRequestError, match=r"got 'cont'.*program.py:count"):
        cli_run.find(module, "cont")
    one = tmp_path / "one.py"
    one.write_text("import espalier as esp\n@esp.function\ndef only(s): pass\n")
    assert cli_run.find(cli_run.load(one), "").name == "only"
    one.write_text("from espalier import function\ndef no(s): pass\n")
    with pytest.raises(InvalidRequestError, match="decorated"):
        cli_run.find(cli_run.load(one), "")


def test_arguments(file: Path) -> None:
    program = cli_run.find(cli_run.load(file), "count")
    given = ["start=5", "name=7", 'more={"a": [1]}']
    assert cli_run.arguments(program, given) == {"start": 5, "name": "7", "more": {"a": [1]}}
    assert cli_run.arguments(program, ["more=a=b c"]) == {"more": "a=b c"}
    with pytest.raises(InvalidRequestError, match=r"no argument 'nme'.*start, name, more"):
        cli_run.arguments(program, ["nme=3"])
    with pytest.raises(InvalidRequestError, match=r"'name' has no value.*--arg name=VALUE"):
        cli_run.arguments(program, ["name"])
    with pytest.raises(InvalidRequestError, match="name is given twice"):
        cli_run.arguments(program, ["name=a", "name=b"])


def test_annotations_that_only_a_type_checker_can_evaluate(tmp_path: Path) -> None:
    file = tmp_path / "typed.py"
    file.write_text(
        "from __future__ import annotations\n"
        "import espalier as esp\n"
        "@esp.function\n"
        "def typed(s: ProgramState, name: str, number: Number): pass\n"
    )
    program = cli_run.find(cli_run.load(file), "")
    assert cli_run.arguments(program, ["name=7", "number=7"]) == {"name": "7", "number": 7}


def test_plain() -> None:
    from pydantic import BaseModel

    class Pair(BaseModel):
        a: int

    assert cli_run.plain(Pair(a=3)) == {"a": 3}
    call = ToolCall("add", {"a": 1}, tool=print)
    assert cli_run.plain(call) == {"name": "add", "arguments": {"a": 1}}
    assert cli_run.plain({1}) == [1]
    assert cli_run.plain(print) == repr(print)


def test_typed_values_are_json() -> None:
    class Colour(enum.Enum):
        RED = "red"

    @dataclass
    class Car:
        colour: Colour
        built: date
        parts: list[Any]

    car = Car(Colour.RED, date(2024, 1, 2), [Car(Colour.RED, date(2023, 1, 2), []), print])
    told = json.loads(cli_run.as_json({"car": car}))["car"]
    assert told["colour"] == "red"
    assert told["built"] == "2024-01-02"
    assert told["parts"][0]["built"] == "2023-01-02"
    assert told["parts"][1] == repr(print)


def test_values_and_report(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = f"{file}:count"
    assert cli.main(["run", program, "--arg", "name=Ida"]) == 0
    out, err = capsys.readouterr()
    values = json.loads(out)
    assert values["name"] == "Ida"
    assert values["point"] == {"x": 3}
    assert isinstance(values["next"], str)
    assert "prompt tokens" in err
    assert cli.main(["run", program, "--report", "json", "--seed", "7"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["seed"] == 7
    assert report["totals"]["calls"] == 1
    assert report["values"]["point"] == {"x": 3}
    assert cli.main(["run", program, "--report", "none", "--text"]) == 0
    assert capsys.readouterr().out.startswith("word ")
    assert cli.main(["run", program, "--report", "json", "--text"]) == 0
    assert json.loads(capsys.readouterr().out)["text"].startswith("word ")


@pytest.mark.parametrize(
    ("what", "line", "value"),
    [
        ("nothing", "", None),
        ("a list", 'returned [{"x": 1}, "\u00e9"]\n', [{"x": 1}, "\u00e9"]),
        ("a pair", """returned "{(1, 2): 'a pair'}"\n""", "{(1, 2): 'a pair'}"),
    ],
)
def test_what_a_function_returns_is_told(
    what: str, line: str, value: Any, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["run", f"{file}:returns", "--arg", f"what={what}"]
    assert cli.main(asked) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"said": what}
    assert err.endswith(line)
    assert ("returned" in err) == bool(line)
    assert cli.main([*asked, "--report", "none"]) == 0
    assert capsys.readouterr() == (out, "")
    assert cli.main([*asked, "--report", "json", "--text"]) == 0
    assert json.loads(capsys.readouterr().out)["ret_value"] == value


@pytest.mark.parametrize("report", ["table", "json"])
def test_a_value_that_was_cut_fails_behind_its_report(
    report: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", f"{file}:cut", "--report", report]) == 1
    out, err = capsys.readouterr()
    assert "IncompleteError: gen('b') was cut" in err
    assert "length" in (out if report == "json" else err)
    assert bool(out) == (report == "json")


@pytest.mark.parametrize(
    ("program", "code", "words"),
    [
        ("{file}", 2, "expected one of count, fails, returns, cut"),
        ("{file}:nope", 2, "got 'nope'"),
        ("{file}x", 2, "there is no file {file}x"),
        ("{file.parent}", 2, "expected a Python file"),
        ("{file}:fails", 1, "fails raised ZeroDivisionError: division by zero"),
    ],
)
def test_bad_input(
    program: str, code: int, words: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", program.format(file=file)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert words.format(file=file) in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["run", "top"])
def test_what_a_run_needs_is_told_before_a_model_is_loaded(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "first.py"
    file.write_text(
        "import espalier as esp\n@esp.function\ndef f(s, sentence, city, more=3): pass\n"
    )
    given = [command, str(file), "--arg", "city=Paris", "--model", "no/such/model"]
    assert cli.main(given) == 2
    err = capsys.readouterr().err
    assert "f needs the argument sentence" in err
    assert "Add --arg sentence=..." in err


def test_the_line_that_failed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", f"{file}:fails"]) == 1
    line = PROGRAM.splitlines().index("    return 1 / 0") + 1
    assert f"program.py:{line}" in capsys.readouterr().err
    with pytest.raises(ProgramError):
        cli.main(["--debug", "run", f"{file}:fails"])


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"it.py": "import json\nimport no_such_module"}, "'no_such_module' (at {0}/it.py:2)"),
        ({"it.py": "a = 1\n\nb = f(\n"}, "SyntaxError: '(' was never closed (at {0}/it.py:3)"),
        (
            {"it.py": "a = 1\nimport h1", "h1.py": "b = 2\n\nimport no_such"},
            "No module named 'no_such', raised at {0}/h1.py:3 (at {0}/it.py:2)",
        ),
        (
            {"it.py": "a = 1\nimport h2", "h2.py": "a = 1\nb = [\n"},
            "SyntaxError: '[' was never closed, raised at {0}/h2.py:2 (at {0}/it.py:2)",
        ),
        ({"it.py": "a = 1\nb = 1 / 0"}, "ZeroDivisionError: division by zero (at {0}/it.py:2)"),
        ({"it.py": "a = 1\neval('1 +')"}, "invalid syntax (<string>, line 1) (at {0}/it.py:2)"),
        ({"it.py": "a = 1\0"}, "(at {0}/it.py)"),
        (
            {"it.py": "import espalier as esp\nesp.gen(\n    'x', regex='(')"},
            "GrammarError",
        ),
    ],
)
def test_a_file_that_cannot_be_loaded(
    files: dict[str, str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By a path beside which one stands, as at a terminal."""
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["run", "it.py"]) == 2
    err = capsys.readouterr().err
    assert words.format(tmp_path) in err
    assert err.count("\n") == 1


def test_a_file_called_as_a_module_hides_none(tmp_path: Path) -> None:
    file = tmp_path / "json.py"
    file.write_text("import json\nLOADS = json.loads\n")
    module = cli_run.load(file)
    assert sys.modules["json"] is json
    assert module.LOADS is json.loads


def test_what_lies_beside_a_file_can_be_imported_when_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the file changes the path itself, whose entry stays."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "beside_the_program.py").write_text("SAID = 'hello'")
    file = tmp_path / "program.py"
    file.write_text(
        "import sys\n"
        "sys.path.insert(0, '/somewhere/else')\n"
        "def late():\n"
        "    from beside_the_program import SAID\n"
        "    return SAID\n"
    )
    module = cli_run.load(file)
    assert module.late() == "hello"
    assert "/somewhere/else" in sys.path
    assert sys.path.index(str(tmp_path)) == len(sys.path) - 1


@pytest.mark.parametrize(
    ("annotation", "given", "value"),
    [
        ("bool", "False", False),
        ("bool", "true", True),
        ("int", "5", 5),
        ("float", "5", 5),
        ("float", "5.5", 5.5),
        (int, "-1", -1),
        ("str", "5", "5"),
        ("list[int]", "[1, 2]", [1, 2]),
        ("object", "five", "five"),
    ],
)
def test_arguments_are_what_they_are_annotated_as(annotation: Any, given: str, value: Any) -> None:
    assert cli_run._read("x", given, annotation) == value
    assert type(cli_run._read("x", given, annotation)) is type(value)


@pytest.mark.parametrize(
    ("annotation", "given", "words"),
    [
        ("bool", "no", "true or false"),
        ("bool", "1", "true or false"),
        ("int", "five", "an integer"),
        ("int", "5.5", "an integer"),
        ("int", "true", "an integer"),
        (float, '"5"', "a number"),
    ],
)
def test_what_is_not_is_refused(annotation: Any, given: str, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"expected {words}, as x is annotated"):
        cli_run._read("x", given, annotation)
