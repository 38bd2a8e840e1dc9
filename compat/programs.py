"""`gen`, `select` and `function` with SGLang's parameters in SGLang's order, and its meanings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..errors import InvalidRequestError
from ..frontend_lang import primitives
from ..frontend_lang.backends.default import resolve
from ..frontend_lang.expr import Gen, Select
from ..frontend_lang.function import Program
from ..frontend_lang.session import Machine
from ..frontend_lang.state import ProgramState
from ..frontend_lang.typed import grammar_of, resolve_dtype
from .cache_prefix import cache_prefix
from .choices import own_method, token_length_normalized

Texts = str | Sequence[str] | None


class SglFunction(Program[Any]):
    """A program with SGLang's defaults: temperature 1, and names that may be set again."""

    def settings(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """What sessions take of a run's options."""
        made = super().settings(options)
        made["defaults"].setdefault("temperature", 1.0)
        return made

    def start_state(
        self, settings: Mapping[str, Any], machine: Machine, seed: int | None = None
    ) -> ProgramState:
        """A fresh state for one run."""
        state = super().start_state(settings, machine, seed)
        state.names.loops += 1
        return state

    def run_batch(self, batch_kwargs: Iterable[Any], **options: Any) -> Any:  # type: ignore[override]
        """`Program.run_batch`, whose first argument SGLang calls so."""
        return super().run_batch(batch_kwargs, **options)

    def cache(self, backend: Any = None) -> int:
        """Compute what every run of the program begins with; returns how many tokens that is."""
        return cache_prefix(self, resolve(backend))


def function(func: Callable[..., Any] | None = None, num_api_spec_tokens: int | None = None) -> Any:
    """Make a function of a state `s` (and arguments) a program."""

    def made(body: Callable[..., Any]) -> SglFunction:
        if not callable(body):
            raise InvalidRequestError(expected="a function", got=repr(body)[:80])
        return SglFunction(body, num_api_spec_tokens=num_api_spec_tokens)

    return made if func is None else made(func)


def gen(
    name: str | None = None,
    max_tokens: int | None = None,
    min_tokens: int | None = None,
    n: int | None = None,
    stop: Texts = None,
    stop_token_ids: Sequence[int] | None = None,
    stop_regex: Texts = None,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    min_p: float | None = None,
    frequency_penalty: float | None = None,
    presence_penalty: float | None = None,
    ignore_eos: bool | None = None,
    return_logprob: bool | None = None,
    logprob_start_len: int | None = None,
    top_logprobs_num: int | None = None,
    return_text_in_logprobs: bool | None = None,
    dtype: type | str | None = None,
    choices: Sequence[str] | None = None,
    choices_method: Any = None,
    regex: str | None = None,
    json_schema: Any = None,
) -> Gen[Any] | Select:
    """Generate text; with a dtype, JSON of that type, whose value stays text. With choices it is
    `select`, and what a select has no use for is left out, as SGLang leaves it out."""
    given = dict(locals())
    if choices:
        return select(name, choices, temperature or 0.0, choices_method or token_length_normalized)
    if dtype is not None:
        given["dtype"] = None
        given["grammar"] = grammar_of(resolve_dtype(dtype))
    return primitives.gen(**given)


def _typed(kind: type) -> Callable[..., Gen[Any]]:
    """`gen` without what the kind says already."""
    signature = inspect.signature(gen)
    said = {"min_tokens", "dtype", "choices", "choices_method", "regex", "json_schema"}
    own = [part for name, part in signature.parameters.items() if name not in said]
    signature = signature.replace(parameters=own)

    def gen_typed(*args: Any, **options: Any) -> Gen[Any]:
        given = signature.bind(*args, **options).arguments
        made: Gen[Any] = primitives.gen(**given, grammar=grammar_of(kind))
        return made

    gen_typed.__name__ = gen_typed.__qualname__ = {int: "gen_int", str: "gen_string"}[kind]
    gen_typed.__doc__ = f"Generate JSON of a Python {kind.__name__}; the value is its text."
    gen_typed.__signature__ = signature  # type: ignore[attr-defined]
    return gen_typed


gen_int = _typed(int)
gen_string = _typed(str)


def select(
    name: str | None = None,
    choices: Sequence[str] | None = None,
    temperature: float = 0.0,
    choices_method: Any = token_length_normalized,
) -> Select:
    """Let the model choose one of `choices`."""
    return primitives.select(name, choices, temperature, own_method(choices_method))
