"""Tools as Sprig was taught them: listed in the user's first message, results in the user's name.

Its template knows neither tools nor the role `tool` (docs/sprig.md, skill 2).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .tool_formats import ToolSpec


def sprig_messages(
    messages: Sequence[dict[str, Any]], tools: Sequence[ToolSpec]
) -> list[dict[str, Any]]:
    """The chat with its tools, its calls and their results as plain text."""
    listed = ", ".join(f"{tool.name}({', '.join(_parameters(tool))})" for tool in tools)
    made: list[dict[str, Any]] = []
    told = not tools
    for message in messages:
        role, content = message["role"], message["content"] or ""
        if role == "tool":
            role, content = "user", f"Result: {content}"
        elif role == "assistant" and message.get("tool_calls"):
            content = "\n".join(_call(call["function"]) for call in message["tool_calls"])
        elif role == "user" and not told:
            told = True
            content = f"Tools: {listed}\n{content}"
        made.append({"role": role, "content": content})
    return made


def _parameters(tool: ToolSpec) -> list[str]:
    properties = (tool.parameters or {}).get("properties")
    return list(properties) if isinstance(properties, dict) else []


def _call(function: dict[str, Any]) -> str:
    arguments = json.dumps(function["arguments"], ensure_ascii=False)
    return f'{{"tool": "{function["name"]}", "args": {arguments}}}'
