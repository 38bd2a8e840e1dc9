"""Synthetic twins of the example programs: their shapes, with texts drawn at random."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from ..frontend_lang.compiler.opaque import opaque
from ..frontend_lang.expr import Gen
from ..frontend_lang.function import Program, function
from ..frontend_lang.primitives import gen, select
from ..frontend_lang.state import ProgramState

State = ProgramState
_LETTERS = "badefigohukaleminopurasetivowuyazo"


def words(rng: random.Random, count: int) -> str:
    """So many words that no model knows."""
    drawn = ("".join(rng.choices(_LETTERS, k=rng.randint(2, 6))) for _ in range(count))
    return " ".join(drawn)


_RNG = random.Random("constants")
HEAD = words(_RNG, 120) + "\n"
SHOTS = words(_RNG, 300) + "\n"
ASPECTS = [words(_RNG, 25) for _ in range(6)]
PASSAGES = [words(_RNG, 80) for _ in range(8)]
LABELS = ["good", "bad", "mixed"]


def say(name: str, tokens: int) -> Gen[Any]:
    """A gen that takes all the tokens that it may."""
    return gen(name, tokens, ignore_eos=True)


@function
def self_consistency(s: State, question: str) -> None:
    s += HEAD + question
    branches = s.fork(5)
    for number, branch in enumerate(branches):
        branch += f" sample {number}:" + say("answer", 40)
    branches.join()


@opaque
def observe(said: str) -> str:
    """What a tool says: as much for every call, and another text for another call."""
    return words(random.Random(said), 30)


@function
def react(s: State, question: str) -> None:
    s += HEAD + question
    for turn in range(4):
        s += "\nThought:" + say(f"thought{turn}", 25)
        s += "\nAction: " + select(f"action{turn}", ["find", "add", "end"])
        s += "\nInput:" + say(f"input{turn}", 10)
        s += "\nObservation: " + observe(s[f"input{turn}"])
    s += "\nAnswer:" + say("answer", 20)


@function
def tree_of_thought(s: State, question: str) -> None:
    s += HEAD + question
    level: list[State] = [s]
    for depth in range(3):
        grown: list[State] = []
        for state in level:
            branches = state.fork(3)
            for number, branch in enumerate(branches):
                branch += f"\nIdea {depth}.{number}:" + say(f"idea{depth}", 40)
            grown.extend(branches)
        level = grown if depth == 2 else [grown[0], grown[-1]]
    for state in level:
        state += "\nSo:" + say("end", 20)


@function
def skeleton_of_thought(s: State, topic: str) -> None:
    s += HEAD + topic + "\nPoints:" + say("points", 60)
    branches = s.fork(5)
    for number, branch in enumerate(branches):
        branch += f"\nPoint {number} at length:" + say("text", 60)
    branches.join()
    s += "".join(f"\n{text}" for text in s["text"]) + say("end", 20)


@function
def judge(s: State, article: str) -> None:
    s += HEAD + article
    branches = s.fork(len(ASPECTS))
    for branch, aspect in zip(branches, ASPECTS, strict=True):
        branch += f"\n{aspect}:" + say("verdict", 20)
    branches.join()
    s += "\nAll:" + "".join(f"\n{number} {v}" for number, v in enumerate(s["verdict"]))
    s += say("merged", 20)


@function
def json_from_page(s: State, page: str) -> None:
    s += SHOTS + page + "\nRecord:" + say("record", 60)


@function
def chat(s: State, first: str, second: str, third: str) -> None:
    s += HEAD
    for number, turn in enumerate((first, second, third)):
        s += f"\nUser: {turn}\nAssistant:" + say(f"answer{number}", 50)


@opaque
def retrieve(question: str) -> list[str]:
    """Two passages; which, depends on the question."""
    return random.Random(question).sample(PASSAGES, 2)


@function
def rag(s: State, question: str) -> None:
    found = retrieve(question)
    s += HEAD + f"{found[0]}\n{found[1]}\nQuestion: " + question + say("answer", 40)


@function
def few_shot(s: State, review: str) -> None:
    s += SHOTS + review + "\nLabel: " + select("label", LABELS)


@function
def characters(s: State, who: str) -> None:
    s += HEAD + who + say("character", 60)


@dataclass(frozen=True)
class Twin:
    """A program, and the lengths of its arguments in words."""

    name: str
    program: Program[...]
    lengths: tuple[int, ...]

    def entry(self, rng: random.Random) -> tuple[str, ...]:
        """One program's arguments."""
        return tuple(words(rng, length) for length in self.lengths)


TWINS = [
    Twin("self_consistency", self_consistency, (60,)),
    Twin("react", react, (60,)),
    Twin("tree_of_thought", tree_of_thought, (60,)),
    Twin("skeleton_of_thought", skeleton_of_thought, (80,)),
    Twin("judge", judge, (250,)),
    Twin("json_from_page", json_from_page, (250,)),
    Twin("chat", chat, (60, 60, 60)),
    Twin("rag", rag, (40,)),
    Twin("few_shot", few_shot, (60,)),
    Twin("characters", characters, (10,)),
]
