"""A graph made ready to run: its ops as the interpreter takes them, and where streams end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..expr import Gen
from ..reasoning import ReasoningFormat
from ..where import Where
from . import ir
from .aliases import TypeName


class Bound:
    """A graph with the Python objects that it names: what runs share."""

    def __init__(
        self,
        graph: ir.Graph,
        types: Mapping[TypeName, Any],
        functions: Mapping[str, Callable[..., Any]],
    ) -> None:
        self.graph = graph
        self.functions = functions
        self.last = last_uses(graph.block)
        self.gens: dict[int, Gen[Any]] = {}
        self.where: dict[str, Where] = {}
        for op in ir.ops(graph.block):
            self.where[op.where] = Where.of(op.where)
            if isinstance(op, ir.Generate):
                self.gens[id(op)] = Gen(
                    op.name,
                    dict(op.params),
                    self.where[op.where],
                    grammar=op.grammar,
                    dtype=None if op.type is None else types[op.type],
                    overwrite=True,
                    text_in_logprobs=op.text_in_logprobs,
                    reasoning=reasoning_of(op),
                    heal=op.heal,
                )


def reasoning_of(op: ir.Generate) -> ReasoningFormat | None:
    """How the call tells reasoning from its answer."""
    if op.reasoning is None:
        return None
    form = op.reasoning
    return ReasoningFormat(form.start, form.end, form.forced, form.tool)


def last_uses(block: ir.Block) -> dict[int, list[int]]:
    """By an op's identity, the streams that nothing goes on from after it.

    A stream that forks keeps its hold: its branches may not have begun. So does one that a switch's
    cases may use.
    """
    kept = {0}
    for found in ir.blocks(block):
        if found is not block:
            kept.update(op.stream for op in found.ops)
    last: dict[int, ir.Op] = {}
    for op in block.ops:
        if isinstance(op, ir.Fork):
            kept.add(op.stream)
        elif isinstance(op, ir.Join) and op.mode != "gather_variable":
            kept.update(op.branches)
        last[op.stream] = op
    ends: dict[int, list[int]] = {}
    for stream, op in last.items():
        if stream not in kept:
            ends.setdefault(id(op), []).append(stream)
    return ends
