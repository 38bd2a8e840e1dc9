"""Makes chats of one or several skills, by seed: the same seed gives the same chats.

A chat is a list of `Turn`s. `python -m examples.train_sprig.generate` prints some.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from dataclasses import dataclass

from . import drills, recall_templates, skills, skills_chat
from .skills import Exchange
from .world import TRAIN, World


@dataclass(frozen=True)
class Turn:
    """One message; `exchange` is set on an assistant's turn that can be scored."""

    role: str
    content: str
    exchange: Exchange | None = None


# Shares of the chats. `repeat` and `drill` are no skills of their own: they teach copying and the
# small sums inside the worked form with far more answer tokens a row than the skills do.
MIX = {
    "extract": 44,
    "tools": 21,
    "sentiment": 11,
    "judging": 9,
    "sums": 6,
    "recall": 15,
    "repeat": 6,
    "drill": 3,
    "small_talk": 1,
}


def _turns(exchanges: list[Exchange]) -> list[Turn]:
    turns = []
    for exchange in exchanges:
        turns += [Turn("user", exchange.user), Turn("assistant", exchange.assistant, exchange)]
    return turns


def skill_turns(rng: random.Random, world: World, skill: str) -> tuple[str, list[Turn]]:
    """A system text (may be empty) and the turns of one round of one skill."""
    if skill == "tools":
        system, exchanges = skills.tool_use(rng, world)
        return system, _turns(exchanges)
    if skill == "judging":
        leading, exchanges = skills_chat.judging(rng, world)
        roles = ("user", "assistant")
        turns = [Turn(role, text) for role, text in zip(roles, leading, strict=False)]
        return "", turns + _turns(exchanges)
    if skill == "recall":
        return "", recall_turns(rng, world)
    makers = {
        "extract": skills.extract,
        "sentiment": skills_chat.sentiment,
        "sums": skills_chat.sums,
        "repeat": drills.repeat,
        "drill": drills.drill,
        "small_talk": skills_chat.small_talk,
    }
    return "", _turns(makers[skill](rng, world))


def recall_turns(rng: random.Random, world: World) -> list[Turn]:
    """Facts, up to a few turns of other skills, then questions about the facts."""
    statements, questions = skills_chat.recall(rng, world)
    turns = _turns(statements)
    for _ in range(rng.choice([0, 0, 1, 1, 2, 3])):
        other = rng.choice(["extract", "sentiment", "sums", "judging", "small_talk", "tools"])
        turns += skill_turns(rng, world, other)[1] if other != "tools" else []
    return turns + _turns(questions)


def chat(rng: random.Random, world: World = TRAIN, rounds: int | None = None) -> list[Turn]:
    """A chat of `rounds` skill rounds (by default mostly one), maybe with a system turn."""
    count = rounds or rng.choice([1, 1, 1, 1, 1, 1, 2, 2, 3, 4])
    system, turns = "", list[Turn]()
    for index in range(count):
        skill = rng.choices(list(MIX), list(MIX.values()))[0]
        text, more = skill_turns(rng, world, skill)
        if text and index:  # tools listed in the system turn must come first
            continue
        if skill == "sums" and any(turn.content.startswith('{"tool"') for turn in turns):
            continue  # who has a tool that adds is answered by it
        system = system or text
        turns += more
    if not turns:
        return chat(rng, world, rounds)
    if not system and rng.random() < 0.15:
        system = rng.choice(recall_templates.SYSTEMS)
    return ([Turn("system", system)] if system else []) + turns


def chats(seed: int, world: World = TRAIN) -> Iterator[list[Turn]]:
    """An endless stream of chats."""
    rng = random.Random(seed)
    while True:
        yield chat(rng, world)


def render(turns: list[Turn]) -> str:
    """The chat as the template renders it."""
    return "<|bos|>" + "".join(f"<|{turn.role}|>{turn.content}<|end|>" for turn in turns)


def main() -> None:
    """Prints a few chats to look at."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=20)
    options = parser.parse_args()
    for _, turns in zip(range(options.count), chats(options.seed), strict=False):
        for turn in turns:
            print(f"{turn.role:>10}: {turn.content}")
        print("-" * 80)


if __name__ == "__main__":
    main()
