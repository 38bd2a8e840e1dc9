"""The check of the scheduler's invariants, S1 to S5 of scheduler.py. Changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import InvariantError
from .sequence import Sequence

if TYPE_CHECKING:
    from .scheduler import Scheduler


def check(scheduler: Scheduler) -> None:
    """Raise InvariantError beginning with the name of the first broken one, or the tree's own."""
    holding = [*scheduler.running.values(), *scheduler.leaving.values()]
    _check_slots(scheduler, holding)
    for seq in holding:
        _check_positions(seq)
        if scheduler.config.use_cache:
            _check_path(seq)
    seats = sorted([*scheduler.free_seats, *(seq.seat for seq in holding)])
    if seats != list(range(scheduler.config.max_running)):
        raise InvariantError("S3: seats are not a partition of free and taken", got=str(seats))
    _check_in_flight(scheduler, holding)


def _check_slots(scheduler: Scheduler, holding: list[Sequence]) -> None:
    own = [seq.table[seq.tree_len : seq.room] for seq in holding]
    deferred = [slots for group in scheduler.deferred.values() for slots in group]
    if scheduler.tier is not None:
        scheduler.tier.check_invariants()
    try:
        scheduler.cache.check_invariants(running=[*own, *deferred])
    except InvariantError as error:
        if not error.message.startswith("I1:"):
            raise
        raise InvariantError(error.message.replace("I1:", "S1:", 1), got=error.got) from error
    if not set(scheduler.deferred) <= set(scheduler.in_flight):
        raise InvariantError("S1: slots are deferred to a step that is not in flight")


def _check_path(seq: Sequence) -> None:
    """S2, from the node up to the root."""
    node, end = seq.node, seq.tree_len
    if node is None or node.end != end:
        raise InvariantError(f"S2: sequence {seq.id} does not end its path at its node")
    if not node.alive:
        if seq.state == "running":
            raise InvariantError(f"S2: sequence {seq.id} runs on a node that left the tree")
        return
    while node.parent is not None:
        mine = slice(node.start, node.end)
        same = np.array_equal(node.slots, seq.table[mine])
        if not (same and np.array_equal(node.key, seq.ids[mine])):
            raise InvariantError(f"S2: sequence {seq.id} strayed from its path", got=repr(node))
        node = node.parent


def _check_positions(seq: Sequence) -> None:
    if not (seq.pos <= seq.length and seq.tree_len <= seq.kv_len <= seq.room):
        raise InvariantError(
            f"S4: sequence {seq.id} has impossible positions",
            got=f"pos {seq.pos}, length {seq.length}, tree {seq.tree_len}, kv {seq.kv_len}, "
            f"room {seq.room}",
        )


def _check_in_flight(scheduler: Scheduler, holding: list[Sequence]) -> None:
    named: dict[int, int] = {}
    for step in scheduler.in_flight.values():
        for seq_id in step.named:
            named[seq_id] = step.plan.step
    strangers = set(named) - {seq.id for seq in holding}
    if strangers:
        raise InvariantError(
            "S5: launched steps name sequences that hold no seat", got=str(sorted(strangers))
        )
    for seq in holding:
        if seq.last_step < named.get(seq.id, -1):
            raise InvariantError(
                f"S5: sequence {seq.id} does not know the latest step that names it",
                expected=str(named[seq.id]),
                got=str(seq.last_step),
            )
