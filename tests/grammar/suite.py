"""The JSON-Schema-Test-Suite: its verdicts beside ours, by file."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from espalier.errors import GrammarError
from espalier.grammar import GrammarSpec, ir
from espalier.grammar.json_schema import json_schema_ir
from tests.grammar.ir_oracle import Oracle


@dataclass
class Verdicts:
    """right: tests whose verdict is the suite's. refused: tests of schemas that are refused, which
    `refusals` lists. wrong: by description."""

    right: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)


def run(suite: Path) -> dict[str, Verdicts]:
    """The required tests of draft 2020-12, by the name of their file; `format` is annotated, and
    properties may come in any order. The suite's remote schemas are in the registry."""
    remotes = suite / "remotes"
    registry = {
        f"http://localhost:1234/{file.relative_to(remotes).as_posix()}": file.read_text()
        for file in remotes.glob("**/*.json")
    }
    return {
        file.stem: _run_file(file, registry)
        for file in sorted((suite / "draft2020-12").glob("*.json"))
    }


def _run_file(file: Path, registry: dict[str, str]) -> Verdicts:
    found = Verdicts()
    for group in json.loads(file.read_text()):
        tests = group["tests"]
        spec = GrammarSpec.json_schema(
            group["schema"], property_order="any", format="annotate", registry=registry
        )
        try:
            grammar = json_schema_ir(spec.source, spec)
            oracle = Oracle(grammar)
        except GrammarError as error:
            if "no value satisfies" in str(error):
                assert not any(test["valid"] for test in tests), (file.name, group)
                found.right += len(tests)
            else:
                found.refused += len(tests)
                found.refusals[error.message] += len(tests)
            continue
        assert ir.decode(ir.encode(grammar)) == grammar, group  # it crosses processes
        for test in tests:
            text = json.dumps(test["data"], ensure_ascii=False)
            if oracle.accepts(text) is test["valid"]:
                found.right += 1
            else:
                about = f"{group['description']}: {test['description']}"
                found.wrong.append(f"{file.name}: {about}")
    return found
