"""When each call ran: a lane per state that called, a bar per call, on one axis of time."""

from __future__ import annotations

import html
from collections.abc import Iterator

from .records import CallRecord, Node

_MOST = 400
_TICKS = 5


def lanes(root: Node, seconds: float) -> str:
    """The waterfall as HTML. seconds: the run's length so far."""
    found = [(depth, node) for depth, node in _walk(root) if node.calls]
    ends = [call.ended or seconds for _, node in found for call in node.calls]
    whole = max([seconds, *ends, 1e-6]) if not ends else max([*ends, 1e-6])
    shown = found[:_MOST]
    rows = "".join(_lane(depth, node, whole) for depth, node in shown)
    more = f"<p>and {len(found) - _MOST} more states</p>" if len(found) > _MOST else ""
    ticks = "".join(
        f'<span style="left:{100 * at / _TICKS:.2f}%">{_time(whole * at / _TICKS)}</span>'
        for at in range(_TICKS + 1)
    )
    return (
        f'<h2>Times</h2><div class="lanes"><div class="axis"><b></b><div>{ticks}</div></div>'
        f"{rows}</div>{more}"
    )


def _walk(root: Node) -> Iterator[tuple[int, Node]]:
    todo = [(0, root)]
    while todo:
        depth, node = todo.pop()
        yield depth, node
        todo.extend((depth + 1, child) for child in reversed(node.children))


def _lane(depth: int, node: Node, whole: float) -> str:
    name = "branch " + ".".join(map(str, node.path[1::2])) if node.path else "program"
    bars = "".join(_bar(call, whole) for call in node.calls)
    return (
        f'<div class="lane"><b style="padding-left:{min(depth, 12) * 0.7:.1f}em">{name}</b>'
        f"<div>{bars}</div></div>"
    )


def _bar(call: CallRecord, whole: float) -> str:
    """One call: waiting, prefill and decode as its parts."""
    ended = call.ended if call.ended is not None else whole
    length = max(ended - call.began, 0.0)
    times = call.times
    known = [("queued", times.queued + times.grammar), ("prefill", times.prefill)]
    known.append(("decode", times.decode))
    total = max(sum(part for _, part in known), length, 1e-9)
    parts = "".join(
        f'<i class="{kind}" style="width:{100 * part / total:.2f}%"></i>'
        for kind, part in known
        if part > 0
    )
    name = call.name if call.name is not None else f"#{call.index}"
    told = [f"{call.kind} {name}", f"{_time(call.began)} to {_time(ended)}"]
    told += [f"{kind} {_time(part)}" for kind, part in known if part > 0]
    if call.error is not None:
        told.append(call.error)
    failed = " failed" if call.error is not None else ""
    return (
        f'<div class="bar{failed}" style="left:{100 * call.began / whole:.2f}%;'
        f'width:{100 * length / whole:.2f}%" title="{html.escape(chr(10).join(told))}">{parts}'
        f"<span>{html.escape(name)}</span></div>"
    )


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"
