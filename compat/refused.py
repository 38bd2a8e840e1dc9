"""Names of SGLang that exist here to say what to use instead."""

from __future__ import annotations

from typing import Any

from ..errors import NotSupportedError


def refused(name: str, hint: str) -> type:
    """A class of that name whose use raises NotSupportedError with `hint`."""

    def refuse(_self: object, *_args: Any, **_kwargs: Any) -> None:
        raise NotSupportedError(f"sglang's {name} is not supported", where=name, hint=hint)

    text = f"SGLang's {name}: not supported. {hint}"
    return type(name, (), {"__init__": refuse, "__doc__": text, "__module__": __name__})
