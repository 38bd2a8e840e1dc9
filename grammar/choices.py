"""A list of strings to IR: one terminal, so that the machine keeps the list as one sorted table."""

from __future__ import annotations

import json

from ..errors import GrammarError
from .ir import Alt, GrammarIR, Lit, Term
from .spec import GrammarSpec


def choices_ir(spec: GrammarSpec) -> GrammarIR:
    """Raises GrammarError where the source is no JSON list of strings, or an empty one."""
    try:
        choices = json.loads(spec.source)
    except (ValueError, RecursionError) as error:
        raise GrammarError(
            "the choices are no JSON text", got=str(error), where="choices"
        ) from None
    if not isinstance(choices, list) or not all(isinstance(c, str) for c in choices):
        raise GrammarError(expected="a list of strings", got=repr(choices)[:80], where="choices")
    if not choices:
        raise GrammarError(expected="at least one choice", got="an empty list", where="choices")
    literals = [Lit(choice) for choice in dict.fromkeys(choices)]
    return GrammarIR({"start": Term(literals[0] if len(literals) == 1 else Alt(tuple(literals)))})
