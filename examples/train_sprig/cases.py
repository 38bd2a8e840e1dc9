"""Scored cases: drawn from a world's generator, and how an answer is judged right."""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass

from .generate import Turn, skill_turns
from .skills import Exchange
from .world import World

SKILLS = ("extract", "tools", "sentiment", "judging", "sums", "recall")
BARS = {
    "extract": 93,
    "tools": 93,
    "sentiment": 97,
    "judging": 90,
    "sums": 90,
    "recall": 90,
    "tool_answer": 90,
}


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
        system, turns = skill_turns(rng, world, "tools" if skill == "tool_answer" else skill)
        turns = [Turn("system", system), *turns] if system else turns
        scored = [
            i
            for i, turn in enumerate(turns)
            if turn.exchange and turn.exchange.skill == skill and turn.exchange.check != "none"
        ]
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
