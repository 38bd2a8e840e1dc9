"""A conversation that calls Python functions. A call can only name a tool that there is, with the
arguments that it takes.

python examples/tools.py
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import espalier as esp


def weather(city: str) -> str:
    return {"Paris": "sunny, 21 degrees", "Oslo": "snow, -3 degrees"}.get(city, "no report")


def add(a: int, b: int) -> str:
    return str(a + b)


TOOLS: dict[str, tuple[Callable[..., str], dict[str, str]]] = {
    "weather": (weather, {"city": "string"}),
    "add": (add, {"a": "integer", "b": "integer"}),
}
QUESTIONS = ["What is the weather in Paris?", "What is 12 plus 30?"]


def exactly(properties: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object with these properties and no other."""
    closed = {"required": list(properties), "additionalProperties": False}
    return {"type": "object", "properties": properties, **closed}


CALL = {
    "anyOf": [
        exactly(
            {"tool": {"const": name}, "args": exactly({k: {"type": t} for k, t in args.items()})}
        )
        for name, (_, args) in TOOLS.items()
    ]
}


@esp.function
def assist(s: esp.ProgramState) -> None:
    listing = ", ".join(f"{name}({', '.join(args)})" for name, (_, args) in TOOLS.items())
    for at, question in enumerate(QUESTIONS):
        s += esp.user(question if at else f"Tools: {listing}\n{question}")
        s += esp.assistant(esp.gen(f"call{at}", json_schema=CALL))
        call = json.loads(s[f"call{at}"])
        tool, _ = TOOLS[call["tool"]]
        s += esp.user(f"Result: {tool(**call['args'])}")
        s += esp.assistant(esp.gen(f"answer{at}", max_tokens=40))


def main() -> None:
    with esp.Engine() as engine:
        state = assist.run(backend=engine)
        for at, question in enumerate(QUESTIONS):
            print(f"{question}\n  {state[f'call{at}']}\n  {state[f'answer{at}']}")
        print(state.report())


if __name__ == "__main__":
    main()
