"""A conversation that calls Python functions. A call can only name a tool that there is, with the
arguments that it takes.

python examples/tools.py
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable

import espalier as esp
from espalier.grammar import terms


def weather(city: str) -> str:
    return {"Paris": "sunny, 21 degrees", "Oslo": "snow, -3 degrees"}.get(city, "no report")


def add(a: int, b: int) -> str:
    return str(a + b)


TOOLS: dict[str, Callable[..., str]] = {"weather": weather, "add": add}
QUESTIONS = ["What is the weather in Paris?", "What is 12 plus 30?"]
CALL = terms.grammar(
    terms.choice(
        *(
            terms.sequence(f'{{"tool": "{name}", "args": ', terms.json_of(tool), "}")
            for name, tool in TOOLS.items()
        )
    )
)


@esp.function
def assist(s: esp.ProgramState) -> None:
    listing = ", ".join(
        f"{name}({', '.join(inspect.signature(tool).parameters)})" for name, tool in TOOLS.items()
    )
    for at, question in enumerate(QUESTIONS):
        s += esp.user(question if at else f"Tools: {listing}\n{question}")
        s += esp.assistant(esp.gen(f"call{at}", grammar=CALL))
        call = json.loads(s[f"call{at}"])
        s += esp.user(f"Result: {TOOLS[call['tool']](**call['args'])}")
        s += esp.assistant(esp.gen(f"answer{at}", max_tokens=40))


def main() -> None:
    with esp.Engine() as engine:
        state = assist.run(backend=engine)
        for at, question in enumerate(QUESTIONS):
            print(f"{question}\n  {state[f'call{at}']}\n  {state[f'answer{at}']}")
        print(state.report())


if __name__ == "__main__":
    main()
