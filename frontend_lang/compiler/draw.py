"""A graph as a picture: as text for the terminal, and as SVG.

Streams are columns and ops are rows, in the order of the program; a fork opens columns and a join
closes them. Below a switch each case is drawn in its turn.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from . import ir
from .aliases import shown

_SHOWN = 44
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ROW, _COLUMN, _MARGIN, _WIDTH, _HEIGHT = 34, 46, 16, 320, 24
_FILL = {
    "gen": "#ffe1b8",
    "select": "#ffd0d6",
    "fork": "#d9ecd0",
    "join": "#d9ecd0",
    "call": "#e2d9f3",
    "switch": "#f6f0b5",
    "returns": "#eeeeee",
}


@dataclass(frozen=True)
class Row:
    """One op: its column and depth of switches, its kind, what it says, and the columns that it
    opens or closes."""

    depth: int
    column: int
    kind: str
    text: str
    where: str = ""
    others: tuple[int, ...] = ()


def text(graph: ir.Graph) -> str:
    """The graph for a terminal, a line an op."""
    head = f"{graph.name}({', '.join(each.name for each in graph.parameters)})  {graph.where}"
    lines = [head]
    for row in rows(graph):
        bars = "  " * row.depth + "| " * row.column
        place = row.where.rpartition("/")[2]
        lines.append(f"{bars}{row.kind:<7} {row.text}".ljust(70) + f"  {place}")
    return "\n".join(line.rstrip() for line in lines)


def svg(graph: ir.Graph) -> str:
    """The graph as one SVG image."""
    found = list(rows(graph))
    columns = max((row.column + row.depth for row in found), default=0)
    width = 2 * _MARGIN + columns * _COLUMN + _WIDTH
    height = 2 * _MARGIN + 28 + len(found) * _ROW
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="ui-monospace, monospace" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{_MARGIN}" y="{_MARGIN + 12}" font-weight="bold">{_escaped(graph.name)}</text>',
    ]
    below: dict[tuple[int, int], tuple[int, int]] = {}
    for number, row in enumerate(found):
        x = _MARGIN + (row.column + row.depth) * _COLUMN
        y = _MARGIN + 28 + number * _ROW
        parts.extend(_lines(row, x, y, below))
        parts.append(
            f'<g><title>{_escaped(row.where)}</title><rect x="{x}" y="{y}" width="{_WIDTH}" '
            f'height="{_HEIGHT}" rx="4" fill="{_FILL.get(row.kind, "#e8f0fa")}" stroke="#99a"/>'
            f'<text x="{x + 8}" y="{y + 16}">{_escaped(row.kind + " " + row.text)}</text></g>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _lines(row: Row, x: int, y: int, below: dict[tuple[int, int], tuple[int, int]]) -> list[str]:
    """The lines that lead to an op: from the one before it in its stream, and from a join's
    branches; a fork's branches begin at it."""
    made = []
    mine = (row.depth, row.column)
    for key in (mine, *((row.depth, other) for other in row.others if row.kind == "join")):
        if key in below:
            from_x, from_y = below[key]
            made.append(
                f'<path d="M{from_x + 10} {from_y} C{from_x + 10} {y} {x + 10} {from_y} {x + 10} '
                f'{y}" fill="none" stroke="#667"/>'
            )
    below[mine] = (x, y + _HEIGHT)
    if row.kind == "fork":
        below.update({(row.depth, other): (x, y + _HEIGHT) for other in row.others})
    if row.kind == "case":
        below[row.depth + 1, row.column] = (x, y + _HEIGHT)
    return made


def rows(graph: ir.Graph) -> Iterator[Row]:
    """The ops in the order in which they are drawn."""
    names = _names(graph)
    columns = {0: 0}
    for op in ir.ops(graph.block):
        if isinstance(op, ir.Fork):
            begin = columns[op.stream] + 1
            columns.update((branch, begin + at) for at, branch in enumerate(op.branches))
    yield from _block(graph.block, 0, names, columns)


def _block(
    block: ir.Block, depth: int, names: dict[int, str], columns: dict[int, int]
) -> Iterator[Row]:
    for op in block.ops:
        kind, said = _shown(op, names)
        others = tuple(columns[branch] for branch in getattr(op, "branches", ()))
        yield Row(depth, columns[op.stream], kind, _cut(said), op.where, others)
    if block.switch is None:
        if not isinstance(block.returns, ir.Constant) or block.returns.data is not None:
            yield Row(depth, 0, "returns", _cut(_data(block.returns, names)))
        return
    switch = block.switch
    yield Row(depth, 0, "switch", _slot(switch.slot, names), switch.where)
    for case in switch.cases:
        values = " or ".join(map(repr, case.values))
        yield Row(depth, 0, "case", _cut(values))
        yield from _block(case.block, depth + 1, names, columns)


def _cut(said: str) -> str:
    return said if len(said) <= _SHOWN else said[: _SHOWN - 1] + "…"


def _shown(op: ir.Op, names: dict[int, str]) -> tuple[str, str]:
    """An op's kind, and what it says."""
    match op:
        case ir.Say(pieces=pieces):
            return "text", _pieces(pieces, names)
        case ir.Generate(params=params):
            most = f" <= {params['max_tokens']}" if params.get("max_tokens") else ""
            what = f" {shown(op.type)}" if op.type else ""
            if op.grammar is not None and not what:
                what = f" {op.grammar.kind}"
            return "gen", names[op.value] + what + most
        case ir.Choose(choices=choices):
            listed = ", ".join(_pieces(pieces, names) for pieces in choices)
            return "select", f"{names[op.value]}: {listed}"
        case ir.Role(role=role, opens=opens):
            return ("role", role) if opens else ("role", f"/{role}")
        case ir.Scope(name=name, value=value):
            return "scope", name if value is None else f"/{name}"
        case ir.Fork(branches=branches):
            return "fork", str(len(branches))
        case ir.Join(branches=branches, names=found):
            return "join", f"{len(branches)}: {', '.join(found) or op.mode}"
        case ir.Assign(name=name, data=data):
            return "set", f"{name} = {_data(data, names)}"
        case ir.Apply(function=function, arguments=arguments):
            given = ", ".join(_data(item, names) for item in arguments)
            return "call", f"{function.rpartition(':')[2]}({given})"


def _names(graph: ir.Graph) -> dict[int, str]:
    """What values are called: by their variables, or #number."""
    names: dict[int, str] = {}
    for op in ir.ops(graph.block):
        if isinstance(op, ir.Join):
            names.update({value: name for name, value in op.names.items()})
        elif isinstance(op, ir.Apply):
            names[op.value] = op.function.rpartition(":")[2] + "()"
        elif not isinstance(op, ir.Say | ir.Role | ir.Fork) and op.value is not None:
            names[op.value] = op.name or f"#{op.value}"
    return names


def _slot(slot: ir.Slot, names: dict[int, str]) -> str:
    root = slot.argument if slot.value is None else names.get(slot.value, f"#{slot.value}")
    path = "".join(
        f"[{key}]" if isinstance(key, int) else key if key[0] == "." else f"[{key[1:]!r}]"
        for key in slot.path
    )
    return f"{root}{'.meta' if slot.meta else ''}{path}"


def _pieces(pieces: Sequence[ir.Piece], names: dict[int, str]) -> str:
    said = (
        piece.replace("\n", "\\n") if isinstance(piece, str) else "{" + _slot(piece, names) + "}"
        for piece in pieces
    )
    return "".join(said)


def _data(data: ir.Data, names: dict[int, str]) -> str:
    match data:
        case ir.Slot():
            return _slot(data, names)
        case ir.Template(pieces=pieces):
            return repr(_pieces(pieces, names))
        case ir.Items(items=items):
            return "[" + ", ".join(_data(item, names) for item in items) + "]"
        case ir.Table(keys=keys, items=items):
            pairs = zip(keys, items, strict=True)
            return "{" + ", ".join(f"{key}: {_data(item, names)}" for key, item in pairs) + "}"
        case ir.Constant(data=constant):
            return repr(constant)


def _escaped(said: str) -> str:
    """As XML takes it, which has no control characters."""
    return html.escape(_NOT_XML.sub("\N{REPLACEMENT CHARACTER}", said), quote=True)
