"""What carries out a plan. `launch` starts the forward pass, `sample` the sampler, `collect` waits.

The order of calls for steps n, n+1 is launch(n), sample(n), launch(n+1), collect(n), sample(n+1):
the host reads step n's tokens while step n+1 runs. A runner holds the last token of each seat, so
that step n+1 may be launched before the host knows it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from .plan import Plan, StepOutput


class Masks(msgspec.Struct):
    """Masks of a step's constrained samples.

    samples: indices into the plan's samples. rows: the pool's row for each. new_rows, new_words:
    rows of the pool that changed since the last step, and their content [n, ceil(V/32)] uint32.
    """

    samples: list[int] = []
    rows: list[int] = []
    new_rows: list[int] = []
    new_words: NDArray[np.uint32] | None = None


class Runner(Protocol):
    """Carries out plans in the order they are launched."""

    def launch(self, plan: Plan) -> Any:
        """Start the forward pass; returns a handle."""

    def sample(self, handle: Any, masks: Masks) -> None:
        """Start the sampler of a launched step."""

    def ready(self, handle: Any) -> bool:
        """Whether `collect` would not have to wait for a step that is sampled."""
        ...

    def collect(self, handle: Any) -> StepOutput:
        """Wait for a step's tokens. Raises what the step raised."""
        ...

    def counters(self) -> dict[str, Any]:
        """What it tells of the steps since the start, beside their number (P5): a runner with CUDA
        graphs how many ran by them (`step_graphs.py`)."""
        ...


class NullRunner:
    """The engine around a forward that does no arithmetic: every sample is `token`, or the lowest
    token its mask allows. It is sure of each token, sampled or scored: log probability 0, and no
    alternative but the token itself. For measuring and testing everything else."""

    def __init__(self, token: int = 1) -> None:
        self._token = token
        self._pool: dict[int, int] = {}
        self._top: dict[int, int] = {}  # alternatives asked for, by seat

    def launch(self, plan: Plan) -> tuple[Plan, dict[int, int]]:
        for params in plan.new_seats:
            self._top.pop(params.seat, None)
            if params.logprobs is not None:
                self._top[params.seat] = params.logprobs
        return plan, {}

    def sample(self, handle: tuple[Plan, dict[int, int]], masks: Masks) -> None:
        if masks.new_words is not None:
            for row, words in zip(masks.new_rows, masks.new_words, strict=True):
                self._pool.pop(row, None)
                for word in np.flatnonzero(words)[:1].tolist():  # none in a row made in vain, ahead
                    bits = int(words[word])
                    self._pool[row] = 32 * word + (bits & -bits).bit_length() - 1
        handle[1].update(zip(masks.samples, (self._pool[row] for row in masks.rows), strict=True))

    def ready(self, handle: tuple[Plan, dict[int, int]]) -> bool:  # noqa: ARG002
        return True

    def counters(self) -> dict[str, Any]:
        return {}

    def collect(self, handle: tuple[Plan, dict[int, int]]) -> StepOutput:
        plan, chosen = handle
        count = len(plan.sample_from)
        tokens = [chosen.get(i, self._token) for i in range(count)]
        asked = [
            (i, self._top[seat]) for i, seat in enumerate(plan.sample_seats) if seat in self._top
        ]
        return StepOutput(
            tokens=tokens,
            near_ties=[False] * count,
            logprobs={i: _sure(tokens[i], top) for i, top in asked},
            scores=[_sure(token, plan.score_top) for token in plan.score_tokens],
            pooled=[np.zeros((2, 1)) for _ in plan.pool_counts],
        )


def _sure(token: int, top: int) -> tuple[float, list[tuple[int, float]]]:
    """Its log probability and the `top` alternatives, where nothing else can come."""
    return 0.0, [(token, 0.0)][:top]


class _Delayed(msgspec.Struct):
    inner: Any = None
    output: StepOutput | None = None
    error: BaseException | None = None


class DelayedRunner:
    """Runs another runner as late as a device might: nothing happens before `collect` asks for it.

    Proves on a CPU that the engine never reads a token before it is collected, and never frees or
    changes what a launched step still uses.
    """

    def __init__(self, inner: Runner) -> None:
        self._inner = inner
        self._todo: deque[tuple[_Delayed, Callable[[], None]]] = deque()

    def launch(self, plan: Plan) -> _Delayed:
        handle = _Delayed()
        frozen = msgspec.structs.replace(
            plan,
            deltas=[msgspec.structs.replace(d, slots=d.slots.copy()) for d in plan.deltas],
        )

        def work() -> None:
            handle.inner = self._inner.launch(frozen)

        self._todo.append((handle, work))
        return handle

    def sample(self, handle: _Delayed, masks: Masks) -> None:
        def work() -> None:
            self._inner.sample(handle.inner, masks)
            handle.output = self._inner.collect(handle.inner)

        self._todo.append((handle, work))

    def counters(self) -> dict[str, Any]:
        return self._inner.counters()

    def ready(self, handle: _Delayed) -> bool:
        return handle.output is not None or handle.error is not None

    def collect(self, handle: _Delayed) -> StepOutput:
        while self._todo and handle.output is None and handle.error is None:
            owner, work = self._todo.popleft()
            if owner.error is None:
                try:
                    work()
                except Exception as error:
                    owner.error = error
        if handle.error is not None:
            raise handle.error
        assert handle.output is not None, "collected before it was sampled"
        return handle.output
