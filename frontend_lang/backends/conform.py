"""Whether a text is a sentence of a grammar, by the grammar part over single bytes."""

from __future__ import annotations

import functools
import importlib
from typing import Any, Literal

from ...grammar.spec import GrammarSpec

Verdict = Literal["complete", "prefix", "no"]
_END = 256


@functools.lru_cache(maxsize=64)
def _compiled(grammar: GrammarSpec) -> Any:
    # Loaded by name, and only when a script is checked: the language itself needs no compiler.
    grammars = importlib.import_module("...grammar", __package__)
    vocabulary = grammars.Vocabulary(
        [bytes([byte]) for byte in range(256)] + [b"<|end|>"], special_ids=[_END], eos_ids=[_END]
    )
    return grammars.GrammarCompiler(vocabulary).compile(grammar)


def conforms(grammar: GrammarSpec, text: str) -> Verdict:
    """`prefix`: the text can be continued to a sentence, and is none. Raises GrammarError."""
    matcher = _compiled(grammar).matcher()
    for byte in text.encode():
        if not matcher.accept(byte):
            return "no"
    return "complete" if matcher.can_end else "prefix"
