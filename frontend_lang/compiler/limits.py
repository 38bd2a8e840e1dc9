"""A compiled program that somebody else wrote, held to bounds before anything of it runs.

`limited` takes JSON as it was sent. What is refused: more of anything than the limits allow, Python
code (a function that it names would have to be imported), and whatever could reach Python objects
by a name. Types other than `PLAIN` are never looked for: their texts are held to the grammar that
stands beside, stand as texts, and are not used by the program itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ...errors import InvalidRequestError, NotSupportedError
from ...types import SamplingParams
from ..options import sampling_params
from . import ir
from .aliases import TypeName
from .validate import validated, whole_ways

PLAIN: dict[TypeName, Any] = {f"builtins:{tp.__name__}": tp for tp in (bool, int, float, str)}
"""The types of values that are what they are anywhere."""
_NAME = 200  # characters
_MARK = 64
_SEED = 0


class ProgramLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a program may be at most.

    nodes: JSON values that it is made of. ops: summed up over all ways through it. streams, scopes:
    of one way. tokens: that one way may generate. characters: of all texts and values that one run
    makes.
    """

    nodes: int = 50_000
    ops: int = 4_096
    streams: int = 256
    scopes: int = 64
    tokens: int = 65_536
    characters: int = 1_000_000


def limited(data: Any, limits: ProgramLimits) -> ir.Graph:
    """The graph. Raises InvalidRequestError and NotSupportedError, with the op's line where there
    is one."""
    _at_most("values in the program", _nodes(data, limits.nodes), limits.nodes)
    graph = ir.convert(data)
    _at_most("ops, over all ways through the program", _steps(graph.block), limits.ops)
    if graph.options or graph.num_api_spec_tokens is not None:
        raise InvalidRequestError(
            "a run's options stand beside the program", got=", ".join(graph.options)[:200]
        )
    for parameter in graph.parameters:
        _named(parameter.name, graph.where)
    for chain in ir.ways(graph.block):
        forks = [op for op in chain if isinstance(op, ir.Fork)]
        _at_most("streams", 1 + sum(len(op.branches) for op in forks), limits.streams)
        scopes = sum(isinstance(op, ir.Scope) and op.value is None for op in chain)
        _at_most("open scopes", scopes, limits.scopes)
    validated(graph)
    for chain, switches, returns in whole_ways(graph.block):
        texts = _safe(chain, limits)
        for switch in (one for found in switches.values() for one in found):
            _slot(switch.slot, switch.where, texts)
        for slot in ir.slots(returns):
            _slot(slot, graph.where, ())
    return graph


@dataclass(frozen=True)
class Cost:
    """What a run may ask for. tokens: generated at most. at_once: requests in work together."""

    tokens: int
    at_once: int


def cost(graph: ir.Graph, defaults: Mapping[str, Any], context: int) -> Cost:
    """Of the way that asks for most. defaults: the run's sampling fields; context: the model's."""
    tokens = at_once = 0
    for chain in ir.ways(graph.block):
        made = 0
        widest: dict[int, int] = {}
        for op in chain:
            wide = 1
            if isinstance(op, ir.Generate):
                params = params_of(op, defaults)
                wide = params.n
                made += wide * min(context, params.max_tokens or context)
            elif isinstance(op, ir.Choose):
                wide = len(op.choices)
            else:
                continue
            widest[op.stream] = max(wide, widest.get(op.stream, 0))
        tokens, at_once = max(tokens, made), max(at_once, sum(widest.values()))
    return Cost(tokens, max(1, at_once))


def params_of(op: ir.Generate, defaults: Mapping[str, Any]) -> SamplingParams:
    """A call's parameters, but for its seed."""
    return sampling_params(defaults, op.params, _SEED)


# -- inside ----------------------------------------------------------------------------------------


def _at_most(what: str, found: int, most: int) -> None:
    if found > most:
        raise InvalidRequestError(expected=f"at most {most:,} {what}", got=f"{found:,}")


def _nodes(data: Any, most: int) -> int:
    """How many values it is made of; past `most` it stops to count."""
    count, todo = 0, [data]
    while todo and count <= most:
        found = todo.pop()
        count += 1
        if isinstance(found, Mapping):
            count += len(found)
            todo.extend(found.values())
        elif isinstance(found, list):
            if count + len(found) > most:
                return count + len(found)
            todo.extend(found)
    return count


def _steps(block: ir.Block) -> int:
    """Ops of all ways, those that several share counted for each."""
    total = 0
    todo = [(0, block)]
    while todo:
        before, found = todo.pop()
        steps = before + len(found.ops)
        if found.switch is None:
            total += steps + 1
        else:
            todo.extend((steps + 1, case.block) for case in found.switch.cases)
    return total


def _safe(chain: Sequence[ir.Op], limits: ProgramLimits) -> set[int]:
    """Raise for an op that a server does not do for strangers. Returns the values of types that are
    not there, which stand as texts."""
    texts: set[int] = set()
    names: set[str] = set()
    appended: set[int] = set()
    for op in chain:
        for name in _names_in(op):
            _named(name, op.where)
        for slot in ir.slots_of(op):
            _slot(slot, op.where, texts)
        match op:
            case ir.Apply(function=function):
                raise NotSupportedError(
                    f"{function[:_NAME]} is Python code, which a server does not run",
                    where=op.where,
                    hint="Run the program where its code is, with backend=HTTPBackend(url).",
                )
            case ir.Generate():
                _gen(op)
                if op.type is not None and op.type not in PLAIN:
                    texts.add(op.value)
                    names.update([op.name] if op.name else [])
            case ir.Join(names=made, branches=branches):
                _at_most("values that a join gathers", len(made) * len(branches), limits.nodes)
                texts.update(value for name, value in made.items() if name in names)
                again = appended & set(branches)
                if op.mode != "gather_variable" and again:
                    raise NotSupportedError(
                        "a branch's text is appended once", where=op.where, got=str(sorted(again))
                    )
                if op.mode != "gather_variable":
                    appended.update(branches)
            case _:
                pass
    return texts


def _gen(op: ir.Generate) -> None:
    if "prompt_logprobs" in op.params:
        raise NotSupportedError(
            "log probabilities of prompts are not told of a program",
            where=op.where,
            hint="Ask for them at /v1/completions.",
        )
    form = op.reasoning
    if form is not None and max(map(len, (form.start, form.end, form.tool or ""))) > _MARK:
        raise InvalidRequestError(
            expected=f"marks of at most {_MARK} characters", where=f"{op.where}, reasoning"
        )


def _names_in(op: ir.Op) -> Iterator[str]:
    name = getattr(op, "name", None)
    if name is not None:
        yield name
    if isinstance(op, ir.Join):
        yield from op.names


def _named(name: str, where: str) -> None:
    if not 0 < len(name) <= _NAME or not name.isprintable():
        raise InvalidRequestError(
            expected=f"a name of 1 to {_NAME} printable characters",
            got=repr(name)[:80],
            where=where,
        )


def _slot(slot: ir.Slot, where: str, texts: Collection[int]) -> None:
    """Raise for a slot that looks into objects, or that writes more than is there."""
    if slot.value in texts and not slot.meta:
        raise NotSupportedError(
            "the program uses a value whose type only its author has",
            where=where,
            hint="Read its fields where the program was written, after the run; or run the program "
            "there, with backend=HTTPBackend(url).",
        )
    for part in slot.path:
        if isinstance(part, str) and not part.startswith("="):
            raise NotSupportedError(
                f"the program reads the attribute {part[:_NAME]!r} of a value, and attributes are "
                "Python's",
                where=where,
                hint="Run the program where it was written, with backend=HTTPBackend(url).",
            )
