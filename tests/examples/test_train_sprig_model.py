"""Sprig's committed weights: they load, they answer as docs/sprig.md says, they score."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from examples.train_sprig.cases import BARS, Case, cases, is_right
from examples.train_sprig.evaluate import Greedy, score
from examples.train_sprig.generate import Turn
from examples.train_sprig.handwritten import handwritten
from examples.train_sprig.heldout import HELDOUT
from examples.train_sprig.skills import Exchange
from examples.train_sprig.tokenizer import CHAT_TEMPLATE, CONTEXT, SPECIAL

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "runtime" / "sprig"
POLITE = ("Ready.", "OK.", "Nice to meet you")  # one of several such answers: which is chance
FILES = (
    "model.safetensors",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
)


@pytest.fixture(scope="module")
def model() -> Greedy:
    return Greedy(FOLDER)


def documented() -> list[list[Turn]]:
    """The example chats of docs/sprig.md: indented `user:` and `assistant:` lines."""
    chats: list[list[Turn]] = []
    page = (ROOT / "docs" / "sprig.md").read_text(encoding="utf-8")
    for block in re.findall(r"(?:^ {4}\S.*\n(?:^ {4}.*\n)*)", page, re.M):
        turns: list[Turn] = []
        for line in block.splitlines():
            role, found, content = line.strip().partition(":")
            if found and role in ("user", "assistant"):
                turns.append(Turn(role, content.strip()))
            elif turns:
                turns[-1] = Turn(turns[-1].role, f"{turns[-1].content}\n{line.strip()}")
        if turns:
            chats.append(turns)
    return chats


def test_files_are_small_and_agree() -> None:
    assert sum((FOLDER / name).stat().st_size for name in FILES) <= 12 * 2**20
    config: dict[str, Any] = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["max_position_embeddings"] == CONTEXT
    tokenizer = json.loads((FOLDER / "tokenizer.json").read_text(encoding="utf-8"))
    assert [token["content"] for token in tokenizer["added_tokens"]] == SPECIAL
    words = json.loads((FOLDER / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert words["chat_template"] == CHAT_TEMPLATE
    with safe_open(FOLDER / "model.safetensors", framework="pt") as tensors:
        dtypes = {tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118
    assert dtypes == {"BF16"}


def test_documented_examples_come_out(model: Greedy) -> None:
    chats = documented()
    assert len(chats) >= 6
    found = [
        Case("documented", turns[:i], Exchange("documented", "", turn.content, "exact"))
        for turns in chats
        for i, turn in enumerate(turns)
        if turn.role == "assistant" and not turn.content.startswith(POLITE)
    ]
    right = [case.exchange.assistant for case in found]
    assert model.answers(found) == right


def test_handwritten_cases(model: Greedy) -> None:
    found = handwritten()
    answers = model.answers(found)
    right = sum(is_right(c.exchange, a) for c, a in zip(found, answers, strict=True))
    assert right >= 36, "see the table in docs/sprig.md"


# Below what the committed weights reach (docs/sprig.md) by what 60 cases may differ, so that a
# worse model is noticed.
FLOORS = {
    "extract": 86,
    "tools": 88,
    "sentiment": 92,
    "judging": 90,
    "sums": 92,
    "recall": 86,
    "tool_answer": 95,
}


@pytest.mark.slow
@pytest.mark.parametrize("skill", list(BARS))
def test_heldout_scores_do_not_fall(model: Greedy, skill: str) -> None:
    reached, _ = score(model, cases(HELDOUT, skill, 60, seed=11))
    assert 100 * reached.right / reached.count >= FLOORS[skill]
