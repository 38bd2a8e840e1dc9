"""Writes docs/json-schema.md: what becomes of every keyword of JSON Schema.

`python -m tools.schema_page SUITE` (the JSON-Schema-Test-Suite's folder) compiles each keyword's
examples, checks that their texts are taken and refused as said, and runs the suite.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espalier.errors import GrammarError
from espalier.grammar import GrammarSpec
from espalier.grammar.json_dialects import VOCABULARIES
from espalier.grammar.json_formats import FORMATS, REFUSED_FORMATS
from espalier.grammar.json_schema import json_schema_ir
from tests.grammar.ir_oracle import Oracle
from tests.grammar.suite import Verdicts, run
from tools.schema_keywords import KEYWORDS, OLDER, Keyword

PAGE = Path(__file__).resolve().parent.parent / "docs" / "json-schema.md"
FILES = {
    "$ref": ("ref", "refRemote", "infinite-loop-detection"),
    "$anchor": ("anchor",),
    "$defs": ("defs",),
    "$dynamicRef": ("dynamicRef",),
    "$vocabulary": ("vocabulary",),
    "if": ("if-then-else",),
    "contentMediaType": ("content",),
}
"""The suite's files that are not called as their keyword, and those of several."""

TEXT = """\
# JSON Schema

Made by `python -m tools.schema_page SUITE`; not edited by hand. Each keyword below was compiled
with an example of its own, and the texts that the example must take and refuse were tried.

A grammar made of a schema is *exact*: whatever it lets a model write decodes to a value that the
schema accepts, and every such value can be written, but for those named below. What cannot be
enforced exactly is refused before any token is made, with a `GrammarError` that names the keyword
and its JSON pointer; nothing is loosened in silence. `lenient=True` drops such keywords instead and
lists their pointers in `CompiledGrammar.dropped`; `format`s that bind nothing are listed in
`.annotated`.

The dialect is draft 2020-12, or what `$schema` says; the older spellings are read as their drafts
mean them. `GrammarSpec.json_schema(schema, ...)` takes:

- `property_order`: `"declared"` (objects list their properties in the schema's order, the
  additional ones last) or `"any"` (at most 10 properties an object). An order is no part of a
  JSON value, so the same values are written either way.
- `whitespace`: `"json"` (as `json.dumps` writes), `"compact"`, or `"free"` (bounded).
- `format`: `"assert"` or `"annotate"`.
- `ascii`: strings are written in ASCII, others as `\\uXXXX`.
- `registry`: schemas by URI, for references that lead out of the schema. Nothing is ever fetched.
- `lenient`: see above.

Values are written canonically: whole numbers of `"type": "integer"` without a fraction, strings
with the escapes that `json.dumps` uses, declared names once. Not written, though valid: numbers
from 1e308 on (unless bounds ask for them), and of formats leap seconds, the year 0000, host names
with `--` in third place (`xn--`), and domains of `idn-email` beyond ASCII.

*Suite* is the JSON-Schema-Test-Suite for draft 2020-12, its required tests, `format` annotated,
any property order: tests judged right / tests of schemas that are refused. In all **{right:,} of
{total:,} right, {refused} refused, {wrong} wrong**{note}

{tables}

## Formats
Asserted: {formats}. Refused when asserted: {refused_formats}. Others are annotations.

## Refused in the suite
{refusals}
"""


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    keyword: str
    status: str
    how: str
    limits: str
    suite: str


def grammar_of(schema: Any, **options: Any) -> Oracle:
    spec = GrammarSpec.json_schema(schema, property_order="any", **options)
    return Oracle(json_schema_ir(spec.source, spec))


def check(name: str, keyword: Keyword) -> str:
    """Tries the examples; returns what becomes of the keyword."""
    oracle = grammar_of(keyword.example, registry=keyword.registry)
    for text in keyword.takes:
        if not oracle.accepts(text):
            raise ValueError(f"{name}: {text} is not taken")
    for text in keyword.refuses:
        if oracle.accepts(text):
            raise ValueError(f"{name}: {text} is taken")
    if keyword.refused is None:
        return "enforced" if keyword.refuses else keyword.status
    try:
        grammar_of(keyword.refused)
    except GrammarError as error:
        if f"`{name}`" not in error.message:
            raise ValueError(f"{name}: refused without its name: {error}") from None
        return "enforced in part"
    raise ValueError(f"{name}: not refused: {keyword.refused}")


def rows(keywords: dict[str, Keyword], verdicts: dict[str, Verdicts]) -> list[Row]:
    found = []
    for name, keyword in keywords.items():
        files = [verdicts[file] for file in FILES.get(name, (name,)) if file in verdicts]
        right, refused = (sum(getattr(v, what) for v in files) for what in ("right", "refused"))
        suite = f"{right} / {refused}" if files and keywords is KEYWORDS else ""
        found.append(Row(name, check(name, keyword), keyword.how, keyword.limits, suite))
    return found


def table(lines: list[Row]) -> str:
    head = ["| keyword | | how | refused, and what to use | suite |", "|---|---|---|---|---:|"]
    return "\n".join(
        [
            *head,
            *(
                f"| `{row.keyword}` | {row.status} | {_cell(row.how)} | {_cell(row.limits)} "
                f"| {row.suite} |"
                for row in lines
            ),
        ]
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def page(suite: Path) -> str:
    """The text of docs/json-schema.md."""
    verdicts = run(suite)
    by_name = {row.keyword: row for row in rows(KEYWORDS, verdicts)}
    tables = [
        f"## {vocabulary.capitalize()}\n{table([by_name[name] for name in names])}"
        for vocabulary, names in VOCABULARIES.items()
    ]
    tables.append(f"## Older spellings\n{table(rows(OLDER, verdicts))}")
    refusals = [
        f"- {count} of `{file}`: {message}"
        for file, found in verdicts.items()
        for message, count in found.refusals.items()
    ]
    right, refused = (
        sum(getattr(v, what) for v in verdicts.values()) for what in ("right", "refused")
    )
    wrong = [test for found in verdicts.values() for test in found.wrong]
    return TEXT.format(
        right=right,
        refused=refused,
        wrong=len(wrong),
        total=right + refused + len(wrong),
        note=": on purpose,\n" + "; ".join(wrong) + "." if wrong else ".",
        tables="\n\n".join(tables),
        formats=", ".join(f"`{name}`" for name in FORMATS),
        refused_formats=", ".join(f"`{name}`" for name in REFUSED_FORMATS),
        refusals="\n".join(refusals),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", type=Path)
    parser.add_argument("--out", type=Path, default=PAGE)
    args = parser.parse_args()
    args.out.write_text(page(args.suite))
    print(json.dumps({"page": str(args.out)}))


if __name__ == "__main__":
    main()
