"""Grammars in lark's syntax, as its own loader reads them: terminals as patterns, rules as trees.

lark would go on and write every rule out as plain sequences of symbols, 2^n of them for n options
in a row; here `?`, `*`, `~` and alternatives stay what they are. The loader is no part of lark's
documented surface, and fails on some wrong grammars in ways of its own: whatever it raises is a
GrammarError.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ..errors import GrammarError

_PLACE = re.compile(r"line (\d+),? column (\d+)")
_LIBRARY = ("common", "unicode", "python", "lark")
_MAX_TEXT = 150_000
_MAX_TERMINAL = 20_000
_MAX_INSTANCES = 1_000


@dataclass(frozen=True)
class LarkGrammar:
    """patterns: lark's patterns of terminals by name. rules: by name, trees of `expansions`,
    `expansion`, `alias`, `expr`, `maybe` and symbols. ignored: names of terminals."""

    patterns: dict[str, Any]
    rules: dict[str, Any]
    ignored: list[str]


def read_lark(text: str) -> LarkGrammar:
    """What lark's loader reads. Raises GrammarError with a place, or the name of a terminal."""
    from lark.exceptions import LarkError

    if len(text) > _MAX_TEXT:
        raise GrammarError(
            expected=f"a grammar of at most {_MAX_TEXT:,} characters in lark's syntax",
            got=f"{len(text):,}",
            where="ebnf",
            hint="Write it in GBNF, or a list of words as choices.",
        )
    try:
        return _read(text)
    except (GrammarError, RecursionError, MemoryError):
        raise
    except LarkError as error:
        message = str(error).splitlines()[0]
        place = _PLACE.search(message)
        if place is None:
            raise GrammarError(f"ebnf: {message}", where="ebnf") from None
        raise GrammarError(
            "ebnf: neither lark's syntax nor GBNF (name ::= ...)",
            where=f"line {place[1]}, column {place[2]}",
            hint="A rule of lark is written name: alternatives, a terminal NAME: /regex/.",
        ) from None
    except Exception as error:
        raise GrammarError(
            f"ebnf: lark cannot read this grammar ({type(error).__name__}: {error})"[:300],
            where="ebnf",
        ) from error


def _read(text: str) -> LarkGrammar:
    lark: Any = import_module("lark.load_grammar")  # untyped
    builder = _builder()
    builder.load_grammar(text, "<ebnf>")
    grammar = builder.build()
    terminals = lark.Grammar([], grammar.term_defs, grammar.ignore).compile([], "*")[0]
    rules = list(grammar.rule_defs)
    read = lark.PrepareLiterals() * lark.ValidateSymbols()
    read = read * lark.PrepareAnonTerminals(terminals) * lark.ApplyTemplates(rules)
    found: dict[str, Any] = {}
    for name, parameters, tree, _ in rules:  # templates add to them meanwhile
        if len(rules) > len(grammar.rule_defs) + _MAX_INSTANCES:
            raise GrammarError(
                "templates that ask for ever more rules",
                expected=f"at most {_MAX_INSTANCES:,}",
                where=str(name)[:80],
            )
        if not parameters:
            found[str(name)] = read.transform(lark.nr_deepcopy_tree(tree))
    patterns = {str(terminal.name): terminal.pattern for terminal in terminals}
    return LarkGrammar(patterns, found, [str(name) for name in grammar.ignore])


def _builder() -> Any:
    from lark.load_grammar import GrammarBuilder

    sizes = _Sizes()

    class Builder(GrammarBuilder):
        """Imports from lark's own library and reads no other file, however it is spelled."""

        def _define(self, name: Any, is_term: bool, exp: Any, *args: Any, **named: Any) -> None:
            base: Any = super()
            base._define(name, is_term, exp, *args, **named)
            if is_term and exp is not None:
                sizes.define(str(name), exp)

        def _extend(self, name: Any, is_term: bool, exp: Any, *args: Any, **named: Any) -> None:
            base: Any = super()
            base._extend(name, is_term, exp, *args, **named)
            if is_term:
                sizes.define(str(name), exp, more=True)

        def do_import(
            self, dotted_path: Any, base_path: Any, aliases: Any, base_mangle: Any = None
        ) -> None:
            path = ".".join(map(str, dotted_path))
            if isinstance(base_path, str) or str(dotted_path[0]) not in _LIBRARY:
                raise GrammarError(
                    f"ebnf: the import of {path}",
                    expected=f"one from lark's library: {', '.join(_LIBRARY)}",
                    where="ebnf",
                    hint="Write the rule into the grammar itself; no files are read.",
                )
            try:
                super().do_import(dotted_path, base_path, aliases, base_mangle)
            except OSError:
                raise GrammarError(
                    f"ebnf: the import of {path}",
                    expected="a module of lark's library, and names of it in parentheses",
                    where="ebnf",
                    hint="Write %import common.WORD or %import common (WORD, INT).",
                ) from None

    return Builder(True, [])


class _Sizes:
    """How large terminals are where all that they name is written out, which lark does: 2^n parts
    for n terminals that name the next one twice. Known as soon as all that they name is."""

    def __init__(self) -> None:
        self._parts: dict[str, tuple[int, list[str]]] = {}
        self._sizes: dict[str, int] = {}
        self._waiting: dict[str, list[str]] = {}

    def define(self, name: str, tree: Any, *, more: bool = False) -> None:
        """A terminal's definition; more: what `%extend` adds to it. Raises GrammarError."""
        own = sum(1 for _ in tree.iter_subtrees())
        values = (value.children[0] for value in tree.find_data("value"))
        named = [str(value.name) for value in values if hasattr(value, "name")]
        if more:
            before = self._parts.get(name, (0, []))
            own, named = own + before[0], named + before[1]
            self._sizes.clear()
            self._waiting.clear()
        self._parts[name] = (own, named)
        for changed in [*self._parts] if more else [name]:
            self._settle(changed)

    def _settle(self, name: str) -> None:
        todo = [name]
        while todo:
            name = todo.pop()
            if name not in self._parts:
                continue
            own, named = self._parts[name]
            missing = next((one for one in named if one not in self._sizes), None)
            if missing is not None:
                self._waiting.setdefault(missing, []).append(name)
                continue
            size = self._sizes[name] = own + sum(self._sizes[one] for one in named)
            if size > _MAX_TERMINAL:
                raise GrammarError(
                    f"the terminal {name} is too large where all that it names is written out",
                    expected=f"at most {_MAX_TERMINAL:,} parts",
                    where=name,
                )
            todo += self._waiting.pop(name, ())
