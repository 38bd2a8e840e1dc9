"""`sglang.lang.global_config`: the default backend, and settings that have one value here."""

from __future__ import annotations

from typing import Any

from ..errors import NotSupportedError
from ..frontend_lang.backends import default
from .base_backend import BaseBackend

# What each is here, and what to do for another value.
_FIXED: dict[str, tuple[Any, str]] = {
    "verbosity": (0, "Print state.text() after a run."),
    "skip_special_tokens_in_output": (True, "Texts leave special tokens out; token ids have them."),
    "spaces_between_special_tokens_in_out": (True, "Texts leave special tokens out."),
    "enable_precache_with_tracing": (True, "esp.Engine(enable_radix_cache=False) has no cache."),
    "enable_parallel_encoding": (
        False,
        "join('concate_and_append') joins texts: KV computed apart is not what a model computes "
        "(docs/adr/0006-no-spliced-kv.md).",
    ),
}


class GlobalConfig:
    """See the module's docstring."""

    @property
    def default_backend(self) -> Any:
        """The backend of every run that names none, or None; with SGLang's methods."""
        found = default.current()
        if found is not None and not isinstance(found, BaseBackend):
            found = BaseBackend(found)
            default.set_default_backend(found)
        return found

    @default_backend.setter
    def default_backend(self, backend: Any) -> None:
        set_default_backend(backend)

    def __getattr__(self, name: str) -> Any:
        if name not in _FIXED:
            raise AttributeError(f"sglang's global_config has no {name!r}")
        return _FIXED[name][0]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and value != _FIXED[name][0]:
            raise NotSupportedError(
                f"global_config.{name} can only be {_FIXED[name][0]!r}",
                got=repr(value)[:80],
                where=f"global_config.{name}",
                hint=_FIXED[name][1],
            )
        if name == "default_backend":
            object.__setattr__(self, name, value)
        elif name not in _FIXED:
            raise NotSupportedError(
                f"global_config has no {name!r}",
                expected="one of default_backend, " + ", ".join(_FIXED),
                where=f"global_config.{name}",
                hint="Settings of an engine are arguments of esp.Engine.",
            )


def set_default_backend(backend: Any) -> None:
    """The backend of every run that names none: an engine, a server, a Runtime; None takes it
    away."""
    if backend is not None and not isinstance(backend, BaseBackend):
        backend = BaseBackend(backend)
    default.set_default_backend(backend)


global_config = GlobalConfig()

__all__ = ["GlobalConfig", "global_config"]
