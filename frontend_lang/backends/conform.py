"""Whether a text is a sentence of a grammar, by the grammar part over single bytes; and where a
stop expression ends it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Literal

from ...grammar.spec import GrammarSpec

if TYPE_CHECKING:
    from ...grammar import CompiledGrammar

Verdict = Literal["complete", "prefix", "no"]
_END = 256


@functools.lru_cache(maxsize=64)
def compiled(grammar: GrammarSpec) -> CompiledGrammar:
    """The grammar over single bytes. Raises GrammarError for what is none."""
    # Loaded only when a script is checked: the language itself needs no compiler.
    from ...grammar import GrammarCompiler, Vocabulary

    vocabulary = Vocabulary(
        [bytes([byte]) for byte in range(256)] + [b"<|end|>"], special_ids=[_END], eos_ids=[_END]
    )
    return GrammarCompiler(vocabulary).compile(grammar)


def conforms(grammar: GrammarSpec, text: str) -> Verdict:
    """`prefix`: the text can be continued to a sentence, and is none. Raises GrammarError."""
    matcher = compiled(grammar).matcher()
    for byte in text.encode():
        if not matcher.accept(byte):
            return "no"
    return "complete" if matcher.can_end else "prefix"


def first_match(pattern: str, text: str) -> tuple[int, int] | None:
    """Start and end of the first match of a stop expression, as the engine finds it. Raises
    GrammarError."""
    from ...grammar.search import Search

    return Search(pattern).feed(text)
