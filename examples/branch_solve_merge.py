"""Branch, solve, merge: an essay judged along dimensions at once, and one verdict made of them.

Judging essays needs a clever model: the embedded one cannot, and main() runs a script. (judge.py
branches on the embedded model, for dimensions that it knows.)

python examples/branch_solve_merge.py
"""

from __future__ import annotations

import espalier as esp

DIMENSIONS = {
    "clarity": "Is every sentence understood at once?",
    "evidence": "Are claims backed by facts?",
    "structure": "Does each part lead to the next?",
}
ESSAY = "Boats need radios. Radios save lives: in 2019 they called most of the rescues. Buy one."
GRADES = ["A", "B", "C", "D"]


@esp.function
def branch_solve_merge(s: esp.ProgramState, essay: str = ESSAY) -> dict[str, str]:
    s += esp.system("You grade essays, briefly.")
    s += esp.user(f"Essay: {essay}")
    branches = s.fork(len(DIMENSIONS))
    for branch, (name, question) in zip(branches, DIMENSIONS.items(), strict=True):
        branch += esp.user(f"Judge its {name}. {question}")
        branch += esp.assistant(
            esp.gen("reason", 60, stop=".") + ". Grade: " + esp.select("grade", GRADES)
        )
    branches.join()
    reasons = zip(DIMENSIONS, s["reason"], s["grade"], strict=True)
    merged = "\n".join(f"{name}: {reason} ({grade})" for name, reason, grade in reasons)
    s += esp.user(f"Three judges say:\n{merged}\nSum them up in one sentence, and one grade.")
    s += esp.assistant(esp.gen("summary", 60, stop=".") + ". Grade: " + esp.select("final", GRADES))
    return {"summary": s["summary"], "grade": s["final"]}


SCRIPT = {
    "reason": ["Short words, short sentences", "One figure, and no source", "It ends in an order"],
    "grade": ["A", "C", "B"],
    "summary": "Clear and brisk, but thin on sources",
    "final": "B",
}


def main() -> None:
    state = branch_solve_merge.run(backend=esp.Scripted(SCRIPT))
    print(state.ret_value)
    print(state.report())


if __name__ == "__main__":
    main()
