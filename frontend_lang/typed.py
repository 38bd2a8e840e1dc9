"""From a Python type to a grammar, and from the text that it let through to a value."""

from __future__ import annotations

from typing import Any

from ..errors import EspalierError, IncompleteError, InvalidRequestError, ProgramError
from ..grammar.spec import GrammarSpec
from .where import Where

_CURES = {
    "length": "Raise max_tokens. ",
    **dict.fromkeys(("stop", "stop string"), "Drop the stop string. "),
    "deadline": "Give the run a longer deadline. ",
}
_NAMED: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str, "string": str}


def resolve_dtype(dtype: Any) -> Any:
    """The type itself; SGLang's names for the simple ones ("int") are taken too."""
    if isinstance(dtype, str):
        if dtype not in _NAMED:
            raise InvalidRequestError(
                expected="a Python type, or one of " + ", ".join(sorted(_NAMED)),
                got=repr(dtype),
                where="dtype",
            )
        return _NAMED[dtype]
    return dtype


def grammar_of(dtype: Any) -> GrammarSpec:
    """The JSON texts that `value_of` turns into a `dtype`. Raises GrammarError for other types."""
    return GrammarSpec.python_type(dtype)


def schema_grammar(schema: Any) -> GrammarSpec:
    """A grammar from `json_schema=`: a dict, a bool, a JSON text, or a Python type."""
    if isinstance(schema, dict | bool | str):
        return GrammarSpec.json_schema(schema)
    return GrammarSpec.python_type(schema)


def cut_value(text: str, incomplete: str, what: str, where: Where) -> IncompleteError:
    """What the read of a value raises whose text was cut before its grammar ended."""
    error = IncompleteError(
        f"{what} was cut before its value ended ({incomplete})",
        got=repr(text)[:200],
        where=str(where),
        hint=_CURES.get(incomplete, "") + "The text so far is in get_meta_info(name)['text'], and "
        "in this error's `text`.",
    )
    error.text = text
    return error


def value_of(
    dtype: Any, text: str, incomplete: str | None, what: str, where: Where
) -> tuple[Any, EspalierError | None]:
    """The typed value of a text, or the error that its read raises.

    IncompleteError where the text was cut before its grammar ended; ProgramError where the type's
    own checks (a validator, a range that JSON Schema cannot say) refuse it.
    """
    from ..grammar.python_types import value_of as convert

    if incomplete is not None:
        return None, cut_value(text, incomplete, what, where)
    try:
        return convert(dtype, text), None
    except Exception as error:
        refusal = ProgramError(
            f"{what}: the text is no {getattr(dtype, '__name__', dtype)}: {error}",
            got=repr(text)[:200],
            where=str(where),
        )
        refusal.__cause__ = error
        return None, refusal
