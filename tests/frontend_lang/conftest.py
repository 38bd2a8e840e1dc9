"""A tiny random Llama with a tokenizer of its own, on an engine in this thread."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import espalier as esp
from tests.frontend_lang import machines

CHAT = (
    "{{ '<s>' }}{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '</s>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The model folder, and transformers' own model of it."""
    from tests.tiny_models import save_tiny

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = machines.byte_level()
    model = save_tiny(
        "llama3",
        folder,
        vocab_size=tokenizer.vocab_size,
        bos_token_id=tokenizer.bos_id,
        eos_token_id=next(iter(tokenizer.eos_ids)),
        max_position_embeddings=1024,
    )
    tokenizer.raw.save(str(folder / "tokenizer.json"))
    config = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True, "chat_template": CHAT}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder, model


@pytest.fixture(scope="session")
def engine(tiny: tuple[Path, Any]) -> Iterator[esp.Engine]:
    """One engine for all; each test takes a namespace of its own where the cache matters."""
    with esp.Engine(str(tiny[0]), inline=True) as made:
        yield made
        made.check_invariants()
