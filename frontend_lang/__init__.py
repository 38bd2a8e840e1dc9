"""What a program says: the language of `gen`, `select`, `fork` and roles, and what runs it."""

from __future__ import annotations

from .async_state import AsyncForks, AsyncState
from .backends.anthropic import Anthropic
from .backends.default import flush_cache, get_server_info, set_default_backend
from .backends.http import HTTPBackend, RuntimeEndpoint
from .backends.later import Crusoe, LiteLLM, Runtime, ServerArgs, VertexAI, global_config
from .backends.openai import OpenAI
from .backends.scripted import Reply, Scripted
from .choices import (
    greedy_token_selection,
    token_length_normalized,
    unconditional_likelihood_normalized,
)
from .compiler.opaque import opaque
from .compiler.program import CompiledProgram
from .fork import Forks
from .function import Program, function
from .primitives import (
    assistant,
    assistant_begin,
    assistant_end,
    gen,
    gen_int,
    gen_string,
    image,
    select,
    separate_reasoning,
    system,
    system_begin,
    system_end,
    user,
    user_begin,
    user_end,
    video,
)
from .report import Report
from .state import ProgramState
from .tools import ToolCall, tool_list

__all__ = [
    "Anthropic",
    "AsyncForks",
    "AsyncState",
    "CompiledProgram",
    "Crusoe",
    "Forks",
    "HTTPBackend",
    "LiteLLM",
    "OpenAI",
    "Program",
    "ProgramState",
    "Reply",
    "Report",
    "Runtime",
    "RuntimeEndpoint",
    "Scripted",
    "ServerArgs",
    "ToolCall",
    "VertexAI",
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
    "opaque",
    "select",
    "separate_reasoning",
    "set_default_backend",
    "system",
    "system_begin",
    "system_end",
    "token_length_normalized",
    "tool_list",
    "unconditional_likelihood_normalized",
    "user",
    "user_begin",
    "user_end",
    "video",
]
