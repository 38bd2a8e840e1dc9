"""Backends that are not built yet: their names exist, and say so when used."""

from __future__ import annotations

from typing import Any, NoReturn

from ...errors import NotSupportedError


def _later(name: str, hint: str) -> NoReturn:
    raise NotSupportedError(f"{name} is not built yet", where=name, hint=hint)


class HTTPBackend:
    """A program's backend over HTTP to `espalier serve`. Not built yet."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        _later("HTTPBackend", "Use esp.Engine(...) in this process.")


class OpenAI:
    """An OpenAI-compatible API as a backend. Not built yet."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        _later("OpenAI", "Use esp.Engine(...), or esp.Scripted(...) in tests.")


class Anthropic:
    """An Anthropic-compatible API as a backend. Not built yet."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        _later("Anthropic", "Use esp.Engine(...), or esp.Scripted(...) in tests.")
