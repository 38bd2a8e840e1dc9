"""What may be said: regexes, JSON schemas, choices and types become token masks.

The public names are loaded on first use, so that describing a grammar (`GrammarSpec`) loads neither
numpy nor the machine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..errors import GrammarError as GrammarError
    from .compiler import CompiledGrammar as CompiledGrammar, GrammarCompiler as GrammarCompiler
    from .frontend import Limits as Limits, parse as parse
    from .ir import GrammarIR as GrammarIR
    from .matcher import Matcher as Matcher
    from .pool import MaskPool as MaskPool
    from .spec import GrammarSpec as GrammarSpec
    from .vocabulary import Vocabulary as Vocabulary

_HOME = {
    "CompiledGrammar": ".compiler",
    "GrammarCompiler": ".compiler",
    "GrammarError": "..errors",
    "GrammarIR": ".ir",
    "GrammarSpec": ".spec",
    "Limits": ".frontend",
    "MaskPool": ".pool",
    "Matcher": ".matcher",
    "Vocabulary": ".vocabulary",
    "parse": ".frontend",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'espalier.grammar' has no attribute {name!r}")
    value = getattr(importlib.import_module(home, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
