"""From a `GrammarSpec` to IR: what a compile worker runs.

Pure, without a vocabulary, and bounded: by text sizes and nesting here and in the front ends, and
by a count of automaton states. Every hostile input ends in a GrammarError.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import GrammarError
from .arena import Arena
from .choices import choices_ir
from .facts import Facts
from .ir import GrammarIR, Term
from .program import Program
from .regex import regex_regular
from .spec import GrammarSpec


@dataclass(frozen=True)
class Limits:
    """source: characters of a spec's text. states: automaton states made while checking it. An
    engine makes these again, between two steps: some 20 microseconds each."""

    source: int = 16 << 20
    states: int = 40_000


def parse(spec: GrammarSpec, limits: Limits | None = None) -> GrammarIR:
    """The grammar of `spec`, checked: it matches something, and every rule it calls is there.

    Raises GrammarError, naming the feature and the column or JSON pointer.
    """
    return check(spec, limits or Limits())[0]


def make_ready() -> None:
    """Has lark load its tables, so that the first grammar in its syntax need not wait for them."""
    parse(GrammarSpec.ebnf('start: "a"'))


def check(spec: GrammarSpec, limits: Limits) -> tuple[GrammarIR, Facts]:
    """As `parse`, with what was found out on the way."""
    if spec.size > limits.source:
        raise GrammarError(
            expected=f"a grammar of at most {limits.source} characters",
            got=str(spec.size),
            where=spec.kind,
        )
    try:
        grammar = grammar_of(spec)
        return grammar, Program(Arena(allowance=limits.states), grammar).facts
    except RecursionError:
        raise GrammarError("the grammar is nested too deeply", where=spec.kind) from None
    except GrammarError as error:
        if spec.kind == "json_schema" and error.where == "start":
            error.where = "#"
        raise


def grammar_of(spec: GrammarSpec) -> GrammarIR:
    """The grammar of `spec` as its front end makes it, unchecked. Raises GrammarError."""
    if spec.kind == "regex":
        return GrammarIR({"regex": Term(regex_regular(spec.source, ascii=spec.ascii))}, "regex")
    if spec.kind == "choices":
        return choices_ir(spec)
    if spec.kind == "ebnf":
        from .ebnf import ebnf_ir

        return ebnf_ir(spec.source, ascii=spec.ascii)
    if spec.kind == "structural_tag":
        from .structural import structural_ir

        return structural_ir(spec.source)
    if spec.kind == "terms":
        from .terms import terms_ir

        return terms_ir(spec.source)
    from .json_schema import json_schema_ir

    return json_schema_ir(spec.source, spec)
