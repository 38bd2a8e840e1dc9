"""The walk from a node down along a key: the one loop that every question starts with."""

from __future__ import annotations

from .node import Node
from .runs import agreed


def descend(top: Node, data: bytes, page: int) -> tuple[list[Node], Node | None, int]:
    """Follows `data` (a key's bytes from `top`'s end on) in whole pages of `page` bytes.

    Returns the nodes whose runs agree wholly, the child (or None) whose run agrees only in its
    first pages, and the bytes of it that do: more than none and less than all.
    """
    path: list[Node] = []
    at = 0
    children = top.children
    while children is not None:
        child = children.get(data[at : at + page])
        if child is None:
            break
        run = child.run
        if not data.startswith(run, at):
            common = agreed(data, at, run)
            return path, child, common - common % page
        path.append(child)
        at += len(run)
        children = child.children
    return path, None, 0
