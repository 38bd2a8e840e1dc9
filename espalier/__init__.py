"""Espalier: language-model programs whose shared prefixes are computed once and whose outputs
cannot leave their grammar.

The public names are loaded on first use: importing this package imports neither torch nor the
engine.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_here = Path(__file__).resolve().parent
if not (_here / "runtime").is_dir() and (_here.parent / "runtime").is_dir():
    # A checkout: the part folders lie beside this one, not inside it (docs/adr/0001-packaging.md).
    __path__.append(str(_here.parent))

if TYPE_CHECKING:
    from .errors import EspalierError as EspalierError
    from .types import SamplingParams as SamplingParams

_HOME: dict[str, str] = {}
for _module, _names in {
    "errors": "BranchError DeadlineError EngineDeadError EngineError EspalierError GrammarError "
    "IncompleteError InvalidRequestError InvariantError ModelLoadError NotSupportedError "
    "OutOfSlotsError ProgramError RequestCancelledError VariableError",
    "types": "Chunk Result SamplingParams Times TokenLogprob",
    "frontend_lang": "Anthropic Forks HTTPBackend OpenAI Program ProgramState Reply Report Scripted "
    "assistant assistant_begin assistant_end flush_cache function gen gen_int gen_string "
    "greedy_token_selection image select separate_reasoning set_default_backend system "
    "system_begin system_end token_length_normalized unconditional_likelihood_normalized user "
    "user_begin user_end video",
    "grammar": "GrammarSpec",
    "runtime.engine": "Engine",
}.items():
    for _name in _names.split():
        _HOME[_name] = _module

__all__ = sorted([*_HOME, "__version__"])  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'espalier' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"espalier.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
