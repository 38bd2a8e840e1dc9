"""`espalier grammar check`: does a grammar compile, and does a text belong to it."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from ..errors import InvalidRequestError
from ..grammar import GrammarCompiler, GrammarSpec, Vocabulary
from ..grammar.json_typos import typos

ABOUT = """\
Compiles a grammar and says what it found, also what of a JSON Schema may be a misspelt keyword;
with a text, whether the text belongs to it, and if not, where it dies and what was allowed there.

GRAMMAR and TEXT are files, or - for standard input; with --inline they are given as they stand.
The kind follows from the file's ending (.json a JSON Schema, .lark and .gbnf a context-free
grammar, .regex a regular expression) unless --kind says it. Exit code 1 when the text is not in
the grammar.

examples
  espalier grammar check schema.json answer.json
  espalier grammar check --kind regex --inline '[a-z]+\\d{2,4}' 'abc1'
  espalier grammar check arithmetic.lark - < expression.txt"""
KINDS = ("json_schema", "regex", "ebnf")
SCHEMA_ONLY = ("property_order", "whitespace", "format", "lenient", "registry")
ENDINGS = {
    ".json": "json_schema",
    ".regex": "regex",
    ".lark": "ebnf",
    ".gbnf": "ebnf",
    ".ebnf": "ebnf",
}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = ABOUT
    parser.add_argument("action", choices=["check"])
    parser.add_argument("grammar", metavar="GRAMMAR")
    parser.add_argument("text", metavar="TEXT", nargs="?")
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--inline", action="store_true", help="no files: both as they stand")
    parser.add_argument("--property-order", choices=["declared", "any"])
    parser.add_argument("--whitespace", choices=["compact", "json", "free"])
    parser.add_argument("--format", choices=["assert", "annotate"])
    parser.add_argument(
        "--registry",
        metavar="FILE",
        help="a JSON object of schemas by URI, for references that lead out of the schema",
    )
    parser.add_argument(
        "--lenient", action="store_true", default=None, help="drop what cannot be enforced"
    )


def run(args: argparse.Namespace) -> int:
    spec = _spec(args)
    vocabulary = Vocabulary([bytes([byte]) for byte in range(256)] + [b""], [256], [256])
    begin = time.perf_counter()
    grammar = GrammarCompiler(vocabulary).compile(spec)
    print(f"compiles: {1000 * (time.perf_counter() - begin):.1f} ms")
    for place in grammar.dropped:
        print(f"dropped: {place}")
    if spec.kind == "json_schema":
        for typo in typos(json.loads(spec.source)):
            print(f"note: {typo}")
    if args.text is None:
        return 0
    text = _read(args.text, inline=args.inline)
    verdict = grammar.explain(text)
    print(verdict)
    if not verdict.accepted and spec.kind == "json_schema" and spec.whitespace != "free":
        free = msgspec.structs.replace(spec, whitespace="free")
        if GrammarCompiler(vocabulary).compile(free).explain(text).accepted:
            print("only its white space is in the way: with --whitespace free it is accepted")
    return 0 if verdict.accepted else 1


def _spec(args: argparse.Namespace) -> GrammarSpec:
    source = _read(args.grammar, inline=args.inline)
    kind = args.kind or ENDINGS.get(Path(args.grammar).suffix) or _guess(source)
    given = {name: value for name in SCHEMA_ONLY if (value := getattr(args, name)) is not None}
    if given and kind in ("regex", "ebnf"):
        raise InvalidRequestError(
            expected="options of a JSON Schema only with one",
            got=f"{', '.join(given)} with a grammar of kind {kind}",
            where="espalier grammar check",
        )
    if kind == "regex":
        return GrammarSpec.regex(source if args.inline else source.rstrip("\n"))
    if kind == "ebnf":
        return GrammarSpec.ebnf(source)
    if "registry" in given:
        given["registry"] = _registry(args.registry)
    if kind == "json_schema":
        return GrammarSpec.json_schema(source, **given)
    raise InvalidRequestError(
        expected=f"a file ending in {', '.join(sorted(ENDINGS))}, or --kind",
        got=args.grammar[:80],
        where="GRAMMAR",
    )


def _registry(name: str) -> dict[str, Any]:
    text = _read(name, inline=False)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        found = error
    if not isinstance(found, dict):
        raise InvalidRequestError(
            expected="a JSON object of schemas by URI", got=repr(found)[:80], where="--registry"
        )
    return found


def _guess(source: str) -> str | None:
    """JSON is a schema; of anything else nobody knows."""
    try:
        return "json_schema" if isinstance(json.loads(source), dict | bool) else None
    except (ValueError, RecursionError):
        return None


def _read(name: str, *, inline: bool) -> str:
    if inline:
        return name
    if name == "-":
        return sys.stdin.read().removesuffix("\n")
    try:
        return Path(name).read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequestError(
            expected="a text file", got=f"{name} ({error})", where="espalier grammar check"
        ) from None
