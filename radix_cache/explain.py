"""Why a match ended where it did, in words."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import msgspec

from .node import Node
from .runs import WIDTH, as_array
from .structure import Structure
from .walk import descend

Reason = Literal["matched", "tail", "empty", "diverged", "end", "page", "evicted", "discarded"]

_REMEMBERED = 1024
_SHOWN = 4


class Loss(msgspec.Struct, frozen=True):
    """When and how a run left the tree. step: the last committed then, None before the first."""

    how: Literal["evicted", "discarded"]
    tokens: int
    time: float
    step: int | None


class Losses:
    """The last runs that left, by the node they hung on and their first page. Bounded.

    A root goes with its namespace, so a run that hung there is remembered by the namespace's name.
    """

    def __init__(self, page_bytes: int) -> None:
        self._page_bytes = page_bytes
        self._losses: OrderedDict[tuple[Node | str, bytes], Loss] = OrderedDict()

    def record(self, parent: Node, run: bytes, loss: Loss) -> None:
        """Remembers that `run` under `parent` left."""
        losses = self._losses
        place = (parent if parent.end else parent.namespace, run[: self._page_bytes])
        losses.pop(place, None)
        losses[place] = loss
        if len(losses) > _REMEMBERED:
            losses.popitem(last=False)

    def find(self, parent: Node | str, data: bytes) -> Loss | None:
        """What is known of a run under `parent` (a namespace: its root) that began like `data`."""
        if isinstance(parent, Node) and not parent.end:
            parent = parent.namespace
        return self._losses.get((parent, data[: self._page_bytes]))


class ExplainedRun(msgspec.Struct, frozen=True):
    """One node's part of a match: tokens start..end of the key."""

    start: int
    end: int
    pending: bool
    held: bool
    pinned: bool


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """How far a key is cached, and why no further.

    asked, matched, committed, pending: tokens; matched = committed + pending, in whole pages.
    runs: node by node. reason: a word for programs, why: a sentence for people.
    """

    namespace: str
    asked: int
    matched: int
    committed: int
    pending: int
    runs: list[ExplainedRun]
    reason: Reason
    why: str


def explain(structure: Structure, losses: Losses, data: bytes, namespace: str) -> Explanation:
    """Explains the match of `data` (a key's bytes) and changes nothing."""
    root = structure.roots.get(namespace)
    runs: list[ExplainedRun] = []
    place = 0
    if root is None:
        reason, why = _missing(losses, data, namespace)
    else:
        path, inside, at = descend(root, data, structure.page_bytes)
        for node in path:
            runs.append(_run(node, node.start, node.end))
        last = path[-1] if path else root
        if inside is not None:
            runs.append(_run(inside, inside.start, inside.start + at // WIDTH))
        place = runs[-1].end if runs else 0
        reason, why = _reason(structure, losses, data, place, last, inside)
    pending = sum(run.end - run.start for run in runs if run.pending)
    return Explanation(
        namespace=namespace,
        asked=len(data) // WIDTH,
        matched=place,
        committed=place - pending,
        pending=pending,
        runs=runs,
        reason=reason,
        why=why,
    )


def _run(node: Node, start: int, end: int) -> ExplainedRun:
    return ExplainedRun(start, end, node.pending is not None, node.holds > 0, node.pins > 0)


def _missing(losses: Losses, data: bytes, namespace: str) -> tuple[Reason, str]:
    loss = losses.find(namespace, data)
    if loss is not None:
        return loss.how, f"nothing is cached in this namespace; {_lost(loss, 0)}"
    return "empty", "nothing is cached in this namespace"


def _lost(loss: Loss, place: int) -> str:
    when = f"at time {loss.time:.3f}"
    if loss.step is not None:
        when += f", after step {loss.step}"
    return f"{loss.tokens} tokens cached from {place} on were {loss.how} {when}"


def _reason(
    structure: Structure, losses: Losses, data: bytes, place: int, last: Node, inside: Node | None
) -> tuple[Reason, str]:
    page = structure.page_bytes // WIDTH
    left = len(data) // WIDTH - place
    if left == 0:
        return "matched", "the whole key is cached"
    if left < page:
        return (
            "tail",
            f"the last {left} tokens do not fill a page of {page}, so they are not shared",
        )
    asked = data[place * WIDTH :]
    loss = losses.find(last, asked) if inside is None else None
    if loss is not None:
        return loss.how, _lost(loss, place)
    if inside is not None:
        cached = [inside.run[(place - inside.start) * WIDTH :]]
    else:
        cached = [child.run for child in (last.children or {}).values()]
    if not cached:
        return "end", f"the cached sequence ends at {place}"
    return _diverged(asked, place, cached, page)


def _diverged(asked: bytes, place: int, cached: list[bytes], page: int) -> tuple[Reason, str]:
    """The page at `place` differs from every cached one: name the token where the nearest does."""
    ours = as_array(asked[: page * WIDTH])
    common = 0
    for run in cached:
        same = ours == as_array(run[: page * WIDTH])
        common = max(common, page if same.all() else int(same.argmin()))
    at = place + common
    tokens = sorted(
        {
            int(as_array(run)[common])
            for run in cached
            if bool((as_array(run)[:common] == ours[:common]).all())
        }
    )
    shown = ", ".join(str(token) for token in tokens[:_SHOWN])
    if len(tokens) > _SHOWN:
        shown += f" and {len(tokens) - _SHOWN} others"
    what = f"cached token{'s' if len(tokens) > 1 else ''} {shown} but asked {int(ours[common])}"
    if common:
        return "page", (
            f"diverged inside a page at {at}: {what}; {common} further tokens agree, but only "
            f"whole pages of {page} are shared"
        )
    return "diverged", f"diverged at {at}: {what}"
