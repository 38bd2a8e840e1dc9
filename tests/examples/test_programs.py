"""The example programs run, on the embedded model, and are right."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import espalier as esp
from examples import judge, quickstart, tools
from tests.support import ROOT


@pytest.fixture(scope="module")
def engine() -> Iterator[esp.Engine]:
    with esp.Engine(inline=True) as made:
        yield made


def test_quickstart(engine: esp.Engine) -> None:
    state = quickstart.extract.run(backend=engine)
    assert state["person"] == quickstart.Person("Zorina Okafor", 34, "Lisbon")


def test_judge(engine: esp.Engine) -> None:
    verdicts = judge.judge.run(backend=engine).ret_value
    assert verdicts == {"tone": "rude", "urgency": "urgent", "topic": "travel"}


def test_tools(engine: esp.Engine) -> None:
    state = tools.assist.run(backend=engine)
    calls = [state[f"answer{at}_call0"] for at in range(2)]
    assert [(call.name, call.arguments) for call in calls] == [
        ("weather", {"city": "Paris"}),
        ("add", {"a": 12, "b": 30}),
    ]
    assert "sunny" in state["answer0"]
    assert "42" in state["answer1"]


@pytest.mark.parametrize("program", [quickstart, judge, tools])
def test_main_blocks(program: object, capsys: pytest.CaptureFixture[str]) -> None:
    program.main()  # type: ignore[attr-defined]
    assert "prompt tokens" in capsys.readouterr().out


def test_sentences_are_drawn_by_the_file_from_anywhere(tmp_path: Path) -> None:
    file = ROOT / "examples" / "heldout_sentences.py"
    done = subprocess.run(
        [sys.executable, str(file), "--count", "2"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert all("expected" in json.loads(line) for line in done.stdout.splitlines())
