"""A device that is modelled: what a step would take on it.

A model of 8e9 parameters in bfloat16, 32 layers of 4,096 with 8 KV heads of 128, at 400 TFLOP/s and
4.3 TB/s (half of what products reach on an H200, and what copies do). A step takes what its rows
compute, attention included, or what the weights and the keys take to be read, whichever is longer.
"""

from __future__ import annotations

from ..runtime.model_runner import NullRunner
from ..runtime.plan import Plan

PARAMETERS = 8.0e9
KV_BYTES = 32 * 2 * 8 * 128 * 2  # of one token
ATTENTION = 32 * 4 * 4096  # operations of one row with one key
OPERATIONS, BYTES = 400e12, 4.3e12  # per second


def seconds(plan: Plan) -> float:
    """What the modelled device takes for a step."""
    keys = sum(plan.positions) + len(plan.positions)
    compute = (2 * PARAMETERS * len(plan.positions) + ATTENTION * keys) / OPERATIONS
    return max(compute, (2 * PARAMETERS + KV_BYTES * sum(plan.seq_len)) / BYTES)


class Clock:
    """Seconds that passed: the modelled device's, and what else is added."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Device(NullRunner):
    """The null runner, whose steps take their time."""

    def __init__(self, clock: Clock, token: int = 1) -> None:
        super().__init__(token)
        self._clock = clock

    def launch(self, plan: Plan) -> tuple[Plan, dict[int, int]]:
        self._clock.now += seconds(plan)
        return super().launch(plan)
