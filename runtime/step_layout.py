"""The packed form of a step: everything that a CUDA graph of it reads and that changes from step to
step, as ints that lie in one buffer.

Its parts lie where the layout says, whatever the step: first the rows (`kernels/prepare.py`), then
the slots that tables get, then a plan of attention for each window that the model's layers have.
Rows past the step's are *padding*: a token of no meaning at position 0, whose keys and values go to
the trash slot, which attends to nothing, and whose sample is of a seat that nobody has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..kernels.attention_plan import AttentionPlan, PlanRoom, SharedRun, aligned, plan_attention
from ..kernels.prepare import LAST, POSITION, ROW, SAMPLED, SEAT, SLOT, TOKEN
from .plan import Plan

Ints = NDArray[np.int32]


class StepLayout(NamedTuple):
    """Room for `rows` rows, `growth` slots and a plan for each of `windows`. Parts begin at
    multiples of 4 ints. sampled: whether each row is one of `decodes`. tile: rows of one sequence
    that attention takes at once. split: keys of a piece."""

    rows: int
    sampled: bool
    growth: int
    windows: tuple[int | None, ...]
    room: PlanRoom
    tile: int
    split: int

    @property
    def size(self) -> int:
        """Ints of the whole."""
        return self.plan_at(len(self.windows))

    @property
    def growth_at(self) -> int:
        """Where the slots begin that tables get."""
        return aligned(ROW * self.rows)

    def plan_at(self, number: int) -> int:
        """Where the plan of a window begins."""
        return self.growth_at + aligned(3 * self.growth) + number * self.room.size

    def plans(self, plan: Plan) -> list[AttentionPlan] | None:
        """How the step attends, by window; None where there is no room for it."""
        if plan.growth is not None and plan.growth.slots.size > self.growth:
            return None
        shared = [SharedRun(run.members, run.begin, run.end) for run in plan.shared]
        found = []
        for window in self.windows:
            one = plan_attention(
                plan.query_start,
                plan.seq_len,
                plan.seats,
                tile=self.tile,
                split=self.split,
                window=window,
                shared=shared,
            )
            if not self.room.holds(one):
                return None
            found.append(one)
        return found

    def pack(
        self,
        plan: Plan,
        plans: Sequence[AttentionPlan],
        out: Ints,
        *,
        nobody: int,
        trash_slot: int,
    ) -> int:
        """Writes a step to `out`; returns how many ints of it matter. nobody: the seat of
        padding."""
        count = len(plan.positions)
        rows = out[: ROW * self.rows].reshape(ROW, self.rows)
        rows[:, count:] = 0
        rows[LAST] = -1
        rows[SLOT, count:] = trash_slot
        rows[SEAT] = nobody
        rows[TOKEN, :count] = plan.input_ids
        rows[LAST, plan.device_rows] = plan.device_seats
        rows[POSITION, :count] = plan.positions
        rows[SLOT, :count] = plan.slot_of
        rows[SAMPLED] = 0
        if self.sampled:
            rows[SEAT, :count] = plan.seats
            rows[SAMPLED, :count] = plan.sample_positions
        self._pack_growth(plan, out, nobody, trash_slot)
        used = 0
        for number, one in enumerate(plans):
            at = self.plan_at(number)
            used = at + self.room.pack(one, out[at : at + self.room.size])
        return used

    def _pack_growth(self, plan: Plan, out: Ints, nobody: int, trash_slot: int) -> None:
        at = self.growth_at
        growth = out[at : at + 3 * self.growth].reshape(3, self.growth)
        growth[0], growth[1], growth[2] = nobody, 0, trash_slot
        if plan.growth is not None:
            slots = plan.growth.slots
            page, count = slots.shape[1], slots.size
            growth[0, :count] = np.repeat(plan.growth.seats, page)
            starts = np.asarray(plan.growth.starts)[:, None]
            growth[1, :count] = (starts + np.arange(page)).ravel()
            growth[2, :count] = slots.ravel()


def decodes(plan: Plan) -> bool:
    """Whether each row of the step is the only one of its sequence and is sampled from, and nothing
    else is asked."""
    count = len(plan.positions)
    return (
        count == len(plan.seats) == len(plan.sample_seats) > 0
        and plan.sample_seats == plan.seats
        and plan.logits_at == plan.sample_from == list(range(count))
        and not (plan.score_rows or plan.pool_rows)
    )
