"""The sampling arguments of `gen` and of a run, and how the two become `SamplingParams`.

A call's own arguments win over the run's, and the run's over `SamplingParams`' defaults (greedy,
128 tokens). SGLang's spellings are taken as they are: `max_new_tokens`, `top_k=-1` for all,
`return_logprob` with `top_logprobs_num`. An argument left at None is not given.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

from ..errors import GrammarError, InvalidRequestError, NotSupportedError
from ..types import SamplingParams, check_names
from .where import Where


class SharedOptions(TypedDict, total=False):
    """What every way to generate takes; see `SamplingParams` for the meanings."""

    max_new_tokens: int | None
    min_tokens: int | None
    stop: str | Sequence[str] | None
    stop_token_ids: Sequence[int] | None
    stop_regex: str | Sequence[str] | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    repetition_penalty: float | None
    logit_bias: Mapping[int, float] | None
    ignore_eos: bool | None
    deterministic: bool | None
    logprobs: int | None
    prompt_logprobs: int | None
    return_logprob: bool | None
    logprob_start_len: int | None
    top_logprobs_num: int | None
    return_text_in_logprobs: bool | None


class CommonOptions(SharedOptions, total=False):
    """What both `gen(...)` and `run(...)` take."""

    n: int | None


class SamplingOptions(CommonOptions, total=False):
    """All of them, the number of tokens by its own name too."""

    max_tokens: int | None


class GenOptions(CommonOptions, total=False):
    """What `gen(...)` takes beside its name and its second argument.

    dtype: the Python type of the value. regex, json_schema (a dict, a JSON text or a type), ebnf,
    structural_tag (a dict), grammar (a GrammarSpec, or a term of `espalier.grammar.terms`): what
    the text must match; the value stays text. tools: Python functions, one of which the model may
    call. choices: as `select`. heal: the last token before it may be taken back (healing.py).
    seed: this call's own. overwrite: the name may be set already.
    """

    dtype: Any
    regex: str | None
    json_schema: Any
    ebnf: str | None
    structural_tag: Any
    tools: Sequence[Callable[..., Any]] | None
    grammar: Any
    choices: Sequence[str] | None
    choices_method: Any
    heal: bool
    seed: int | None
    overwrite: bool


class TypedGenOptions(GenOptions, total=False):
    """The same where the second argument is a type."""

    max_tokens: int | None


class TextOptions(SharedOptions, total=False):
    """What `s.gen("x")` takes where its value is text."""

    regex: str | None
    json_schema: Any
    ebnf: str | None
    structural_tag: Any
    grammar: Any
    choices: Sequence[str] | None
    choices_method: Any
    heal: bool
    seed: int | None
    overwrite: bool


class ValueOptions(SharedOptions, total=False):
    """What `s.gen("x", Person)` takes."""

    max_tokens: int | None
    seed: int | None
    overwrite: bool


class SelectOptions(TypedDict, total=False):
    """What `select(...)` takes by name alone."""

    seed: int | None
    overwrite: bool


SAMPLING_NAMES = tuple(SamplingOptions.__annotations__)
_TUPLES = ("stop", "stop_token_ids", "stop_regex")
GEN_NAMES = tuple(dict.fromkeys(("name", *SAMPLING_NAMES, *GenOptions.__annotations__)))


def sampling_fields(given: Mapping[str, Any], where: Where | None = None) -> dict[str, Any]:
    """`SamplingParams` fields from the sampling arguments that were given.

    Raises InvalidRequestError, naming the field, for values that cannot be; NotSupportedError for
    `logprob_start_len`.
    """
    fields = {k: v for k, v in given.items() if k in SAMPLING_NAMES and v is not None}
    for name in ("return_logprob", "return_text_in_logprobs"):
        check_bool(name, fields.get(name, False))
    fields.pop("return_text_in_logprobs", None)
    if "max_new_tokens" in fields:
        if "max_tokens" in fields:
            raise InvalidRequestError(
                "both max_tokens and max_new_tokens are given", where="max_new_tokens"
            )
        fields["max_tokens"] = fields.pop("max_new_tokens")
    if "logprob_start_len" in fields:
        raise NotSupportedError(
            "logprob_start_len is not supported",
            where=str(where) if where else None,
            hint="Use prompt_logprobs=0 for the logprobs of the prompt.",
        )
    top = fields.pop("top_logprobs_num", None)
    if top is not None and ("logprobs" in fields or fields.get("return_logprob") is False):
        raise InvalidRequestError(
            expected="top_logprobs_num beside return_logprob=True, or logprobs alone",
            got=" and ".join(
                n for n in ("logprobs", "return_logprob", "top_logprobs_num") if n in given
            ),
            where="top_logprobs_num",
        )
    if fields.pop("return_logprob", top is not None) and "logprobs" not in fields:
        fields["logprobs"] = top or 0
    checked = check_fields(fields)
    return {**fields, **{name: getattr(checked, name) for name in _TUPLES if name in fields}}


def run_settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """A `Session`'s fields from a run's options. Raises InvalidRequestError for one that cannot
    be."""
    _check_run(options)
    return {
        "defaults": run_fields(options),
        "namespace": options.get("namespace", ""),
        "priority": options.get("priority", 0),
        "deadline": options.get("deadline"),
        "stream": bool(options.get("stream", False)),
        "synchronous": not options.get("use_thread", True),
        "text_in_logprobs": text_in_logprobs(options),
    }


def _check_run(options: Mapping[str, Any]) -> None:
    kinds: dict[str, tuple[Any, str]] = {
        "namespace": (str, "a string"),
        "priority": (int, "an integer"),
        "stream": (bool, "True or False"),
        "use_thread": (bool, "True or False"),
        "deadline": (int | float | None, "seconds > 0, or None"),
    }
    for name, (kind, expected) in kinds.items():
        value = options.get(name)
        wrong = name in options and not isinstance(value, kind)
        wrong |= isinstance(value, bool) and kind is not bool
        if wrong or (name == "deadline" and value is not None and not value > 0):
            raise InvalidRequestError(expected=expected, got=repr(value), where=name)


def check_spec_tokens(number: object) -> None:
    """Raise InvalidRequestError for a `num_api_spec_tokens` that is none."""
    if number is None or (isinstance(number, int) and number is not True and number >= 1):
        return
    raise InvalidRequestError(
        expected="a number of tokens >= 1", got=repr(number), where="num_api_spec_tokens"
    )


def check_bool(name: str, value: object) -> None:
    """Raise InvalidRequestError for what is neither True nor False."""
    if not isinstance(value, bool):
        raise InvalidRequestError(expected="True or False", got=repr(value)[:80], where=name)


def text_in_logprobs(options: Mapping[str, Any]) -> bool:
    """Whether a run's calls tell the text of each token beside its logprob."""
    given = options.get("sampling_params")
    base = given.get("return_text_in_logprobs") if isinstance(given, Mapping) else None
    own = options.get("return_text_in_logprobs")
    return bool(base if own is None else own)


def check_fields(fields: Mapping[str, Any]) -> SamplingParams:
    """Raise InvalidRequestError where the fields cannot be; an absent max_tokens bounds nothing."""
    return SamplingParams(**{"max_tokens": None, **fields})


def run_fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a run's `sampling_params` (a struct or a dict) and own arguments give.

    Raises InvalidRequestError, naming the field.
    """
    given = options.get("sampling_params")
    base: dict[str, Any] = {}
    if isinstance(given, Mapping):
        check_names("sampling_params", given, [*SAMPLING_NAMES, "seed"])
        base = sampling_fields(given)
    elif given is not None:
        if not isinstance(given, SamplingParams):
            raise InvalidRequestError(
                expected="SamplingParams or a dict", got=repr(given), where="sampling_params"
            )
        base = {name: getattr(given, name) for name in given.__struct_fields__ if name != "seed"}
    fields = {**base, **sampling_fields(options)}
    check_fields(fields)
    return fields


def run_seed(options: Mapping[str, Any]) -> int | None:
    """The program's seed, from which those of its calls are drawn: a run's own argument, or that
    of its `sampling_params`."""
    given = options.get("sampling_params")
    base = given.get("seed") if isinstance(given, Mapping) else getattr(given, "seed", None)
    own = options.get("seed")
    return base if own is None else own


def sampling_params(run: Mapping[str, Any], call: Mapping[str, Any], seed: int) -> SamplingParams:
    """The run's fields, overridden by the call's; `seed` where the call named none."""
    merged = {**run, **call}
    merged.setdefault("seed", seed)
    return SamplingParams(**merged)


def check_gen_names(what: str, given: Mapping[str, Any]) -> None:
    """Raise for an unknown keyword, with the nearest known one."""
    check_names(what, given, GEN_NAMES)


def check_regex(pattern: str, where: Where) -> str:
    """Refuse early what no regex parser reads; the exact dialect is the grammar engine's."""
    if not isinstance(pattern, str):
        raise InvalidRequestError(
            expected="the regex as a string", got=repr(pattern)[:80], where=str(where)
        )
    spelled = re.sub(r"\\[pP](\{[^}]*\}|.)", lambda found: "x" * len(found[0]), pattern)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # re's doubts about nested sets are not ours
            re.compile(spelled)
    except Exception as error:  # its own error, or whatever a hostile pattern makes of its parser
        at = getattr(error, "pos", None)
        raise GrammarError(
            f"the regex cannot be read: {getattr(error, 'msg', error)}",
            got=repr(pattern)[:80],
            where=str(where) if at is None else f"{where}, column {at + 1}",
        ) from error
    return pattern
