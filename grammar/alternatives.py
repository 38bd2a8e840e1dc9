"""Laws that keep alternatives few: what another one contains goes, common heads and adjacent counts
are merged. Each keeps the language.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .node import ALT, CAT, INFINITE, REP, Node

if TYPE_CHECKING:
    from .arena import Arena


def drop_tails(flat: dict[int, Node]) -> None:
    """x y, with x nullable, contains y: drop y (and the rest of y's own chain)."""
    for member in list(flat.values()):
        if member.id in flat:
            tail = member
            while tail.kind == CAT and tail.a.nullable:
                tail = tail.b
                flat.pop(tail.id, None)


def merge_heads(arena: Arena, flat: dict[int, Node]) -> dict[int, Node]:
    """x y and x z are x (y | z)."""
    tails: dict[int, list[Node]] = {}
    for member in flat.values():
        head, tail = (member.a, member.b) if member.kind == CAT else (member, arena.epsilon)
        tails.setdefault(head.id, [head]).append(tail)
    merged: dict[int, Node] = {}
    for head, *rest in tails.values():
        node = arena.cat(head, arena.alt(rest)) if len(rest) > 1 else arena.cat(head, rest[0])
        for member in node.items if node.kind == ALT else (node,):
            merged[member.id] = member
    return merged


def merge_counts(arena: Arena, members: dict[int, Node]) -> dict[int, Node]:
    """x{1,3} y and x{2,5} y are x{1,5} y."""
    groups: dict[tuple[int, int], list[tuple[int, int, Node]]] = {}
    for member in members.values():
        head, tail = (member.a, member.b) if member.kind == CAT else (member, arena.epsilon)
        if head.kind == REP:
            high = INFINITE if head.high is None else head.high
            groups.setdefault((head.a.id, tail.id), []).append((head.low, high, member))
    for group in groups.values():
        if len(group) < 2:
            continue
        group.sort(key=lambda entry: entry[:2])
        low, high, first = group[0]
        head, tail = (first.a, first.b) if first.kind == CAT else (first, arena.epsilon)
        runs = [[low, high]]
        for low, high, _ in group[1:]:
            if low <= runs[-1][1] + 1:
                runs[-1][1] = max(runs[-1][1], high)
            else:
                runs.append([low, high])
        if len(runs) < len(group):
            for _, _, member in group:
                members.pop(member.id)
            for low, high in runs:
                count = arena.rep(head.a, low, None if high == INFINITE else high)
                node = arena.cat(count, tail)
                members[node.id] = node
    return members
