"""Chat templates: Jinja, sandboxed, rendered as transformers renders them.

A template comes with a checkpoint and is untrusted code: it runs in jinja2's immutable sandbox, and
sees plain JSON values only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.meta
import jinja2.nodes
import jinja2.parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ..errors import InvalidRequestError

_REASONING = ("reasoning_content", "thinking", "reasoning")
# What a template that gets what it did not expect may raise, and what the sandbox does.
_COMPLAINTS = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)
_ALWAYS = ("messages", "tools", "documents", "add_generation_prompt")
_PROBE = "What is said here"


class _Generation(jinja2.ext.Extension):
    """`{% generation %}` marks what the model said; rendering takes its body as it stands."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Unlike Jinja's own, does not escape HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _plain(value: Any) -> Any:
    """`value` rebuilt of JSON types, so that a template can reach no method of ours."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    raise InvalidRequestError(
        expected="JSON values in messages and tools", got=type(value).__name__, where="messages"
    )


class ChatTemplate:
    """One compiled template. `variables` are those every rendering sees (bos_token, ...)."""

    def __init__(self, source: str, variables: Mapping[str, str]) -> None:
        self.source = source
        self._variables = dict(variables)
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = _strftime_now
        try:
            tree = environment.parse(source)
            self._literals = _literal_text(tree)
            self._reads_names = jinja2.meta.find_undeclared_variables(tree)
            self._own_names = {*environment.globals, *self._variables, *_ALWAYS}
            self._render: Callable[..., str] = environment.from_string(source).render
        except jinja2.TemplateError as error:
            raise InvalidRequestError(
                f"the chat template cannot be compiled: {error}", where="chat_template"
            ) from error

    def reads(self, variable: str) -> bool:
        """Whether the template reads a variable of this name, which whoever asks may give: not what
        is always given, as its tokens (`bos_token`), nor a function of ours or of Jinja's."""
        return variable in self._reads_names - self._own_names

    def names(self, token: str) -> bool:
        """Whether the template itself writes `token`."""
        return token in self._literals

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The chat as text. Raises InvalidRequestError with the template's own complaint."""
        try:
            return self._render(
                {
                    **_plain(variables or {}),
                    **self._variables,
                    "messages": [self._formed(_with_reasoning(_plain(m))) for m in messages],
                    "tools": _plain(tools),
                    "documents": None,
                    "add_generation_prompt": add_generation_prompt,
                }
            )
        except _COMPLAINTS as error:
            raise InvalidRequestError(
                f"the chat template refuses these messages: {error}", where="messages"
            ) from error

    def _formed(self, message: dict[str, Any]) -> dict[str, Any]:
        """The message with its content in a form that the template reads: those of models with
        images may read lists of parts alone, and drop a string in silence; others strings alone."""
        content = message.get("content")
        if isinstance(content, str) and self._reads == {"parts"}:
            return {**message, "content": [{"type": "text", "text": content}]}
        if isinstance(content, list) and self._reads == {"string"}:
            given = [part.get("text") for part in content if isinstance(part, dict)]
            texts = [text for text in given if isinstance(text, str)]
            if len(texts) == len(content):
                return {**message, "content": "".join(texts)}
        return message

    @cached_property
    def _reads(self) -> set[str]:
        forms = {"string": _PROBE, "parts": [{"type": "text", "text": _PROBE}]}
        return {form for form, content in forms.items() if self._writes(content)}

    def _writes(self, content: Any) -> bool:
        """Whether such a content comes out as its text, and not as a list's source."""
        try:
            text = self._render(
                messages=[{"role": "user", "content": content}],
                tools=None,
                documents=None,
                add_generation_prompt=False,
                **self._variables,
            )
        except _COMPLAINTS:
            return False
        quoted = (f"'{_PROBE}'", f'"{_PROBE}"')
        return _PROBE in text and not any(quote in text for quote in quoted)


def _with_reasoning(message: dict[str, Any]) -> dict[str, Any]:
    """Templates disagree on the name of a message's reasoning; give it under those they read."""
    found = next((message[name] for name in _REASONING if message.get(name) is not None), None)
    if found is None:
        return message
    return {"thinking": found, **message, "reasoning_content": found}


def _literal_text(tree: jinja2.nodes.Template) -> str:
    texts = [node.data for node in tree.find_all(jinja2.nodes.TemplateData)]
    constants = [node.value for node in tree.find_all(jinja2.nodes.Const)]
    return "\0".join([*texts, *(value for value in constants if isinstance(value, str))])
