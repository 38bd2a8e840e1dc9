"""Retrieval: the notes that share the rarest words with a question, then the question.

python examples/rag.py
"""

from __future__ import annotations

import math
import re

import espalier as esp

NOTES = [
    "My name is Zorina.",
    "My dog is called Bolt.",
    "I live in Lisbon.",
    "My favorite color is green.",
    "My sister is called Ida.",
]


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


@esp.opaque
def retrieve(question: str, count: int) -> list[str]:
    """The notes that share the rarest words with the question, best first."""
    rarity = {
        word: math.log(1 + len(NOTES) / sum(word in words(note) for note in NOTES))
        for note in NOTES
        for word in words(note)
    }
    asked = words(question)

    def weight(note: str) -> float:
        return sum(rarity[word] for word in sorted(words(note) & asked))

    return sorted(NOTES, key=weight, reverse=True)[:count]


@esp.function
def answer(s: esp.ProgramState, question: str = "What is my dog called?", notes: int = 2) -> str:
    notes = min(notes, len(NOTES))
    found = retrieve(question, notes)
    for at in range(notes):
        s += esp.user(f"{found[at]}") + esp.assistant("OK.")
    s += esp.user(question)
    s += esp.assistant(esp.gen("answer", 30))
    return s["answer"]


def main() -> None:
    with esp.Engine() as engine:
        state = answer.run(backend=engine)
        print(state.text())
        print(state.report())


if __name__ == "__main__":
    main()
