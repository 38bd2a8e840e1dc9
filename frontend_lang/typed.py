"""From a Python type to a grammar, and from the text that it let through to a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import (
    EspalierError,
    GrammarError,
    IncompleteError,
    InvalidRequestError,
    ProgramError,
)
from ..grammar.spec import GrammarSpec
from ..types import check_names
from .tools import ToolCalls
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


def structural_grammar(given: Any, where: Where) -> GrammarSpec:
    """A grammar from `structural_tag=`: a dict of what `GrammarSpec.structural_tag` takes; SGLang's
    `{"type": "structural_tag", "structures": [...], "triggers": [...]}` is the same."""
    if not isinstance(given, Mapping):
        raise InvalidRequestError(
            expected="a dict of tags and triggers",
            got=repr(given)[:80],
            where=f"{where}, structural_tag",
        )
    named = {("tags" if key == "structures" else str(key)): value for key, value in given.items()}
    if named.get("type") == "structural_tag":
        del named["type"]
    check_names("structural_tag", named, ("tags", "triggers", "at_least_one", "stop_after_first"))
    for name in ("tags", "triggers"):
        if name not in named:
            raise InvalidRequestError(
                f"structural_tag lacks its {name}", where=f"{where}, structural_tag"
            )
    return GrammarSpec.structural_tag(**named)


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

    if isinstance(dtype, ToolCalls) and dtype.is_answer(text):
        return text, None
    if incomplete is not None:
        return None, cut_value(text, incomplete, what, where)
    try:
        return (dtype.value(text) if isinstance(dtype, ToolCalls) else convert(dtype, text)), None
    except Exception as error:
        name = getattr(dtype, "__name__", dtype)
        says = f"the text is no {name}: {error}"
        if isinstance(error, GrammarError):  # it says so already
            says = error.message
        refusal = ProgramError(
            f"{what}: {says}",
            got=repr(text)[:200],
            where=str(where),
        )
        refusal.__cause__ = error
        return None, refusal
