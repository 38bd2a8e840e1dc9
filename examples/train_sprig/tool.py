"""The tools Sprig can choose from: names, arguments, questions, results and answers.

Each argument kind names a maker in `world.py` (`city`, `number`, `topic`, ...). A tool may go by
several names, and its arguments too: Sprig copies the names that the user turn lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Tool:
    """One tool. `args` maps slot -> kind; `arg_names` maps slot -> names it may be listed by."""

    names: tuple[str, ...]
    args: dict[str, str]
    questions: tuple[str, ...]
    result: str
    answer: str
    arg_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    follow_up: str = ""


def lines(block: str) -> tuple[str, ...]:
    """The non-empty lines of a block."""
    return tuple(line for line in block.strip().splitlines() if line)
