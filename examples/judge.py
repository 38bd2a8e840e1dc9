"""One text judged along several branches. What was said before the fork is computed once.

python examples/judge.py
espalier run examples/judge.py --arg "text=The soup was cold. I want my money back right now!"
"""

from __future__ import annotations

import espalier as esp

DIMENSIONS = {
    "tone": ["friendly", "neutral", "rude"],
    "urgency": ["urgent", "calm"],
    "topic": ["food", "travel", "work", "sport"],
}
TEXT = "You clowns lost my suitcase again! I flew to Rome on Friday and need it back right now!"


@esp.function
def judge(s: esp.ProgramState, text: str = TEXT) -> dict[str, str]:
    s += esp.user(f"Text: {text}")
    s += esp.assistant("Ready.")
    branches = s.fork(len(DIMENSIONS))
    for branch, (name, words) in zip(branches, DIMENSIONS.items(), strict=True):
        options = ", ".join(words[:-1]) + " or " + words[-1]
        branch += esp.user(f"Judge the {name}: {options}?")
        branch += esp.assistant(esp.select("verdict", choices=words))
    branches.join()  # the branches' variables become lists, in the branches' order
    return dict(zip(DIMENSIONS, s["verdict"], strict=True))


def main() -> None:
    with esp.Engine() as engine:
        state = judge.run(backend=engine)
        for name, verdict in state.ret_value.items():
            print(f"{name}: {verdict}")
        print(state.report())


if __name__ == "__main__":
    main()
