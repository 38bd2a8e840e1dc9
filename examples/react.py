"""ReAct: thoughts, actions by real Python tools, observations, until the model finishes.

The action is a select, so that a compiled program knows every way the loop may go. Choosing well
needs a clever model: the embedded one cannot, and main() runs a script in its place. Give another
with `espalier run examples/react.py --model FOLDER`.

python examples/react.py
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable

import espalier as esp

ROUNDS = 4
FACTS = {
    "oslo": "Oslo has 717,710 inhabitants and lies at 59.9 N.",
    "bergen": "Bergen has 291,940 inhabitants and lies at 60.4 N.",
}
OPERATORS: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def look_up(query: str) -> str:
    return FACTS.get(query.strip().lower(), f"nothing is known of {query.strip()!r}")


def calculate(expression: str) -> str:
    """Arithmetic of numbers; anything else is told, not run."""

    def value(node: ast.expr) -> float:
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            return node.value
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -value(node.operand)
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](value(node.left), value(node.right))
        raise ValueError(f"no arithmetic: {ast.unparse(node)}")

    try:
        return str(value(ast.parse(expression.strip(), mode="eval").body))
    except (ArithmeticError, RecursionError, SyntaxError, ValueError) as error:
        return f"error: {error}"


TOOLS = {"look_up": look_up, "calculate": calculate}


@esp.opaque
def observe(action: str, argument: str) -> str:
    """What the tool says."""
    return TOOLS[action](argument)


@esp.function
def react(
    s: esp.ProgramState, question: str = "How many more people live in Oslo than in Bergen?"
) -> str:
    s += f"Answer with tools: {', '.join(TOOLS)}.\nQuestion: {question}\n"
    for turn in range(ROUNDS):
        s += "Thought:" + esp.gen(f"thought{turn}", 60, stop="\n")
        s += "\nAction: " + esp.select(f"action{turn}", [*TOOLS, "finish"])
        s += "\nInput:" + esp.gen(f"input{turn}", 40, stop="\n") + "\n"
        if s[f"action{turn}"] == "finish":
            return s[f"input{turn}"]
        s += f"Observation: {observe(s[f'action{turn}'], s[f'input{turn}'])}\n"
    return "no answer"


SCRIPT = {
    "thought0": " I need both numbers.",
    "action0": "look_up",
    "input0": " Oslo",
    "thought1": " Now Bergen.",
    "action1": "look_up",
    "input1": " Bergen",
    "thought2": " The difference.",
    "action2": "calculate",
    "input2": " 717710 - 291940",
    "thought3": " That is it.",
    "action3": "finish",
    "input3": " 425,770",
}


def main() -> None:
    state = react.run(backend=esp.Scripted(SCRIPT))
    print(state.text())
    print("answer:", state.ret_value)
    print(state.report())


if __name__ == "__main__":
    main()
