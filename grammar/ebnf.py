"""Context-free grammars in lark's syntax, or in GBNF: what is written with `::=` is GBNF (gbnf.py).

lark reads its own syntax: rules, terminals, templates, `%import` from its library, `%ignore`,
`~ n..m`. What it leaves are plain rules over terminals, and terminals as regular expressions; the
language is that of the texts they derive (as lark's Earley parser with its dynamic lexer has it):
no terminal is preferred for being longer, so a mask never depends on where a lexer would cut.
`%ignore`d terminals may stand before and after every terminal.
"""

from __future__ import annotations

import re
from typing import Any

from ..errors import GrammarError
from .gbnf import gbnf_ir
from .ir import Alt, Choice, Expr, GrammarIR, Lit, Ref, Regular, Rep, Seq, Term
from .regex import regex_regular, terminal_regular

_QUOTED = re.compile(r'"(?:\\.|[^"\\\r\n])*"|\[(?:\\.|[^\]\\\r\n])*\]|(?:#|//)[^\r\n]*')
_PLACE = re.compile(r"line (\d+),? column (\d+)")
_LIBRARY = ("common", "unicode", "python", "lark")
_START = "start"


def ebnf_ir(text: str, *, ascii: bool = False) -> GrammarIR:
    """The grammar of the texts that `text` derives from its rule `start` (GBNF: `root`).

    Raises GrammarError with a line and column, or with the name of a rule or terminal.
    """
    if "::=" in _QUOTED.sub('""', text):
        return gbnf_ir(text)
    terminals, rules, ignored = _read(text)
    patterns = {terminal.name: terminal.pattern for terminal in terminals}
    between: Term | None = None
    if ignored:
        skipped = [_regular(name, patterns[name], ascii) for name in ignored]
        between = Term(Rep(skipped[0] if len(skipped) == 1 else Alt(tuple(skipped)), 0, None))
    found: dict[str, list[Expr]] = {}
    made: dict[str, Expr] = {}
    for rule in rules:
        items: list[Expr] = []
        for symbol in rule.expansion:
            if not symbol.is_term:
                items.append(Ref(str(symbol.name)))
                continue
            if symbol.name not in made:
                if symbol.name not in patterns:
                    raise GrammarError(
                        f"ebnf: the terminal {symbol.name} is declared and not defined",
                        where=symbol.name,
                        hint="Define it: nothing but the grammar says what it is.",
                    )
                term = Term(_regular(symbol.name, patterns[symbol.name], ascii))
                made[symbol.name] = term if between is None else Seq((term, between))
            items.append(made[symbol.name])
        found.setdefault(str(rule.origin.name), []).append(_seq(items))
    if _START not in found:
        raise GrammarError(
            expected=f"a rule named {_START!r}, where every text begins",
            got=", ".join(list(found)[:8]) or "no rules",
            where="ebnf",
        )
    grammar: dict[str, Expr] = {
        name: ways[0] if len(ways) == 1 else Choice(tuple(ways)) for name, ways in found.items()
    }
    if between is None:
        return GrammarIR(grammar, _START)
    return GrammarIR(grammar | {"*": Seq((between, Ref(_START)))}, "*")


def _read(text: str) -> tuple[list[Any], list[Any], list[str]]:
    """What lark makes of the grammar: terminals, rules, names of ignored terminals."""
    from lark.exceptions import LarkError
    from lark.load_grammar import GrammarBuilder

    class Builder(GrammarBuilder):
        """Imports from lark's own library and reads no other file, however it is spelled."""

        def do_import(
            self, dotted_path: Any, base_path: Any, aliases: Any, base_mangle: Any = None
        ) -> None:
            if isinstance(base_path, str) or str(dotted_path[0]) not in _LIBRARY:
                raise GrammarError(
                    f"ebnf: the import of {'.'.join(map(str, dotted_path))}",
                    expected=f"one from lark's library: {', '.join(_LIBRARY)}",
                    where="ebnf",
                    hint="Write the rule into the grammar itself; no files are read.",
                )
            try:
                super().do_import(dotted_path, base_path, aliases, base_mangle)
            except OSError:
                raise GrammarError(
                    f"ebnf: the import of {'.'.join(map(str, dotted_path))}",
                    expected="a module of lark's library, and names of it in parentheses",
                    where="ebnf",
                    hint="Write %import common.WORD or %import common (WORD, INT).",
                ) from None

    try:
        builder = Builder(True, [])
        builder.load_grammar(text, "<ebnf>")
        grammar = builder.build()
        terminals, rules, ignored = grammar.compile([_START], set())
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
    return terminals, rules, ignored


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


def _seq(items: list[Expr]) -> Expr:
    return items[0] if len(items) == 1 else Seq(tuple(items))
