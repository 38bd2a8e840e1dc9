"""What the documents say is so: programs run, links and targets exist."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import espalier as esp
from tests import house_rules
from tests.support import ROOT

DOCUMENTS = [path for path in house_rules.project_files(ROOT) if path.suffix == ".md"]


def test_readme_program(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "program.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    promised = re.search(r"print\(state\[\"person\"\]\)  # (.*)", program)
    assert promised is not None
    assert done.stdout.splitlines()[0] == promised[1]
    command = ["-m", "espalier.runtime.cli", "run", "program.py", "--report", "none"]
    done = subprocess.run(
        [sys.executable, *command, "--arg", "sentence=Ida is 41 and lives in Bergen."],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert list(json.loads(done.stdout)) == ["person"], done  # the program alone, and once


def test_readme_grammar_call() -> None:
    (call,) = re.findall(r"`engine(\.generate\(.*GrammarSpec.*)`", (ROOT / "README.md").read_text())
    with esp.Engine() as engine:
        (result,) = eval(f"engine{call}", {"engine": engine, "esp": esp})
    assert re.fullmatch("[0-9]{1,3}", result.text)


@pytest.mark.parametrize(("page", "count"), [("language", 9), ("testing", 5)])
def test_programs_of_a_page(page: str, count: int, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / f"docs/{page}.md").read_text(), re.DOTALL)
    assert len(blocks) == count
    (tmp_path / "program.py").write_text("\n".join(blocks))
    done = subprocess.run(
        [sys.executable, str(tmp_path / "program.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_and_files(path: Path) -> None:
    text = path.read_text()
    named = re.findall(r"\]\(([^)#:]+)\)", text)
    missing = [name for name in named if not (path.parent / name).exists()]
    folders = "|".join((*house_rules.PARTS, *house_rules.OUTSIDE, "docs"))
    files = re.findall(rf"`((?:{folders})/[\w/.]+\.\w+)`", text)
    missing += [name for name in files if "NAME" not in name and not (ROOT / name).exists()]
    assert missing == []


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in DOCUMENTS:
        for line in re.findall(
            r"`make ([a-z-]+)|^    make ([a-z-]+)", path.read_text(), re.MULTILINE
        ):
            assert {*line} - {""} <= targets, path
