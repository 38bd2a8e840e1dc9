"""Registers the modules of this folder under SGLang's names."""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

from ..errors import InvalidRequestError

_HERE = __name__.rpartition(".")[0]
# SGLang's module, and the one of this folder that stands for it; "" where it only holds others.
MODULES = {
    "sglang": "api",
    "sglang.lang": "",
    "sglang.lang.api": "api",
    "sglang.lang.backend": "",
    "sglang.lang.backend.anthropic": "backends",
    "sglang.lang.backend.base_backend": "base_backend",
    "sglang.lang.backend.crusoe": "backends",
    "sglang.lang.backend.litellm": "backends",
    "sglang.lang.backend.openai": "backends",
    "sglang.lang.backend.runtime_endpoint": "endpoint",
    "sglang.lang.backend.vertexai": "backends",
    "sglang.lang.chat_template": "chat_template",
    "sglang.lang.choices": "choices",
    "sglang.lang.global_config": "global_config",
    "sglang.lang.interpreter": "interpreter",
    "sglang.lang.ir": "ir",
    "sglang.lang.tracer": "tracer",
    "sglang.srt": "",
    "sglang.srt.parser": "",
    "sglang.srt.parser.reasoning_parser": "reasoning_parser",
    "sglang.srt.utils": "devices",
    "sglang.srt.utils.hf_transformers_utils": "tokenizers",
    "sglang.test": "",
    "sglang.test.test_utils": "command_line",
    "sglang.utils": "utils",
    "sglang.version": "version",
}


class Alias(ModuleType):
    """A module under SGLang's name, with all public names of the one that stands for it."""


def install_sglang_alias() -> ModuleType:
    """Let `import sglang` mean Espalier, in this process; returns that module.

    Raises InvalidRequestError where SGLang itself is imported already. Calling it again does
    nothing.
    """
    found = sys.modules.get("sglang")
    if isinstance(found, Alias):
        return found
    if found is not None:
        raise InvalidRequestError(
            "sglang itself is imported already",
            where=str(getattr(found, "__file__", "sglang")),
            hint="Call install_sglang_alias() before anything imports sglang.",
        )
    made = {name: _made(name, source) for name, source in MODULES.items()}
    for name, module in made.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(made[parent], child, module)
    sys.modules.update(made)
    return made["sglang"]


def remove_sglang_alias() -> None:
    """Take the alias away again; what was imported from it stays what it is."""
    for name in [n for n, module in sys.modules.items() if isinstance(module, Alias)]:
        del sys.modules[name]


def _made(name: str, source: str) -> ModuleType:
    is_package = any(other.startswith(name + ".") for other in MODULES)
    module = Alias(name, f"Espalier's {name} (espalier.compat).")
    module.__spec__ = ModuleSpec(name, None, is_package=is_package)
    if is_package:
        module.__path__ = []
    if source:
        real = importlib.import_module(f"{_HERE}.{source}")
        names = real.__all__
        module.__dict__.update({public: getattr(real, public) for public in names})
        module.__dict__["__all__"] = list(names)
    return module
