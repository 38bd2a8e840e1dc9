"""The words of the language: `gen`, `select`, the roles, and the names that wait for later issues.

Every function here returns an expression; nothing runs before `s += expression`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NoReturn, TypeVar, Unpack, overload

from ..errors import InvalidRequestError, NotSupportedError
from ..types import check_names
from .choices import resolve_method
from .constraints import constraint
from .expr import (
    Expr,
    ExprList,
    Gen,
    RoleBegin,
    RoleEnd,
    Select,
    Text,
    as_expr,
    check_name,
    check_text,
    describe,
    flatten,
    join,
)
from .options import (
    GenOptions,
    TypedGenOptions,
    check_bool,
    check_fields,
    check_gen_names,
    sampling_fields,
)
from .reasoning import ReasoningFormat, reasoning_format
from .where import Where, caller, said_at

T = TypeVar("T")
ROLES = ("system", "user", "assistant")


@overload
def gen(
    name: str | None = None, max_tokens: int | None = None, **options: Unpack[GenOptions]
) -> Gen[Any]: ...
@overload
def gen(name: str | None, dtype: type[T], /, **options: Unpack[TypedGenOptions]) -> Gen[T]: ...
@overload
def gen(name: str | None, dtype: object, /, **options: Unpack[TypedGenOptions]) -> Gen[Any]: ...
def gen(*args: Any, **options: Any) -> Any:
    """Generate text, or a value, and keep it under `name`.

    The second argument is either a number of tokens or a Python type: `gen("age", int)`,
    `gen("who", Person)` constrain the text to JSON of that type, and `s["who"]` is a Person.
    Keywords: those of `SamplingParams`; `regex`, `json_schema` (a dict, a JSON text or a type),
    `ebnf`, `structural_tag` (a dict of `tags` and `triggers`, as `GrammarSpec.structural_tag` takes
    them) and `grammar` (a GrammarSpec, or a term of `espalier.grammar.terms`) constrain the text,
    whose value stays a string; `tools` are Python functions, of which the model may call one
    (tools.py); `choices` is `select`; `seed`; `overwrite=True` lets the name be set
    again. Without a name the text is kept in order, and is
    part of `s.text()`.

    Raises InvalidRequestError for a value that cannot be and for an unknown keyword.
    """
    where = caller()
    with said_at(where):
        return _gen(args, options, where)


def _gen(args: tuple[Any, ...], options: dict[str, Any], where: Where) -> Gen[Any] | Select:
    check_gen_names("gen", options)
    name = _positional(args, options, where)
    check_name(name, where, optional=True)
    given = {key: value for key, value in options.items() if value is not None}
    if "choices" in given:
        return _gen_choices(name, given, where)
    if "choices_method" in given:
        raise InvalidRequestError("choices_method is given without choices", where=str(where))
    dtype, grammar = constraint(given, where)
    params = sampling_fields(given, where)
    if "seed" in given:
        params["seed"] = given["seed"]
        check_fields(params)
    for flag in ("overwrite", "heal"):
        check_bool(flag, given.get(flag, False))
    heal = given.get("heal", False)
    if heal and grammar is not None and (dtype is not None or grammar.kind != "regex"):
        raise InvalidRequestError(
            "heal=True goes with free text or a regex alone",
            where=str(where),
            hint="What begins with a token of its own, as JSON does, needs no healing.",
        )
    return Gen(
        name,
        params,
        where,
        grammar=grammar,
        dtype=dtype,
        overwrite=given.get("overwrite", False),
        text_in_logprobs=given.get("return_text_in_logprobs"),
        heal=heal,
    )


def _positional(args: tuple[Any, ...], options: dict[str, Any], where: Where) -> Any:
    """The name; a second argument goes to the options, by what it is."""
    if len(args) > 2:
        raise InvalidRequestError(
            expected="at most two positional arguments (the name, and max_tokens or a type)",
            got=str(len(args)),
            where=str(where),
            hint="Give the others by name.",
        )
    named = {}
    if args:
        named["name"] = args[0]
    if len(args) > 1 and args[1] is not None:
        typed = not isinstance(args[1], int) or isinstance(args[1], bool)
        named["dtype" if typed else "max_tokens"] = args[1]
    for key, value in named.items():
        if options.get(key) is not None:
            raise InvalidRequestError(f"{key} is given twice", where=str(where))
        options[key] = value
    return options.pop("name", None)


def gen_int(name: str | None = None, max_tokens: int | None = None, **options: Any) -> Gen[int]:
    """`gen(name, int)`: an integer in JSON's spelling, read back as an int."""
    return _typed("gen_int", int, name, {**options, "max_tokens": max_tokens})


def gen_string(name: str | None = None, max_tokens: int | None = None, **options: Any) -> Gen[str]:
    """`gen(name, str)`: a JSON string with its quotes, read back as the text between them."""
    return _typed("gen_string", str, name, {**options, "max_tokens": max_tokens})


def _typed(what: str, dtype: type[T], name: str | None, options: dict[str, Any]) -> Gen[T]:
    with said_at(caller()):
        check_gen_names(what, options)
    for taken in ("dtype", "choices", "name"):
        if taken in options:
            raise InvalidRequestError(f"{what} has no parameter {taken!r}", where=str(caller()))
    return gen(name, dtype, **options)


def select(
    name: str | None = None,
    choices: Sequence[str] | None = None,
    temperature: float = 0.0,
    choices_method: Any = None,
    *,
    seed: int | None = None,
    overwrite: bool = False,
    **unknown: Any,
) -> Select:
    """Let the model choose one of `choices`, and keep it under `name`.

    Every choice is scored as the canonical tokens of the text that it makes with the constant text
    before it, so that no choice is judged by a tokenisation the model never saw. The likeliest
    wins (or, with a temperature, is drawn); `s.get_meta_info(name)` has all probabilities.
    choices_method: None for the probability of the whole choice, or `token_length_normalized`,
    `greedy_token_selection`, `unconditional_likelihood_normalized`.

    Raises InvalidRequestError for choices that are empty, not strings or not distinct.
    """
    where = caller()
    known = ("name", "choices", "temperature", "choices_method", "seed", "overwrite")
    fields: dict[str, Any] = {"temperature": temperature}
    if seed is not None:
        fields["seed"] = seed
    with said_at(where):
        check_names("select", unknown, known)
        check_name(name, where, optional=True)
        check_fields(fields)
        check_bool("overwrite", overwrite)
        method = resolve_method(choices_method)
        if method is not None and method.rule is not None and temperature > 0:
            raise InvalidRequestError(
                expected="temperature 0 with a rule of one's own, which chooses itself",
                got=repr(temperature),
                where="temperature",
            )
        checked = _checked_choices(choices, where)
        if "" in checked and method is not None and method.rule is None:
            raise InvalidRequestError(
                expected=f"choices with a token each, of which {method.name} takes the mean",
                got="an empty choice",
                where=str(where),
                hint="choices_method=None weighs where a choice ends, too.",
            )
        return Select(
            name,
            checked,
            where,
            temperature=temperature,
            method=method,
            seed=seed,
            overwrite=overwrite,
        )


def _gen_choices(name: str | None, given: dict[str, Any], where: Where) -> Select:
    allowed = ("choices", "choices_method", "temperature", "seed", "overwrite")
    for key in given:
        if key not in allowed:
            raise InvalidRequestError(
                f"gen(choices=...) takes no {key}",
                where=str(where),
                hint=f"Beside choices it takes {', '.join(allowed[1:])}.",
            )
    given["temperature"] = given.get("temperature", 0.0)
    return select(name, **given)


def _checked_choices(choices: Any, where: Where) -> tuple[str, ...]:
    if choices is None or isinstance(choices, str) or not isinstance(choices, Sequence):
        raise InvalidRequestError(
            expected="a list of strings to choose from", got=repr(choices)[:80], where=str(where)
        )
    if not choices:
        raise InvalidRequestError(
            expected="at least one choice", got="an empty list", where=str(where)
        )
    made: dict[str, None] = {}
    for choice in choices:
        if not isinstance(choice, str):
            raise InvalidRequestError(
                expected="choices that are strings",
                got=repr(choice)[:80],
                where=str(where),
                hint="Write str(...) around the values.",
            )
        choice = str.__str__(choice)  # a subclass may show itself otherwise
        check_text(choice, where)
        if choice in made:
            raise InvalidRequestError(
                expected="distinct choices", got=f"{choice!r} twice", where=str(where)
            )
        made[choice] = None
    return tuple(made)


def _role(role: str, content: Expr | str | None) -> ExprList:
    where = caller()
    inner = [] if content is None else [as_expr(content)]
    return join([RoleBegin(role, where), *inner, RoleEnd(role, where)])


def system(expr: Expr | str | None = None) -> ExprList:
    """A system message."""
    return _role("system", expr)


def user(expr: Expr | str | None = None) -> ExprList:
    """A user's message."""
    return _role("user", expr)


def assistant(expr: Expr | str | None = None) -> ExprList:
    """The assistant's message: what `gen` says inside it ends at the model's end of turn."""
    return _role("assistant", expr)


def system_begin() -> RoleBegin:
    """Opens a system message, which `system_end()` closes."""
    return RoleBegin("system", caller())


def system_end() -> RoleEnd:
    """Closes the system message."""
    return RoleEnd("system", caller())


def user_begin() -> RoleBegin:
    """Opens a user's message, which `user_end()` closes."""
    return RoleBegin("user", caller())


def user_end() -> RoleEnd:
    """Closes the user's message."""
    return RoleEnd("user", caller())


def assistant_begin() -> RoleBegin:
    """Opens the assistant's message, which `assistant_end()` closes."""
    return RoleBegin("assistant", caller())


def assistant_end() -> RoleEnd:
    """Closes the assistant's message: writes the end of turn, once."""
    return RoleEnd("assistant", caller())


def _later(what: str, hint: str) -> NoReturn:
    raise NotSupportedError(f"{what} is not built yet", where=str(caller()), hint=hint)


def image(expr: object) -> Expr:
    """An image in the prompt. Not built yet."""
    _later(f"image({expr!r:.60})", "Describe the image in text; no vision model can be loaded.")


def video(path: object, num_frames: int) -> Expr:
    """A video in the prompt. Not built yet."""
    _later(
        f"video({path!r:.60}, {num_frames})",
        "Describe the video in text; no vision model can be loaded.",
    )


def separate_reasoning(expr: Expr | None = None, model_type: str | None = None) -> ExprList:
    """Tell a thinking model's reasoning from its answer, in every named gen of `expr`.

    `separate_reasoning(gen("x"), model_type="qwen3")`: `s["x"]` is the answer,
    `s["x_reasoning_content"]` the reasoning, both also while they stream; the state goes on with
    the answer alone. model_type: how the model marks its reasoning; `reasoning.FORMATS` has them.

    Raises InvalidRequestError for a gen without a name, with a grammar or a type, and for a select;
    NotSupportedError for a model type that is not known.
    """
    where = caller()
    form = reasoning_format(model_type, where)
    if not isinstance(expr, Expr):
        raise InvalidRequestError(
            expected="an expression with a gen in it", got=repr(expr)[:80], where=str(where)
        )
    return join([_reasoned(part, form, where) for part in flatten(expr)])


def _reasoned(part: Expr, form: ReasoningFormat, where: Where) -> Expr:
    if isinstance(part, Select):
        raise InvalidRequestError(
            f"{describe(part)} has no reasoning to separate",
            where=str(where),
            hint="Let a gen think first, and select behind it.",
        )
    if not isinstance(part, Gen):
        return part
    if part.name is None or part.grammar is not None or part.heal:
        what = "a name" if part.name is None else "no type, grammar or healing beside it"
        raise InvalidRequestError(
            f"separate_reasoning wants a gen with {what}", got=describe(part), where=str(where)
        )
    return replace(part, reasoning=form)


__all__ = [
    "ROLES",
    "Text",
    "assistant",
    "assistant_begin",
    "assistant_end",
    "gen",
    "gen_int",
    "gen_string",
    "image",
    "select",
    "separate_reasoning",
    "system",
    "system_begin",
    "system_end",
    "user",
    "user_begin",
    "user_end",
    "video",
]
