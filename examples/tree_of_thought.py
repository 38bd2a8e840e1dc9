"""Tree of thought: plans branch, each is carried out and judged, and the judged ones are compared.

Every level forks what has been said so far, so its text is computed once whatever the number of
branches. Thinking needs a clever model: the embedded one cannot, and main() runs a script.

python examples/tree_of_thought.py
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import espalier as esp

QUESTION = "Use 4, 9, 10 and 13 to make 24."


@esp.opaque
def best(answers: list[str], marks: list[str]) -> str:
    """The first answer with the highest mark."""
    return answers[max(range(len(answers)), key=lambda at: marks[at])]


@esp.function
def tree_of_thought(
    s: esp.ProgramState, question: str = QUESTION, plans: int = 2, tries: int = 2
) -> str:
    s += f"Question: {question}\n"
    answers, marks = [], []
    branches = s.fork(plans)
    for number, branch in enumerate(branches):
        branch += f"Plan {number + 1}:" + esp.gen("plan", 80, stop="\n", temperature=0.8)
        attempts = branch.fork(tries)
        for at, attempt in enumerate(attempts):
            attempt += f"\nTry {at + 1}:" + esp.gen("try", 120, stop="\n", temperature=0.8)
            attempt += "\nMark from 1 to 5: " + esp.select("mark", ["1", "2", "3", "4", "5"])
        attempts.join()
        answers += branch["try"]
        marks += branch["mark"]
    branches.join()
    chosen = best(answers, marks)
    s += f"The best try:{chosen}\nSo the answer is" + esp.gen("answer", 40, stop="\n")
    return s["answer"]


def by_branch(*answers: str) -> Callable[[Any], str]:
    """An answer for each branch, whoever asks first."""
    return lambda asked: answers[int("".join(map(str, asked.path[1::2])), 2)]


SCRIPT = {
    "plan": by_branch(" differences first", " products first"),
    "try": by_branch(
        " 10 - 4 = 6, stuck", " (10 - 4) * (13 - 9) = 24", " 4 * 9 = 36, stuck", " stuck"
    ),
    "mark": by_branch("2", "5", "2", "1"),
    "answer": " (10 - 4) * (13 - 9)",
}


def main() -> None:
    state = tree_of_thought.run(backend=esp.Scripted(SCRIPT))
    print(state.text())
    print("answer:", state.ret_value)
    print(state.report())


if __name__ == "__main__":
    main()
