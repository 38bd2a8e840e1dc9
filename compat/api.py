"""The names of `import sglang`."""

from __future__ import annotations

from typing import Any

from ..frontend_lang.backends.default import resolve
from ..frontend_lang.backends.later import ServerArgs
from ..frontend_lang.primitives import (
    assistant,
    assistant_begin,
    assistant_end,
    image,
    separate_reasoning,
    system,
    system_begin,
    system_end,
    user,
    user_begin,
    user_end,
    video,
)
from ..runtime.engine import Engine
from .backends import Anthropic, Crusoe, LiteLLM, OpenAI, VertexAI
from .base_backend import BaseBackend
from .choices import (
    greedy_token_selection,
    token_length_normalized,
    unconditional_likelihood_normalized,
)
from .endpoint import Runtime, RuntimeEndpoint
from .global_config import global_config, set_default_backend
from .programs import function, gen, gen_int, gen_string, select
from .version import __version__


def flush_cache(backend: Any = None) -> int:
    """Drop every cached prefix that nobody uses; returns how many tokens that were."""
    return resolve(backend).flush_cache()


def get_server_info(backend: Any = None) -> dict[str, Any]:
    """What the backend is, and its counters."""
    return BaseBackend(resolve(backend)).get_server_info()


__all__ = [
    "Anthropic",
    "Crusoe",
    "Engine",
    "LiteLLM",
    "OpenAI",
    "Runtime",
    "RuntimeEndpoint",
    "ServerArgs",
    "VertexAI",
    "__version__",
    "assistant",
    "assistant_begin",
    "assistant_end",
    "flush_cache",
    "function",
    "gen",
    "gen_int",
    "gen_string",
    "get_server_info",
    "global_config",
    "greedy_token_selection",
    "image",
    "select",
    "separate_reasoning",
    "set_default_backend",
    "system",
    "system_begin",
    "system_end",
    "token_length_normalized",
    "unconditional_likelihood_normalized",
    "user",
    "user_begin",
    "user_end",
    "video",
]
