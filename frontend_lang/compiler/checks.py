"""What is wrong, or worth knowing, about a compiled program, by file and line.

An *error* will fail when it is run; a *warning* will likely not do what was meant; a *note* says
what it costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ...errors import EspalierError
from ...grammar.spec import GrammarSpec
from ..scoring import has_prefix_pair
from ..where import Where
from . import ir
from .bounds import Bounds

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One of them. where: the program's file and line."""

    level: Level
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.level}: {self.message}"


def check(
    graph: ir.Graph,
    bounds: Bounds | None = None,
    context: int | None = None,
    compiles: Callable[[GrammarSpec], object] | None = None,
) -> list[Finding]:
    """All findings, in the order of the program. bounds: with a tokenizer's figures; context: the
    model's. compiles: what raises for a grammar that is none."""
    found: list[Finding] = []
    for chain in ir.ways(graph.block):
        found.extend(_roles(chain))
        found.extend(_prompts(chain))
        found.extend(_unused(chain))
    for op in ir.ops(graph.block):
        if isinstance(op, ir.Generate):
            found.extend(_gen(op, compiles))
        elif isinstance(op, ir.Choose):
            found.extend(_select(op))
    if bounds is not None and context is not None:
        found.extend(_lengths(bounds, context))
    return sorted(dict.fromkeys(found), key=lambda finding: Where.of(finding.where))


def _roles(chain: Sequence[ir.Op]) -> Iterator[Finding]:
    """Messages that nest, or end without having begun. One may stay open: a gen ends it."""
    is_open: dict[int, ir.Role | None] = {0: None}
    for op in chain:
        now = is_open.get(op.stream)
        if isinstance(op, ir.Fork):
            is_open.update(dict.fromkeys(op.branches, now))
        elif isinstance(op, ir.Role) and op.opens:
            if now is not None:
                yield Finding(
                    "error",
                    op.where,
                    f"the role {op.role} begins inside the role {now.role} (opened at "
                    f"{now.where}): messages do not nest",
                )
            is_open[op.stream] = op
        elif isinstance(op, ir.Role):
            if now is None or now.role != op.role:
                what = "none is" if now is None else f"{now.role} is"
                yield Finding("error", op.where, f"the role {op.role} ends, but {what} open")
            is_open[op.stream] = None


def _prompts(chain: Sequence[ir.Op]) -> Iterator[Finding]:
    """A call before anything is said, and text that ends in a blank before one."""
    said: dict[int, str] = {}
    for op in chain:
        before = said.get(op.stream, "")
        match op:
            case ir.Say(pieces=pieces):
                last = pieces[-1] if pieces else ""
                said[op.stream] = last if isinstance(last, str) and last else before or "value"
            case ir.Fork(branches=branches):
                said.update(dict.fromkeys(branches, before))
            case ir.Role():
                said[op.stream] = "role"
            case ir.Generate() | ir.Choose():
                if not before:
                    yield Finding(
                        "warning",
                        op.where,
                        "a call before any text: only a tokenizer that puts a BOS token before it "
                        "makes a prompt of nothing",
                    )
                elif before.endswith(" ") and isinstance(op, ir.Generate):
                    yield Finding(
                        "warning",
                        op.where,
                        "the text before this gen ends in a blank, which most tokenizers write "
                        "as part of the next word: leave it to the model",
                    )
                said[op.stream] = "value"
            case _:
                pass


def _unused(chain: Sequence[ir.Op]) -> Iterator[Finding]:
    """Branches in which nothing is said."""
    used = {op.stream for op in chain}
    for op in chain:
        if isinstance(op, ir.Fork):
            idle = [branch for branch in op.branches if branch not in used]
            if idle:
                yield Finding(
                    "warning", op.where, f"{len(idle)} of {len(op.branches)} branches say nothing"
                )


def _gen(op: ir.Generate, compiles: Callable[[GrammarSpec], object] | None) -> Iterator[Finding]:
    if op.grammar is not None and compiles is not None:
        try:
            compiles(op.grammar)
        except EspalierError as error:
            yield Finding("error", op.where, f"the grammar cannot be enforced: {error}")
    if "max_tokens" in op.params:
        return
    if op.grammar is None and not op.params.get("stop") and not op.params.get("stop_regex"):
        yield Finding(
            "note",
            op.where,
            "no max_tokens and no stop: it ends with the model's end of turn, or at the run's "
            "max_tokens (128 unless the run says otherwise)",
        )


def _select(op: ir.Choose) -> Iterator[Finding]:
    texts = ["".join(p if isinstance(p, str) else "\0" for p in choice) for choice in op.choices]
    if len(texts) == 1:
        yield Finding("warning", op.where, "a select with one choice asks the model nothing")
    elif has_prefix_pair(texts):
        yield Finding(
            "note",
            op.where,
            "one choice begins another, so the end of each is scored too",
        )


def _lengths(bounds: Bounds, context: int) -> Iterator[Finding]:
    for call in bounds.calls:
        length = call.prompt + call.generated
        if length > context:
            yield Finding(
                "error",
                call.where,
                f"up to {length} tokens ({call.prompt} of the prompt, {call.generated} "
                f"generated), and the model's context has {context}",
            )
