"""SGLang's names that are not built, or not needed here: they exist, and say so when used."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from ...errors import NotSupportedError


class _Later:
    """A name whose use raises NotSupportedError with `hint`."""

    reason: ClassVar[str] = "is not built yet"
    hint: ClassVar[str]

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        name = type(self).__name__
        raise NotSupportedError(f"{name} {self.reason}", where=name, hint=self.hint)


class LiteLLM(_Later):
    """LiteLLM's many APIs as a backend. Not built yet."""

    hint = "Use esp.OpenAI(model, base_url=...), which speaks to every server of OpenAI's API."


class VertexAI(_Later):
    """Google's Vertex AI as a backend. Not built yet."""

    hint = "Use esp.OpenAI(model, base_url=...), which speaks to every server of OpenAI's API."


class Crusoe(_Later):
    """Crusoe's API as a backend: it is OpenAI's."""

    reason = "is not a thing of its own here"

    hint = "Use esp.OpenAI(model, base_url=...), which speaks to every server of OpenAI's API."


class Runtime(_Later):
    """SGLang's server in a process of its own. Not a thing of its own here."""

    reason = "is not a thing of its own here"
    hint = "Use esp.Engine(model): it runs in a process of its own, and is itself a backend."


class ServerArgs(_Later):
    """SGLang's options of an engine. Not a thing of its own here."""

    reason = "is not a thing of its own here"
    hint = "Give the options to esp.Engine(...) by name."


class _GlobalConfig:
    """SGLang's module-wide settings: here there are none."""

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)  # what tools ask of every object
        self._refuse(name)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        self._refuse(name)

    def _refuse(self, name: str) -> NoReturn:
        raise NotSupportedError(
            f"global_config.{name}: no settings are shared by all engines",
            where="global_config",
            hint="Use esp.set_default_backend(...) for the backend, and options of esp.Engine(...) "
            "or of run(...) for the rest.",
        )


global_config = _GlobalConfig()
"""See `_GlobalConfig`."""
