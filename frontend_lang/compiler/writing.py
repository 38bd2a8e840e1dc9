"""What a program says, written down as ops: each call gets its stand-in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import ProgramError
from ..choices import METHODS
from ..expr import Gen, RoleBegin, RoleEnd, ScopeBegin, ScopeEnd, Select, Text, describe
from ..interpreter import Op as QueuedOp
from ..tools import ToolCalls
from . import ir
from .aliases import TypeName, name_of
from .symbols import TextSymbol, TracedList
from .tracing import ADVICE, TOOLS

if TYPE_CHECKING:
    from .tracing import Tracing


def submit(tracing: Tracing, stream: int, op: QueuedOp) -> None:
    """One op of a stream; a call's variable gets its stand-in."""
    where = str(op.where)
    match op.expr:
        case Text(text=text):
            pieces = tracing.pieces(text)
            if tracing.guards and any(isinstance(piece, ir.Slot) for piece in pieces):
                tracing.refuse_guarded("the text", "a value")
            tracing.ops.append(ir.Say(stream=stream, where=where, pieces=pieces))
        case Gen():
            _generate(tracing, stream, op.expr, op)
        case Select():
            _choose(tracing, stream, op.expr, op)
        case RoleBegin(role=role) | RoleEnd(role=role):
            opens = isinstance(op.expr, RoleBegin)
            tracing.ops.append(ir.Role(stream=stream, where=where, role=role, opens=opens))
        case ScopeBegin(name=name):
            tracing.fixed("a variable's name", name, op.where)
            tracing.ops.append(ir.Scope(stream=stream, where=where, name=name))
        case ScopeEnd(name=name):
            value = tracing.value()
            tracing.ops.append(ir.Scope(stream=stream, where=where, name=name, value=value))
            _fill(tracing, op, ir.Slot(value=value), str)
        case None:
            raise ProgramError(f"{op.what} cannot be compiled", where=where, hint=ADVICE)
        case expr:
            raise ProgramError(f"{describe(expr)} cannot be compiled", where=where, hint=ADVICE)


def _generate(tracing: Tracing, stream: int, expr: Gen[Any], op: QueuedOp) -> None:
    tracing.fixed("a variable's name", expr.name, expr.where)
    if isinstance(expr.dtype, ToolCalls):
        tracing.cannot(
            f"{describe(expr)} with tools, which decides what follows,", expr.where, TOOLS
        )
    for name in ("stop", "stop_regex"):
        for text in expr.params.get(name, ()):
            tracing.fixed(name, text, expr.where)
    if expr.grammar is not None:
        tracing.fixed("a grammar", expr.grammar.source, expr.where)
    value = tracing.value()
    tp = None if expr.dtype is None else _type_name(tracing, expr.dtype, value)
    if tp is not None:
        tracing.types[tp] = expr.dtype
    tracing.ops.append(
        ir.Generate(
            stream=stream,
            where=str(expr.where),
            value=value,
            name=expr.name,
            params=expr.params,
            grammar=expr.grammar,
            type=tp,
            text_in_logprobs=expr.text_in_logprobs,
            reasoning=None if expr.reasoning is None else _reasoning(tracing, expr, op),
            heal=expr.heal,
            priority=op.priority,
        )
    )
    assert op.variable is not None
    op.variable.set(_samples(tracing, value, expr, expr.dtype), {"value": value})


def _type_name(tracing: Tracing, tp: Any, value: int) -> TypeName:
    """`name_of`; one that has none is named by its place."""
    name = name_of(tp)
    if not isinstance(name, str) or not name.startswith("?"):
        return name
    return f"?{'.'.join(map(str, tracing.path[: len(tracing.starts)]))}/{value}:{name[1:]}"


def _samples(tracing: Tracing, value: int, expr: Gen[Any], tp: Any) -> Any:
    """One stand-in, or as many as there are samples."""
    count = expr.params.get("n", 1)
    tp = str if tp is None else tp
    if count == 1:
        return tracing.give(ir.Slot(value=value), tp, exact=True)
    slots = [ir.Slot(value=value, path=(number,)) for number in range(count)]
    return TracedList(tracing, (tracing.give(slot, tp, exact=True) for slot in slots))


def _reasoning(tracing: Tracing, expr: Gen[Any], op: QueuedOp) -> ir.Reasoning:
    value, form = tracing.value(), expr.reasoning
    assert form is not None
    if op.variable is not None and op.variable.reasoning is not None:
        op.variable.reasoning.set(_samples(tracing, value, expr, str))
    return ir.Reasoning(value, form.start, form.end, form.forced, form.tool)


def _choose(tracing: Tracing, stream: int, expr: Select, op: QueuedOp) -> None:
    tracing.fixed("a variable's name", expr.name, expr.where)
    if expr.method is not None and METHODS.get(expr.method.name) is not expr.method:
        tracing.cannot(
            "a select by a rule of one's own",
            expr.where,
            f"Take one of {', '.join(METHODS)}, or run the program without compiling it.",
        )
    value = tracing.value()
    choices = tuple(map(tracing.pieces, expr.choices))
    tracing.ops.append(
        ir.Choose(
            stream=stream,
            where=str(expr.where),
            value=value,
            name=expr.name,
            choices=choices,
            temperature=expr.temperature,
            method=None if expr.method is None else expr.method.name,
            seed=expr.seed,
            priority=op.priority,
        )
    )
    known = all(isinstance(piece, str) for pieces in choices for piece in pieces)
    if tracing.guards and not known:
        tracing.refuse_guarded("a choice", "a value")
    slot = ir.Slot(value=value)
    assert op.variable is not None
    op.variable.set(
        TextSymbol(tracing, slot, tuple(expr.choices), str)
        if known
        else tracing.give(slot, str, exact=True),
        {"value": value},
    )


def _fill(tracing: Tracing, op: QueuedOp, slot: ir.Slot, tp: Any) -> None:
    assert op.variable is not None
    op.variable.set(tracing.give(slot, tp, exact=True))
