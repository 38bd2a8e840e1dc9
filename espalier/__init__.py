"""Espalier: language-model programs whose shared prefixes are computed once and whose outputs
cannot leave their grammar.

The public names are loaded on first use: importing this package imports neither torch nor the
engine.
"""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_here = Path(__file__).resolve().parent
if not (_here / "runtime").is_dir() and (_here.parent / "runtime").is_dir():
    # A checkout: the part folders lie beside this one, not inside it (docs/adr/0001-packaging.md).
    __path__.append(str(_here.parent))

if TYPE_CHECKING:
    from .errors import (
        APIError as APIError,
        APITimeoutError as APITimeoutError,
        AuthenticationError as AuthenticationError,
        BranchError as BranchError,
        ContextLengthError as ContextLengthError,
        DeadlineError as DeadlineError,
        EngineDeadError as EngineDeadError,
        EngineError as EngineError,
        EspalierError as EspalierError,
        GrammarError as GrammarError,
        IncompleteError as IncompleteError,
        InvalidRequestError as InvalidRequestError,
        InvariantError as InvariantError,
        ModelLoadError as ModelLoadError,
        NotSupportedError as NotSupportedError,
        OutOfSlotsError as OutOfSlotsError,
        ProgramError as ProgramError,
        RateLimitError as RateLimitError,
        RequestCancelledError as RequestCancelledError,
        ServerError as ServerError,
        VariableError as VariableError,
    )
    from .frontend_lang import (
        Anthropic as Anthropic,
        AsyncForks as AsyncForks,
        AsyncState as AsyncState,
        CompiledProgram as CompiledProgram,
        Crusoe as Crusoe,
        Forks as Forks,
        HTTPBackend as HTTPBackend,
        LiteLLM as LiteLLM,
        OpenAI as OpenAI,
        Program as Program,
        ProgramState as ProgramState,
        Reply as Reply,
        Report as Report,
        Runtime as Runtime,
        RuntimeEndpoint as RuntimeEndpoint,
        Scripted as Scripted,
        ServerArgs as ServerArgs,
        ToolCall as ToolCall,
        VertexAI as VertexAI,
        assistant as assistant,
        assistant_begin as assistant_begin,
        assistant_end as assistant_end,
        flush_cache as flush_cache,
        function as function,
        gen as gen,
        gen_int as gen_int,
        gen_string as gen_string,
        get_server_info as get_server_info,
        global_config as global_config,
        greedy_token_selection as greedy_token_selection,
        image as image,
        opaque as opaque,
        select as select,
        separate_reasoning as separate_reasoning,
        set_default_backend as set_default_backend,
        system as system,
        system_begin as system_begin,
        system_end as system_end,
        token_length_normalized as token_length_normalized,
        tool_list as tool_list,
        unconditional_likelihood_normalized as unconditional_likelihood_normalized,
        user as user,
        user_begin as user_begin,
        user_end as user_end,
        video as video,
    )
    from .grammar.spec import (
        GrammarSpec as GrammarSpec,
    )
    from .runtime.engine import (
        Engine as Engine,
    )
    from .types import (
        Chunk as Chunk,
        Result as Result,
        SamplingParams as SamplingParams,
        Times as Times,
        TokenLogprob as TokenLogprob,
    )

_HOME: dict[str, str] = {}
for _module, _names in {
    "errors": "APIError APITimeoutError AuthenticationError BranchError ContextLengthError "
    "DeadlineError EngineDeadError EngineError EspalierError GrammarError IncompleteError "
    "InvalidRequestError InvariantError ModelLoadError NotSupportedError OutOfSlotsError "
    "ProgramError RateLimitError RequestCancelledError ServerError VariableError",
    "types": "Chunk Result SamplingParams Times TokenLogprob",
    "frontend_lang": "Anthropic AsyncForks AsyncState CompiledProgram Crusoe Forks HTTPBackend "
    "LiteLLM OpenAI Program ProgramState Reply Report Runtime RuntimeEndpoint Scripted ServerArgs "
    "ToolCall VertexAI assistant assistant_begin assistant_end flush_cache function gen gen_int "
    "gen_string get_server_info global_config greedy_token_selection image opaque select "
    "separate_reasoning set_default_backend system system_begin system_end "
    "token_length_normalized tool_list unconditional_likelihood_normalized user user_begin "
    "user_end video",
    "grammar": "GrammarSpec",
    "runtime.engine": "Engine",
}.items():
    for _name in _names.split():
        _HOME[_name] = _module

__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        near = difflib.get_close_matches(name, __all__, n=1)
        hint = f". Did you mean {near[0]!r}?" if near else ""
        # Without the module as `obj`, a traceback adds no hint of its own.
        raise AttributeError(
            f"module 'espalier' has no attribute {name!r}{hint}", name=name, obj=None
        )
    value = getattr(importlib.import_module(f"espalier.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
