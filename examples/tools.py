"""A conversation that calls Python functions. A call can only name a tool that there is, with the
arguments that it takes.

python examples/tools.py
"""

from __future__ import annotations

import espalier as esp


def weather(city: str) -> str:
    return {"Paris": "sunny, 21 degrees", "Oslo": "snow, -3 degrees"}.get(city, "no report")


def add(a: int, b: int) -> int:
    return a + b


QUESTIONS = ["What is the weather in Paris?", "What is 12 plus 30?"]


@esp.function
def assist(s: esp.ProgramState) -> None:
    for at, question in enumerate(QUESTIONS):
        s.use_tools(question, [weather, add], name=f"answer{at}", max_calls=2, max_tokens=40)


def main() -> None:
    with esp.Engine() as engine:
        state = assist.run(backend=engine)
        for at, question in enumerate(QUESTIONS):
            call: esp.ToolCall = state[f"answer{at}_call0"]
            print(f"{question}\n  {call.name}({call.arguments})\n  {state[f'answer{at}']}")
        print(state.report())


if __name__ == "__main__":
    main()
