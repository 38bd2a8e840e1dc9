"""Answers of `espalier.Engine` under each skill's grammar, for `evaluate --grammar`.

The grammar is made from what the chat says (fields named, tools listed, words to choose from),
never from the right answer's values. The type of a field or argument comes from the catalogue.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from espalier import Engine, SamplingParams
from espalier.grammar.spec import GrammarSpec

from .cases import Case
from .feelings import DIMENSIONS
from .skills import ALIASES
from .tools import TOOLS

TYPES = {"age": "integer", "quantity": "integer", "price": "number"}
for _field in ("quantity", "price"):
    TYPES |= dict.fromkeys(ALIASES[_field], TYPES[_field])
NUMBERS = {
    name
    for tool in TOOLS.values()
    for slot, kind in tool.args.items()
    if kind == "number"
    for name in (slot, *tool.arg_names.get(slot, ()))
}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _tool_schema(case: Case) -> dict[str, Any]:
    """One alternative per tool that any turn lists as `name(argument, ...)`."""
    text = "\n".join(turn.content for turn in case.turns if turn.role != "assistant")
    calls = []
    for name, arguments in re.findall(r"(\w+)\(([\w, ]+)\)", text):
        slots = arguments.split(", ")
        types = {s: {"type": "integer" if s in NUMBERS else "string"} for s in slots}
        calls.append(_object({"tool": {"const": name}, "args": _object(types)}))
    return {"anyOf": calls} if len(calls) > 1 else calls[0]


def grammar_of(case: Case) -> GrammarSpec:
    """The grammar a program would give for this case's question."""
    asked, answer = case.turns[-1].content, case.exchange.assistant
    if case.skill == "extract":
        fields = {name: {"type": TYPES.get(name, "string")} for name in json.loads(answer)}
        return GrammarSpec.json_schema(_object(fields))
    if case.skill == "tools":
        return GrammarSpec.json_schema(_tool_schema(case))
    if case.skill == "sentiment":
        words = ["positive", "negative", "neutral"]
        return GrammarSpec.choices([word for word in words if word in asked])
    if case.skill == "judging":
        if case.exchange.check == "json":
            names = json.loads(answer)
            return GrammarSpec.json_schema(
                _object({name: {"enum": list(DIMENSIONS[name])} for name in names})
            )
        lines = asked.split("\n")  # the question stands in the first line or in the last
        named = [d for line in (lines[0], lines[-1]) for d in DIMENSIONS if d in line.lower()]
        dimension = named[0]
        return GrammarSpec.choices(list(DIMENSIONS[dimension]))
    if case.skill == "sums":
        return GrammarSpec.regex(r"[0-9+<: ,=-]{1,60}, so -?[0-9]{1,3}")
    return GrammarSpec.regex(r"[A-Z][^\n]{0,200}[.!]")


class Constrained:
    """Greedy answers of the engine, each under its case's grammar."""

    def __init__(
        self, folder: Path, kv_dtype: str = "auto", quantization: str | None = None
    ) -> None:
        self.engine = Engine(
            str(folder),
            inline=True,
            dtype="float32",
            kv_dtype=kv_dtype,
            quantization=quantization,
        )

    def answers(self, found: list[Case]) -> list[str]:
        """One answer per case."""
        messages = [
            [{"role": turn.role, "content": turn.content} for turn in case.turns] for case in found
        ]
        results = self.engine.generate(
            messages=messages,
            sampling_params=SamplingParams(max_tokens=160),
            grammar=[grammar_of(case) for case in found],
            on_error="return",
        )
        return [str(result.error) if result.error else result.text for result in results]
