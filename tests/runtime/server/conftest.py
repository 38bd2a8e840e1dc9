"""An engine with the embedded model, and one without arithmetic, each started once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from espalier.runtime.engine import Engine
from tests.runtime.server.models import random_models
from tests.runtime.serving import InProcess
from tests.tiny_tokenizers import save

__all__ = ["null", "null_engine", "random_models", "sprig", "sprig_engine"]


@pytest.fixture(scope="session")
def sprig_engine() -> Iterator[Engine]:
    with Engine("sprig", inline=True) as engine:
        yield engine


@pytest.fixture
def sprig(sprig_engine: Engine) -> InProcess:
    """A server of the embedded model. Every test leaves nothing running."""
    return InProcess(sprig_engine)


@pytest.fixture(scope="session")
def null_engine(text_folder: Path) -> Iterator[Engine]:
    with Engine("null", tokenizer=text_folder, inline=True) as engine:
        yield engine


@pytest.fixture
def null(null_engine: Engine) -> InProcess:
    """A server of the model that computes nothing."""
    return InProcess(null_engine, served_model_names=("null",))


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer with a chat template, for servers of the null model."""
    return save(
        tmp_path_factory.mktemp("tokenizer"),
        eos_token="<|end|>",
        chat_template="{% for message in messages %}{{ message.content }}{% endfor %}",
    )
