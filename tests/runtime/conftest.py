"""Tiny checkpoints, made once a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Tiny(NamedTuple):
    """A checkpoint's folder, and transformers' model of it."""

    folder: Path
    reference: Any


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Tiny]:
    """tiny_model(name, text=False): one of `tests.tiny_models.TINY`; with `text`, a byte-level
    tokenizer of 406 tokens lies beside it."""
    made: dict[tuple[str, bool], Tiny] = {}

    def make(name: str, text: bool = False) -> Tiny:
        from tests.tiny_models import save_tiny
        from tests.tiny_tokenizers import save

        if (name, text) not in made:
            folder = tmp_path_factory.mktemp(name)
            more = {"vocab_size": 406} if text else {}
            made[name, text] = Tiny(folder, save_tiny(name, folder, **more))
            if text:
                save(folder, bos_token="<s>", eos_token="</s>")
        return made[name, text]

    return make
