"""What a gen's text must match: the one of its arguments that says so, as a grammar."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidRequestError
from ..grammar.spec import GrammarSpec
from ..grammar.terms import Term, grammar as spec_of
from .options import check_regex
from .tools import checked_tools
from .typed import grammar_of, resolve_dtype, schema_grammar, structural_grammar
from .where import Where

_CONSTRAINTS = (
    "dtype", "regex", "json_schema", "ebnf", "structural_tag", "tools", "grammar",
)  # fmt: skip


def constraint(given: dict[str, Any], where: Where) -> tuple[Any, GrammarSpec | None]:
    """The type of the value (None: text) and the grammar. Raises InvalidRequestError where there
    are two, GrammarError for what is no grammar."""
    kinds = [name for name in _CONSTRAINTS if name in given]
    if len(kinds) > 1:
        raise InvalidRequestError(
            expected=f"one of {', '.join(_CONSTRAINTS)}",
            got=" and ".join(kinds),
            where=str(where),
        )
    if "regex" in given:
        return None, GrammarSpec.regex(check_regex(given["regex"], where))
    if "json_schema" in given:
        return None, schema_grammar(given["json_schema"])
    if "ebnf" in given:
        return None, GrammarSpec.ebnf(given["ebnf"])
    if "structural_tag" in given:
        return None, structural_grammar(given["structural_tag"], where)
    if "tools" in given:
        calls = checked_tools(given["tools"], where)
        return calls, calls.grammar
    if "grammar" in given:
        return None, _as_spec(given["grammar"], where)
    if "dtype" in given:
        dtype = resolve_dtype(given["dtype"])
        return dtype, grammar_of(dtype)
    return None, None


def _as_spec(given: object, where: Where) -> GrammarSpec:
    if isinstance(given, GrammarSpec):
        return given
    if isinstance(given, Term):
        return spec_of(given)
    raise InvalidRequestError(
        expected="a GrammarSpec, or a term of espalier.grammar.terms",
        got=repr(given)[:80],
        where=str(where),
    )
