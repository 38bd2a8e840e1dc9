# ruff: noqa: SIM905
"""How tools are listed, asked and answered: training templates and made-up results."""

from __future__ import annotations

TOOL_ASKS = [
    "Tools: {tools}\n{question}",
    "Tools: {tools}\n{question}",
    "Tools: {tools}\n{question}",
    "Tools: {tools}\n\n{question}",
    "Tools: {tools}. {question}",
    "You can use these tools: {tools}\n{question}",
    "Tools: {tools}\nQuestion: {question}",
    "Available tools: {tools}\nRequest: {question}",
    "{question}\nTools: {tools}",
]
TOOL_SYSTEMS = [
    "You can use tools: {tools}",
    "Tools: {tools}",
    "Tools: {tools}\nAnswer with a tool call in JSON.",
    "You have these tools: {tools}. Choose one and answer in JSON.",
]
RESULT_ASKS = [
    "Result: {result}",
    "Result: {result}",
    "Result: {result}",
    "Result: {result}",
    "Tool result: {result}",
    "The tool says: {result}",
    "{name} returned: {result}",
]
WEATHERS = (
    "sunny|cloudy|rainy|windy|foggy|snowy|warm|cold|hot|dry|stormy|humid|light rain|heavy rain"
    "|clear "
    "sky|a bit cloudy|partly sunny|thunderstorms|cool and dry|warm and sunny|grey and wet"
).split("|")
MEANINGS = (
    "a kind of boat|a small animal|very tired|to walk slowly|a round fruit|an old coin|to laugh "
    "loudly|a green stone|a tall tree|a quiet place|full of joy|a sort of bread|a sea bird"
).split("|")
