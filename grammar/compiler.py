"""Grammars made ready for one vocabulary, and what they share.

A compiler owns the arena, the token trie, the inner rows and the mask pool of its vocabulary; there
are no module globals, so several compilers live side by side. Loading is lazy: states and rows are
made when a matcher first comes to them.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from ..errors import GrammarError, InvalidRequestError
from . import ir as grammar_ir
from .arena import Arena
from .budget import Budget
from .explain import Verdict, explain
from .facts import Facts
from .frontend import Limits, check, make_ready, parse
from .kept import Kept
from .machine import Machine
from .masks import Rows
from .matcher import Matcher
from .pool import BUDGET, MaskPool
from .program import Program
from .spec import GrammarSpec
from .trie import TokenTrie
from .vocabulary import Vocabulary

_LOADED = 9  # bytes of memory per byte of IR (measured: 6.8 to 8.7)
# Texts, with one of every kind of value, and schemas of theirs.
_SAMPLES: tuple[tuple[Any, str], ...] = (
    (True, '{"a": [1, -20.5, "b", true, false, null], "c": {}}'),
    ({"type": "string", "maxLength": 1000}, '"a"'),
    ({"type": "string", "minLength": 1}, '"a"'),
    ({"properties": {"a": True}}, '{"b": 1}'),
)
_LEARNT = 64 << 10  # what a grammar learns in some 150 tokens (measured: 20 KB to 1.1 MB)


class CompiledGrammar:
    """One grammar, ready for its vocabulary. dropped: what `lenient` dropped; annotated: the
    `format` keywords that bind nothing (JSON pointers)."""

    def __init__(
        self, rows: Rows, arena: Arena, grammar: grammar_ir.GrammarIR, facts: Facts | None = None
    ) -> None:
        self.rows = rows
        self.pool = rows.pool
        self.vocabulary = rows.trie.vocabulary
        self.dropped = grammar.dropped
        self.annotated = grammar.annotated
        program = Program(arena, grammar, facts)
        program.prepare()
        self.machine = Machine(program, rows.trie.longest + 1)
        self.budget = Budget(self.machine, rows)

    def matcher(self) -> Matcher:
        """A matcher at the start."""
        return Matcher(self)

    def explain(self, text: str) -> Verdict:
        """Whether the whole text is in the grammar; where it dies otherwise, and what was allowed
        there. str() of it is for people."""
        return explain(Matcher(self), text)


class GrammarCompiler:
    """trie: that of another compiler of the same vocabulary, if there is one. parses: False where
    grammars come parsed (`load`), and what reading them needs is not made ready (0.15 s).

    pool_bytes: budget of the mask rows kept. inner_bytes: of the rows shared between grammars.
    kept_bytes: of compiled grammars kept, by estimate; those kept by spec have as much again, but
    are the same. The arena's nodes of grammars that are kept no more go when as many bytes of
    these have left: what is left of them never exceeds what is kept."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        pool_bytes: int = BUDGET,
        inner_bytes: int = 64 << 20,
        kept_bytes: int = 256 << 20,
        limits: Limits | None = None,
        trie: TokenTrie | None = None,
        parses: bool = True,
    ) -> None:
        if not vocabulary.size:
            raise InvalidRequestError(
                expected="a vocabulary of at least one token", got="none", where="vocabulary"
            )
        self.vocabulary = vocabulary
        self.trie = trie or TokenTrie(vocabulary)
        self.pool = MaskPool(vocabulary.words, vocabulary.allowed_in_free_text(), pool_bytes)
        self.arena = Arena(self.trie.single)
        self._rows = Rows(self.arena, self.trie, self.pool, inner_bytes)
        self._limits = limits or Limits()
        self._turn = kept_bytes  # of bytes gone, when the arena forgets
        self._by_spec: Kept[GrammarSpec, CompiledGrammar] = Kept(kept_bytes)
        self._by_content: Kept[bytes, CompiledGrammar] = Kept(kept_bytes)
        self._learn()
        if parses:
            make_ready()

    def _learn(self) -> None:
        """Makes the rows that grammars of JSON share, so that none of them is the first to."""
        mask = np.empty(self.vocabulary.words, dtype=np.uint32)
        for schema, text in _SAMPLES:
            self.arena.begin()
            try:
                grammar = parse(GrammarSpec.json_schema(schema))
                matcher = CompiledGrammar(self._rows, self.arena, grammar).matcher()
            except GrammarError:
                return  # a vocabulary that cannot write JSON
            for char in text:
                matcher.fill_mask(mask)
                if not matcher.accept_bytes(char.encode()):
                    return

    def compile(self, spec: GrammarSpec) -> CompiledGrammar:
        """Parses and loads, here and now. Raises GrammarError."""
        if not isinstance(spec, GrammarSpec):
            raise InvalidRequestError(
                expected="a GrammarSpec",
                got=repr(spec)[:80],
                where="compile",
                hint="GrammarSpec.regex(text), .json_schema(schema), .ebnf(text), .choices(list)",
            )
        found = self.find(spec)
        if found is not None:
            return found
        grammar, facts = check(spec, self._limits)
        # Without some bytes texts are longer than the check found, which knows of no vocabulary.
        return self._load(grammar, spec, facts if self.arena.alphabet is None else None)

    def find(self, spec: GrammarSpec) -> CompiledGrammar | None:
        """The grammar of `spec`, if it was loaded and is kept."""
        return self._by_spec.get(spec)

    def load(
        self, grammar: grammar_ir.GrammarIR, spec: GrammarSpec | None = None
    ) -> CompiledGrammar:
        """Makes what `parse` returned (perhaps in another process) ready, for `find` to find by
        `spec`. Raises GrammarError, for example where the vocabulary lacks a byte that every text
        of the grammar needs."""
        return self._load(grammar, spec, None)

    def _load(
        self, grammar: grammar_ir.GrammarIR, spec: GrammarSpec | None, facts: Facts | None
    ) -> CompiledGrammar:
        content = grammar_ir.encode(grammar)
        size = _LEARNT + _LOADED * len(content)
        digest = hashlib.sha256(content).digest()
        found = self._by_content.get(digest)
        if found is None:
            if self._by_content.gone > self._turn:
                self._turn = self._by_content.gone + self._by_content.limit
                self.arena.forget()
            # What passed `parse` passes here: a vocabulary that lacks bytes makes few states more.
            self.arena.begin(2 * self._limits.states)
            found = CompiledGrammar(self._rows, self.arena, grammar, facts)
            self._by_content.put(digest, found, size)
        if spec is not None:
            self._by_spec.put(spec, found, size + spec.size)
        return found
