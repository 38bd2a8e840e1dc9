"""Context-free grammars in lark's syntax, or in GBNF: what is written with `::=` is GBNF (gbnf.py).

lark reads its own syntax (lark_syntax.py): rules, terminals, templates, `%import` from its
library, `%ignore`, `~ n..m`. The language is that of the texts that its rules derive (as lark's
Earley parser with its dynamic lexer has it): no terminal is preferred for being longer, so a mask
never depends on where a lexer would cut. `%ignore`d terminals may stand before and after every
terminal.
"""

from __future__ import annotations

import re
from typing import Any

from ..errors import GrammarError
from .gbnf import gbnf_ir
from .ir import Alt, Choice, Expr, GrammarIR, Lit, Loop, Ref, Regular, Rep, Seq, Term
from .lark_syntax import LarkGrammar, read_lark
from .regex import regex_regular, terminal_regular

_QUOTED = re.compile(r'"(?:\\.|[^"\\\r\n])*"|\[(?:\\.|[^\]\\\r\n])*\]|(?:#|//)[^\r\n]*')
_START = "start"


def ebnf_ir(text: str, *, ascii: bool = False) -> GrammarIR:
    """The grammar of the texts that `text` derives from its rule `start` (GBNF: `root`).

    Raises GrammarError with a line and column, or with the name of a rule or terminal.
    """
    if "::=" in _QUOTED.sub('""', text):
        return gbnf_ir(text)
    read = read_lark(text)
    if _START not in read.rules:
        raise GrammarError(
            expected=f"a rule named {_START!r}, where every text begins",
            got=", ".join(list(read.rules)[:8]) or "no rules",
            where="ebnf",
        )
    rules = _Rules(read, ascii)
    reached = rules.reached()
    if rules.between is None:
        return GrammarIR(reached, _START)
    return GrammarIR(reached | {"*": Seq((rules.between, Ref(_START)))}, "*")


class _Rules:
    """Trees of lark's rules as expressions. `%ignore`d terminals may follow every terminal."""

    def __init__(self, read: LarkGrammar, ascii: bool) -> None:
        self._read = read
        self._ascii = ascii
        self._terms: dict[str, Expr] = {}
        self.between: Term | None = None
        self._asked: list[str] = [_START]
        if read.ignored:
            ignored = [_regular(name, read.patterns[name], ascii) for name in read.ignored]
            self.between = Term(Rep(_alt(ignored), 0, None))

    def reached(self) -> dict[str, Expr]:
        """The rules that `start` calls, and those that these call."""
        found: dict[str, Expr] = {}
        for name in self._asked:  # it grows
            if name not in found:
                found[name] = self.expr(self._read.rules[name])
        return found

    def expr(self, node: Any) -> Expr:
        """The expression of a tree, or of a symbol."""
        if not hasattr(node, "data"):
            return self._symbol(str(node.name), node.is_term)
        if node.data == "expr":
            return self._repeated(*node.children)
        if node.data == "maybe":
            return _loop(self.expr(node.children[0]), 0, 1)
        if node.data == "alias":
            return self.expr(node.children[0])
        items = [self.expr(child) for child in node.children]
        return _seq(items) if node.data == "expansion" else _choice(items)

    def _symbol(self, name: str, is_term: bool) -> Expr:
        if not is_term:
            if name not in self._read.rules:  # templates are not among them
                raise GrammarError(
                    f"ebnf: the template {name} is used without its parameters",
                    where=name,
                    hint=f"Write {name}{{...}} with one for each.",
                )
            self._asked.append(name)
            return Ref(name)
        made = self._terms.get(name)
        if made is None:
            if name not in self._read.patterns:
                raise GrammarError(
                    f"ebnf: the terminal {name} is declared and not defined",
                    where=name,
                    hint="Define it: nothing but the grammar says what it is.",
                )
            term = Term(_regular(name, self._read.patterns[name], self._ascii))
            made = term if self.between is None else Seq((term, self.between))
            self._terms[name] = made
        return made

    def _repeated(self, node: Any, operator: Any, *counts: Any) -> Expr:
        item = self.expr(node)
        if operator != "~":
            low, high = {"?": (0, 1), "*": (0, None), "+": (1, None)}[str(operator)]
            return _loop(item, low, high)
        if any(len(count) > 9 for count in counts):
            raise GrammarError("ebnf: a count above 999,999,999", where=f"~ {counts[0][:20]}")
        least, most = int(counts[0]), int(counts[-1])
        if not 0 <= least <= most:
            raise GrammarError(expected="0 <= low <= high", got=f"~ {least}..{most}", where="ebnf")
        return _loop(item, least, most)


def _regular(name: str, pattern: Any, ascii: bool) -> Regular:
    """A terminal's texts. lark keeps a plain string apart from a regular expression."""
    flags = "".join(sorted(flag for flag in pattern.flags if flag not in "lu"))
    try:
        if pattern.type == "str":
            if not flags:
                return Lit(str(pattern.value))
            return regex_regular(f"(?{flags}:{re.escape(pattern.value)})", ascii=ascii)
        value = f"(?{flags}:{pattern.value})" if flags else pattern.value
        return terminal_regular(value, ascii=ascii)
    except GrammarError as error:
        raise GrammarError(
            f"the terminal {name}: {error.message}", where=f"{name}, {error.where}", hint=error.hint
        ) from None


def _alt(items: list[Regular]) -> Regular:
    return items[0] if len(items) == 1 else Alt(tuple(items))


def _seq(items: list[Expr]) -> Expr:
    return items[0] if len(items) == 1 else Seq(tuple(items))


def _choice(items: list[Expr]) -> Expr:
    """Alternatives, once each; terminals alone are one terminal."""
    items = list(dict.fromkeys(items))
    terms = [item.regular for item in items if isinstance(item, Term)]
    if len(items) > 1 and len(terms) == len(items):
        return Term(_alt(terms))
    return items[0] if len(items) == 1 else Choice(tuple(items))


def _loop(item: Expr, low: int, high: int | None) -> Expr:
    return Term(Rep(item.regular, low, high)) if isinstance(item, Term) else Loop(item, low, high)
