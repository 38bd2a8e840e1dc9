"""The parts of an answer that calls of the engine make, one after the other.

Text leaves special tokens out, and no grammar can write them. So where a model's form has some, an
answer is made in stages: one ends at a special token, or at the end of its grammar, and the next
goes on behind it. It finds all that stands before it in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from .structured import AskedGrammar

Kind = Literal["answer", "reasoning", "calls", "name", "arguments"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """kind: what its text is: an answer (with whatever is told from its text), reasoning, a group
    of calls, a tool's name, or the arguments of `tool`. grammar: that its text is held to. begin:
    tokens that are put before it.

    exits: special tokens that end it, and where each leads. then: where the end of its grammar
    leads, by its text; None: it ends the answer. decides: one token is chosen freely: one of the
    exits, or else the token is taken back and `otherwise` begins in its place, or nothing.
    """

    kind: Kind = "answer"
    grammar: AskedGrammar | None = None
    tool: str = ""
    begin: tuple[int, ...] = ()
    exits: Mapping[int, Callable[[], Stage]] = field(default_factory=dict)
    then: Callable[[str], Stage | None] | None = None
    decides: bool = False
    otherwise: Stage | None = None
