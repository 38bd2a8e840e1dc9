"""Skeleton of thought: the points of an answer first, then all of them expanded at once.

Writing needs a clever model: the embedded one cannot, and main() runs a script.

python examples/skeleton_of_thought.py
"""

from __future__ import annotations

import espalier as esp


@esp.function
def skeleton_of_thought(
    s: esp.ProgramState, topic: str = "keeping a radio on a boat dry", points: int = 3
) -> None:
    s += f"Topic: {topic}\nThe points of a good answer, a few words each:\n"
    for number in range(1, points + 1):
        s += f"{number}." + esp.gen(f"point{number}", 16, stop="\n") + "\n"
    branches = s.fork(points)
    for number, branch in enumerate(branches, 1):
        branch += f"Point {number} in two sentences:" + esp.gen("text", 80, stop="\n")
    branches.join()
    with s.var_scope("essay"):
        for number, text in enumerate(s["text"], 1):
            s += f"\n{s[f'point{number}']}:{text}"


SCRIPT = {
    "point1": " A dry place",
    "point2": " A bag",
    "point3": " Silica gel",
    "text": [
        " High up, under deck.",
        " A roll-top bag, closed thrice.",
        " Two packs, dried often.",
    ],
}


def main() -> None:
    state = skeleton_of_thought.run(backend=esp.Scripted(SCRIPT))
    print(state["essay"])
    print(state.report())


if __name__ == "__main__":
    main()
