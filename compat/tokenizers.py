"""`sglang.srt.utils.hf_transformers_utils`: a model's tokenizer, as transformers has it."""

from __future__ import annotations

from typing import Any

from ..errors import NotSupportedError
from ..runtime.locate import resolve_folder


def get_tokenizer(
    tokenizer_name: str,
    *args: Any,
    tokenizer_mode: str = "auto",
    trust_remote_code: bool = False,
    tokenizer_revision: str | None = None,
    **kwargs: Any,
) -> Any:
    """transformers' tokenizer of a folder, a hub id or "sprig". Other arguments are its own.

    Raises NotSupportedError for code from the hub; ModelLoadError where there is no such model.
    """
    if trust_remote_code:
        raise NotSupportedError(
            "code from the hub is never run",
            where="trust_remote_code",
            hint="Most tokenizers need none: leave it out.",
        )
    from transformers import AutoTokenizer

    if tokenizer_mode == "slow":
        kwargs["use_fast"] = False
    folder = resolve_folder(tokenizer_name, revision=tokenizer_revision)
    return AutoTokenizer.from_pretrained(str(folder), *args, **kwargs)


__all__ = ["get_tokenizer"]
