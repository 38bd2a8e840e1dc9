"""Verdicts on public data: the JSON-Schema-Test-Suite, schemas from the wild, the yardsticks.

A schema counts as right, refused or wrong; wrong must be none. The literal oracle reads the
grammars here; that the machine agrees with it is tested beside the machine.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import Any

from espalier.benchmarks.grammar_runs import most_properties
from espalier.errors import GrammarError
from espalier.grammar import ir
from espalier.grammar.json_schema import json_schema_ir
from espalier.grammar.spec import GrammarSpec
from tests.grammar import suite
from tests.grammar.ir_oracle import Oracle
from tests.support import data_path


def grammar(schema: Any, **options: Any) -> ir.GrammarIR:
    spec = GrammarSpec.json_schema(schema, **options)
    return json_schema_ir(spec.source, spec)


def text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def test_json_schema_test_suite() -> None:
    files = suite.run(data_path("json-schema-test-suite"))
    wrong = [test for verdicts in files.values() for test in verdicts.wrong]
    # `integer` is written without a fraction, on purpose.
    assert wrong == [
        "type.json: integer type matches integers: a float with zero fractional part is an integer"
    ]
    right = sum(verdicts.right for verdicts in files.values())
    refused = {name: verdicts.refused for name, verdicts in files.items() if verdicts.refused}
    assert right + sum(refused.values()) + len(wrong) == 1299
    assert right >= RIGHT_IN_SUITE, refused


RIGHT_IN_SUITE = 1253


def _verdicts(row: dict[str, Any]) -> Counter[str]:
    order = "any" if most_properties(row["schema"]) <= 8 else "declared"
    try:
        oracle = Oracle(grammar(row["schema"], property_order=order))
    except GrammarError:
        return Counter(refused=1)
    counts: Counter[str] = Counter()
    for test in row["tests"]:
        got = oracle.accepts(text(test["data"]))
        if got and not test["valid"]:
            counts["accepts invalid"] += 1
        elif test["valid"] and not got:
            counts["rejects in order" if order == "declared" else "rejects valid"] += 1
    return counts


def _sweep(rows: list[dict[str, Any]]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for row in rows:
        found = _verdicts(row)
        counts["right"] += not found
        counts += found
    return counts


def test_real_schemas() -> None:
    """Every tenth schema; with ESPALIER_SWEEP=1 all of them."""
    lines = (data_path("real-schemas") / "schemas.jsonl").read_text().splitlines()
    step = 1 if os.environ.get("ESPALIER_SWEEP") == "1" else 10
    rows = [json.loads(line) for line in lines[::step]]
    counts = _sweep(rows)
    assert counts["accepts invalid"] == counts["rejects valid"] == 0, counts
    assert counts["refused"] <= 0.02 * len(rows), counts
    assert counts["right"] >= 0.96 * len(rows), counts


def test_yardstick_cases() -> None:
    cases = json.loads((data_path("yardsticks") / "grammar_cases.json").read_text())
    seen = 0
    for case in cases:
        schema = case["text"].get("json_schema", True if "json" in case["text"] else None)
        if schema is None:
            continue
        seen += 1
        oracle = Oracle(grammar(schema))
        assert [item for item in case["valid"] if not oracle.accepts(item)] == [], case["name"]
        assert [item for item in case["invalid"] if oracle.accepts(item)] == [], case["name"]
    assert seen >= 14
