"""Which backend a run uses: the one it is given, or the default that somebody set.

The default is the one global of the frontend, and it is explicit: nothing starts an engine unasked.
"""

from __future__ import annotations

from typing import Any

from ...errors import InvalidRequestError
from .base import Backend
from .engine import EngineBackend, looks_like_engine

_default: Backend | None = None


def as_backend(value: Any) -> Backend:
    """A Backend as it is, an Engine behind its adapter; anything else is refused."""
    if looks_like_engine(value):
        return EngineBackend(value)
    if isinstance(value, Backend):
        return value
    raise InvalidRequestError(
        expected="a backend: esp.Engine(...), esp.HTTPBackend(url), esp.OpenAI(model), "
        "esp.Anthropic(model), esp.Scripted(...)",
        got=f"{type(value).__name__} {value!r:.80}",
        where="backend",
    )


def set_default_backend(backend: Any) -> None:
    """The backend of every run that names none; None takes it away."""
    global _default
    _default = None if backend is None else as_backend(backend)


def current() -> Backend | None:
    """The default, if there is one."""
    return _default


def resolve(backend: Any = None) -> Backend:
    """The given backend, or the default. Raises InvalidRequestError where there is neither."""
    if backend is not None:
        return as_backend(backend)
    if _default is None:
        raise InvalidRequestError(
            "no backend is set",
            where="backend",
            hint="Call esp.set_default_backend(esp.Engine()) first (Engine() runs the embedded "
            "model), or give backend= to run().",
        )
    return _default


def get_server_info(backend: Any = None) -> dict[str, Any]:
    """What the backend is (an engine's model, sizes, device) and its counters, as plain data."""
    found = resolve(backend)
    return {**found.info(), "stats": found.stats()}


def flush_cache(backend: Any = None) -> int:
    """Drop every cached prefix that nobody uses; returns how many tokens that were."""
    return resolve(backend).flush_cache()
