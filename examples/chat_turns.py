"""A chat of several turns. Each turn's prompt is the one before it, and is computed once.

python examples/chat_turns.py
"""

from __future__ import annotations

from collections.abc import Sequence

import espalier as esp

TURNS = ("My name is Zorina.", "My dog is called Bolt.", "What is 12 + 30?", "What is my name?")


@esp.function
def chat(s: esp.ProgramState, turns: Sequence[str] = TURNS) -> list[str]:
    for number, turn in enumerate(turns):
        s += esp.user(turn)
        s += esp.assistant(esp.gen(f"answer{number}", 40))
    return [s[f"answer{number}"] for number in range(len(turns))]


def main() -> None:
    with esp.Engine() as engine:
        state = chat.run(backend=engine)
        for message in state.messages():
            print(f"{message['role']}: {message['content']}")
        print(state.report())


if __name__ == "__main__":
    main()
