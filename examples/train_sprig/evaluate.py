"""Scores a model folder per skill, free-running and greedy: `python -m ...evaluate FOLDER`.

`--docs` writes the table between the markers of docs/sprig.md.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from .generate import Turn, skill_turns
from .skills import Exchange
from .world import World

SKILLS = ("extract", "tools", "sentiment", "judging", "sums", "recall")
BARS = {"extract": 93, "tools": 93, "sentiment": 97, "judging": 90, "sums": 90, "recall": 90,
        "tool_answer": 90}


@dataclass(frozen=True)
class Case:
    """Turns up to the last user turn, and the exchange whose answer is asked for."""

    skill: str
    turns: list[Turn]
    exchange: Exchange


def cases(world: World, skill: str, count: int, seed: int = 0) -> list[Case]:
    """`count` cases of one skill, in chats of right answers before them."""
    rng = random.Random(f"{seed}-{skill}")
    found: list[Case] = []
    while len(found) < count:
        _, turns = skill_turns(rng, world, "tools" if skill == "tool_answer" else skill)
        scored = [i for i, turn in enumerate(turns)
                  if turn.exchange and turn.exchange.skill == skill and turn.exchange.check != "none"]
        if scored:
            index = rng.choice(scored)
            exchange = turns[index].exchange
            assert exchange is not None
            found.append(Case(skill, turns[:index], exchange))
    return found


def is_right(exchange: Exchange, answer: str) -> bool:
    """Whether an answer is right by the exchange's check."""
    if exchange.check == "json":
        try:
            return bool(json.loads(answer) == json.loads(exchange.assistant))
        except json.JSONDecodeError:
            return False
    if exchange.check == "number":
        numbers = re.findall(r"-?\d+", answer)
        return bool(numbers) and numbers[-1] == re.findall(r"-?\d+", exchange.assistant)[-1]
    if exchange.check == "contains":
        return exchange.key in answer
    return answer.strip().rstrip(".").lower() == exchange.assistant.lower()


class Greedy:
    """Greedy answers by transformers' generate, fp32, batched with left padding."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(folder)
        self.tokenizer.padding_side = "left"
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def prompt(self, turns: list[Turn]) -> str:
        """The rendered chat with the assistant's header."""
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        return str(self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True))

    def answers(self, chats: list[list[Turn]], batch: int = 16) -> list[str]:
        """One answer per chat."""
        prompts = [self.prompt(turns) for turns in chats]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        answers = [""] * len(prompts)
        for start in range(0, len(order), batch):
            rows = order[start:start + batch]
            inputs = self.tokenizer([prompts[i] for i in rows], return_tensors="pt", padding=True,
                                    add_special_tokens=False, return_token_type_ids=False)
            with torch.inference_mode():
                out = self.model.generate(**inputs, max_new_tokens=120, do_sample=False)
            width = inputs["input_ids"].shape[1]
            for i, row in zip(rows, out[:, width:], strict=True):
                answers[i] = self.tokenizer.decode(row, skip_special_tokens=True)
        return answers


def score(model: Greedy, found: list[Case]) -> tuple[int, list[tuple[Case, str]]]:
    """How many are right, and the wrong ones with their answers."""
    answers = model.answers([case.turns for case in found])
    wrong = [(case, answer) for case, answer in zip(found, answers, strict=True)
             if not is_right(case.exchange, answer)]
    return len(found) - len(wrong), wrong
