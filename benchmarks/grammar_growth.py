"""How compiling grows with a grammar: CPU milliseconds to compile, and to the first mask.

Texts of eight shapes, each at five sizes, with a compiler that has seen none of them. A step whose
cost is linear has a log-log slope of about 1.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from ..grammar import GrammarCompiler, GrammarSpec
from .radix import Rows
from .report import Row

SIZES = (30, 100, 300, 1000, 3000)
ROUNDS = 3


def _kinds(count: int) -> list[dict[str, object]]:
    return [
        {
            "type": "object",
            "properties": {"kind": {"const": f"k{i}"}, "value": {"type": "integer"}},
            "required": ["kind", "value"],
        }
        for i in range(count)
    ]


def _members(count: int) -> GrammarSpec:
    types = ("string", "integer", "null")
    properties = {f"p{i}": {"type": types[i % 3]} for i in range(count)}
    return GrammarSpec.json_schema(
        {"type": "object", "properties": properties, "required": list(properties)}
    )


def _nested(count: int) -> GrammarSpec:
    parts: dict[str, object] = {
        f"d{i}": {"type": "array", "items": {"$ref": f"#/$defs/d{i + 1}"}} for i in range(count)
    }
    return GrammarSpec.json_schema(
        {"$defs": parts | {f"d{count}": {"type": "string"}}, "$ref": "#/$defs/d0"}
    )


def _rules(count: int) -> GrammarSpec:
    rules = [f'r{i} ::= "k{i}" [a-z]+' for i in range(count)]
    return GrammarSpec.ebnf(
        "\n".join(["root ::= " + " | ".join(f"r{i}" for i in range(count)), *rules])
    )


KINDS: dict[str, Callable[[int], GrammarSpec]] = {
    "required members": _members,
    "enum": lambda n: GrammarSpec.json_schema({"enum": [f"value {i * 7919}" for i in range(n)]}),
    "anyOf of objects": lambda n: GrammarSpec.json_schema({"anyOf": _kinds(n)}),
    "oneOf of objects": lambda n: GrammarSpec.json_schema({"oneOf": _kinds(n)}),
    "nested $ref": _nested,
    "alternatives of a regex": lambda n: GrammarSpec.regex(
        "|".join(f"word{i * 7919}x*" for i in range(n))
    ),
    "counted repetition": lambda n: GrammarSpec.regex(f"(?:[a-z0-9]+,){{{n}}}"),
    "rules of a GBNF": _rules,
}


def measure(
    compiler: GrammarCompiler,
    sizes: Sequence[int] = SIZES,
    say: Callable[[str, int, int], None] = lambda *_: None,
) -> list[Row]:
    """All rows, slopes last; figures are the least of a few rounds."""
    rows = Rows()
    mask = np.zeros(compiler.vocabulary.words, dtype=np.uint32)
    for done, (kind, make) in enumerate(KINDS.items()):
        say(f"growth: {kind}", done, len(KINDS))
        for size in sizes:
            spec = make(size)
            spent = [_once(compiler, spec, mask) for _ in range(ROUNDS)]
            for at, step in enumerate(("compile", "first mask")):
                least = min(seconds[at] for seconds in spent)
                rows.add(f"grammar/growth, {kind}: {step}", size, least * 1000, "ms")
    say("growth", len(KINDS), len(KINDS))
    return rows.rows + rows.slopes()


def _once(compiler: GrammarCompiler, spec: GrammarSpec, mask: np.ndarray) -> tuple[float, float]:
    fresh = GrammarCompiler(compiler.vocabulary, trie=compiler.trie)
    begin = time.process_time()
    grammar = fresh.compile(spec)
    compiled = time.process_time()
    grammar.matcher().fill_mask(mask)
    return compiled - begin, time.process_time() - begin
