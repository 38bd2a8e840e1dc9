"""Grammars made ready for one vocabulary, and what they share.

A compiler owns the arena, the token trie, the inner rows and the mask pool of its vocabulary; there
are no module globals, so several compilers live side by side. Loading is lazy: states and rows are
made when a matcher first comes to them.
"""

from __future__ import annotations

from collections import OrderedDict

from . import ir as grammar_ir
from .arena import Arena
from .budget import Budget
from .explain import Verdict, explain
from .frontend import Limits, parse
from .machine import Machine
from .masks import Rows
from .matcher import Matcher
from .pool import MaskPool
from .program import Program
from .spec import GrammarSpec
from .trie import TokenTrie
from .vocabulary import Vocabulary


class CompiledGrammar:
    """One grammar, ready for its vocabulary. dropped: what `lenient` dropped; annotated: the
    `format` keywords that bind nothing (JSON pointers)."""

    def __init__(self, rows: Rows, arena: Arena, grammar: grammar_ir.GrammarIR) -> None:
        self.rows = rows
        self.pool = rows.pool
        self.vocabulary = rows.trie.vocabulary
        self.dropped = grammar.dropped
        self.annotated = grammar.annotated
        self.machine = Machine(Program(arena, grammar), rows.trie.longest + 1)
        self.budget = Budget(self.machine, rows)

    def matcher(self) -> Matcher:
        """A matcher at the start."""
        return Matcher(self)

    def explain(self, text: str) -> Verdict:
        """Whether the whole text is in the grammar; where it dies otherwise, and what was allowed
        there. str() of it is for people."""
        return explain(Matcher(self), text)


class GrammarCompiler:
    """pool_bytes: budget of the mask rows kept. inner_bytes: of the rows shared between grammars.
    keep: compiled grammars kept by content."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        pool_bytes: int = 256 << 20,
        inner_bytes: int = 64 << 20,
        keep: int = 1024,
        limits: Limits | None = None,
    ) -> None:
        self.vocabulary = vocabulary
        self.trie = TokenTrie(vocabulary)
        self.pool = MaskPool(vocabulary.words, vocabulary.allowed_in_free_text(), pool_bytes)
        self.arena = Arena(self.trie.single)
        self._rows = Rows(self.arena, self.trie, self.pool, inner_bytes)
        self._limits = limits or Limits()
        self._keep = keep
        self._by_spec: OrderedDict[GrammarSpec, CompiledGrammar] = OrderedDict()
        self._by_content: OrderedDict[bytes, CompiledGrammar] = OrderedDict()

    def compile(self, spec: GrammarSpec) -> CompiledGrammar:
        """Parses and loads, here and now. Raises GrammarError."""
        found = self._by_spec.get(spec)
        if found is None:
            found = self.load(parse(spec, self._limits))
            self._by_spec[spec] = found
            if len(self._by_spec) > self._keep:
                self._by_spec.popitem(last=False)
        else:
            self._by_spec.move_to_end(spec)
        return found

    def load(self, grammar: grammar_ir.GrammarIR) -> CompiledGrammar:
        """Makes what `parse` returned (perhaps in another process) ready. Raises GrammarError,
        for example where the vocabulary lacks a byte that every text of the grammar needs."""
        content = grammar_ir.encode(grammar)
        found = self._by_content.get(content)
        if found is None:
            # What passed `parse` passes here: a vocabulary that lacks bytes makes few states more.
            self.arena.begin(2 * self._limits.states)
            found = CompiledGrammar(self._rows, self.arena, grammar)
            self._by_content[content] = found
            if len(self._by_content) > self._keep:
                self._by_content.popitem(last=False)
        else:
            self._by_content.move_to_end(content)
        return found
