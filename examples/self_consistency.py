"""Self-consistency: several samples of one worked answer, and a vote over what they end in.

python examples/self_consistency.py
"""

from __future__ import annotations

import re
from collections import Counter

import espalier as esp


@esp.opaque
def vote(answers: list[str]) -> str:
    """The integer that most answers end in; "none" where none has one."""
    last = [found[-1] for answer in answers if (found := re.findall(r"-?\d+", answer))]
    return Counter(last).most_common(1)[0][0] if last else "none"


@esp.function
def solve(s: esp.ProgramState, question: str = "What is 37 + 48?", samples: int = 5) -> str:
    s += esp.user(question)
    branches = s.fork(samples)
    branches += esp.assistant(esp.gen("answer", 40, temperature=0.7))
    branches.join()
    return vote(s["answer"])


def main() -> None:
    with esp.Engine() as engine:
        state = solve.run(backend=engine, seed=1)
        for answer in state["answer"]:
            print(answer)
        print("vote:", state.ret_value)
        print(state.report())


if __name__ == "__main__":
    main()
