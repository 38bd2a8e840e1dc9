"""A runner whose KV says what was written into it: the scheduler's strongest oracle.

The content of a slot is the token prefix it stands for, as a chain of hashes. A row's content
follows from the slot before it in its sequence's table, as it is there when the step runs. So any
slot that is stale, overwritten, missing or somebody else's breaks the chain, and is found in the
step that reads it. Tokens are a function of the chain, so that an answer computed from the
prompt alone (`answer`) tells whether the right keys were read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from espalier.runtime.model_runner import Masks
from espalier.runtime.plan import Plan, SeatParams, StepOutput
from espalier.runtime.pooling import COARSE

_MASK = (1 << 64) - 1
_START = 0x9E3779B97F4A7C15


def _mix(before: int, token: int) -> int:
    mixed = (before ^ (token + 0x632BE5AB)) * 0xBF58476D1CE4E5B9 & _MASK
    return mixed ^ (mixed >> 29)


def chain(tokens: Sequence[int]) -> int:
    """What the slot of the last of these tokens holds."""
    content = _START
    for token in tokens:
        content = _mix(content, token)
    return content


def sampled(content: int, seed: int, index: int, position: int, vocab: int) -> int:
    """The token that follows the prefix `content`: few distinct ones, so that outputs collide."""
    noise = _mix(_mix(content, seed & _MASK), index * 31 + position) if seed else content
    return (noise >> 33) % vocab


def scored(content: int, token: int) -> float:
    """The log probability of `token` after the prefix `content`."""
    return -float(_mix(content, token) >> 44) / 1024


def pooled(prompt: Sequence[int], pooling: str) -> float:
    """The embedding of the prompt, a vector of one number; sums of it are exact in float32."""
    states = [_state(chain(prompt[: at + 1])) for at in range(len(prompt))]
    return states[-1] if pooling == "last" else sum(states) / len(states)


def _state(content: int) -> float:
    """The hidden state of a row."""
    return float(content >> 54)


def answer(
    prompt: Sequence[int], count: int, *, seed: int = 0, index: int = 0, vocab: int
) -> list[int]:
    """`count` tokens that follow the prompt, computed from nothing but the prompt."""
    tokens = list(prompt)
    content = chain(tokens)
    for _ in range(count):
        token = sampled(content, seed, index, len(tokens), vocab)
        tokens.append(token)
        content = _mix(content, token)
    return tokens[len(prompt) :]


class SimulatedRunner:
    """See the module's docstring. written: rows that wrote KV, over all steps. A step that finds
    its KV wrong leaves none behind, as an abandoned one might."""

    def __init__(self, *, capacity: int, max_running: int, vocab: int) -> None:
        self._capacity = capacity
        self._vocab = vocab
        self._content: list[int | None] = [None] * capacity
        self._position = np.full(capacity, -1, dtype=np.int64)
        self._tables = np.full((max_running, capacity + 1), -1, dtype=np.int64)
        self._last = [-1] * max_running
        self._params: list[SeatParams | None] = [None] * max_running
        self._host: dict[int, tuple[int | None, int]] = {}
        self.written = 0
        self.steps = 0

    def launch(self, plan: Plan) -> dict[str, Any]:
        for move in plan.moves:
            for device, host in zip(move.device.tolist(), move.host.tolist(), strict=True):
                if move.kind == "save":
                    self._host[host] = self._content[device], int(self._position[device])
                else:
                    self._content[device], self._position[device] = self._host[host]
        for params in plan.new_seats:
            self._params[params.seat] = params
            self._last[params.seat] = -1
        for delta in plan.deltas:
            self._tables[delta.seat, delta.start : delta.start + len(delta.slots)] = delta.slots
        if plan.growth is not None:
            for seat, start, slots in zip(
                plan.growth.seats, plan.growth.starts, plan.growth.slots, strict=True
            ):
                self._tables[seat, start : start + len(slots)] = slots
        self.steps += 1
        try:
            contents = self._run(plan)
        except AssertionError:
            for slot in plan.slot_of:
                if slot != self._capacity:
                    self._content[slot] = None
            raise
        rows = iter(plan.pool_rows)
        sums = [sum(_state(contents[next(rows)]) for _ in range(n)) for n in plan.pool_counts]
        logits = [contents[row] for row in plan.logits_at]
        return {"plan": plan, "logits": logits, "sums": sums, "tokens": None}

    def _run(self, plan: Plan) -> list[int]:
        """Write every row, lowest positions first, then look at every key that every row reads."""
        tokens = list(plan.input_ids)
        for row, seat in zip(plan.device_rows, plan.device_seats, strict=True):
            assert self._last[seat] >= 0, "a row's input is a token that its seat never sampled"
            tokens[row] = self._last[seat]
        assert len(tokens) == len(plan.positions) == len(plan.slot_of) == plan.query_start[-1]
        seat_of = [
            seat
            for b, seat in enumerate(plan.seats)
            for _ in range(plan.query_start[b + 1] - plan.query_start[b])
        ]
        contents: list[int] = [0] * len(tokens)
        writer: dict[int, int] = {}
        for row in sorted(range(len(tokens)), key=lambda row: plan.positions[row]):
            at, table = plan.positions[row], self._tables[seat_of[row]]
            before = _START if at == 0 else self._read(int(table[at - 1]), at - 1)
            contents[row] = _mix(before, tokens[row])
            slot = plan.slot_of[row]
            if slot == self._capacity:
                held = self._read(int(table[at]), at)
                assert held == contents[row], f"position {at} is said to be cached, and is not"
                continue
            assert slot == table[at], "a row writes another slot than its table names"
            earlier = writer.setdefault(slot, contents[row])
            assert earlier == contents[row], "two rows of one step write one slot differently"
            self._content[slot] = contents[row]
            self._position[slot] = at
            self.written += 1
        for b, seat in enumerate(plan.seats):
            self._check_keys(plan, b, self._tables[seat], tokens, contents)
        for run in plan.shared:
            tables = self._tables[[plan.seats[b] for b in run.members], run.begin : run.end]
            assert 0 <= run.begin < run.end
            assert (tables == tables[0]).all(), "a shared run whose slots are not the same"
            assert all(plan.positions[plan.query_start[b]] >= run.end for b in run.members)
        return contents

    def _read(self, slot: int, at: int) -> int:
        assert 0 <= slot < self._capacity, f"position {at} has no slot"
        content = self._content[slot]
        assert content is not None, f"position {at} reads a slot that nobody wrote"
        assert self._position[slot] == at, f"position {at} reads KV of {self._position[slot]}"
        return content

    def _check_keys(
        self, plan: Plan, b: int, table: np.ndarray, tokens: list[int], contents: list[int]
    ) -> None:
        """The keys of a sequence's last row, which are those of all its rows."""
        first, last = plan.query_start[b], plan.query_start[b + 1]
        assert first < last
        assert plan.seq_len[b] == plan.positions[last - 1] + 1
        keys = [self._read(int(table[at]), at) for at in range(plan.seq_len[b])]
        start = plan.positions[first]
        assert plan.positions[first:last] == list(range(start, start + last - first))
        assert keys[start:] == contents[first:last], "a row's own KV is not what its table names"
        before = _START if start == 0 else keys[start - 1]
        assert contents[first] == _mix(before, tokens[first]), "a key was overwritten in its step"
        params = self._params[plan.seats[b]]
        assert params is not None, "rows of a seat that nobody took"

    def sample(self, handle: dict[str, Any], masks: Masks) -> None:
        plan: Plan = handle["plan"]
        tokens = []
        for place, seat, at in zip(
            plan.sample_from, plan.sample_seats, plan.sample_positions, strict=True
        ):
            params = self._params[seat]
            assert params is not None
            assert params.seat == seat
            content = handle["logits"][place]
            seed = params.seed if params.temperature else 0
            tokens.append(sampled(content, seed, params.index, at, self._vocab))
            self._last[seat] = tokens[-1]
        handle["tokens"] = tokens

    def counters(self) -> dict[str, Any]:
        return {}

    def ready(self, handle: dict[str, Any]) -> bool:
        return handle["tokens"] is not None

    def collect(self, handle: dict[str, Any]) -> StepOutput:
        plan: Plan = handle["plan"]
        assert handle["tokens"] is not None
        scores: list[tuple[float, list[tuple[int, float]]]] = [
            (scored(handle["logits"][row], token), [])
            for row, token in zip(plan.score_rows, plan.score_tokens, strict=True)
        ]
        return StepOutput(
            tokens=handle["tokens"],
            near_ties=[False] * len(handle["tokens"]),
            scores=scores,
            pooled=[np.array([[total * COARSE], [0.0]]) for total in handle["sums"]],
        )


class Watched:
    """Any runner, with two things kept in `found`, since an engine makes no more than a failed step
    of an error: what a runner below asserted about a step that counts, and breaches of the host's
    own rule, that while a step is launched and not collected, no later one writes a slot that it
    reads or writes. A device that works in order would forgive these. A step that follows a failed
    one counts for nothing, but uses its slots until it is collected all the same."""

    def __init__(self, inner: Any, *, capacity: int, max_running: int) -> None:
        self._inner = inner
        self._capacity = capacity
        self._tables = np.full((max_running, capacity + 1), -1, dtype=np.int64)
        self._in_flight: dict[int, set[int]] = {}
        self._abandoned: set[int] = set()
        self.found: list[AssertionError] = []

    def launch(self, plan: Plan) -> tuple[int, Any]:
        if plan.growth is not None:
            for seat, start, slots in zip(
                plan.growth.seats, plan.growth.starts, plan.growth.slots, strict=True
            ):
                self._tables[seat, start : start + len(slots)] = slots
        for delta in plan.deltas:
            self._tables[delta.seat, delta.start : delta.start + len(delta.slots)] = delta.slots
        written = {slot for slot in plan.slot_of if slot != self._capacity}
        written.update(
            slot for move in plan.moves if move.kind == "load" for slot in move.device.tolist()
        )
        for step, used in self._in_flight.items():
            if written & used:
                late = f"step {plan.step} writes what step {step} still uses"
                self.found.append(AssertionError(late))
        with self._looking(plan.step):
            handle = self._inner.launch(plan)
        used = {
            slot
            for seat, keys in zip(plan.seats, plan.seq_len, strict=True)
            for slot in self._tables[seat, :keys].tolist()
        }
        self._in_flight[plan.step] = used | written
        return plan.step, handle

    def sample(self, handle: tuple[int, Any], masks: Masks) -> None:
        with self._looking(handle[0]):
            self._inner.sample(handle[1], masks)

    def counters(self) -> dict[str, Any]:
        counted: dict[str, Any] = self._inner.counters()
        return counted

    def ready(self, handle: tuple[int, Any]) -> bool:
        return bool(self._inner.ready(handle[1]))

    def collect(self, handle: tuple[int, Any]) -> StepOutput:
        with self._looking(handle[0]):
            output: StepOutput = self._inner.collect(handle[1])
        del self._in_flight[handle[0]]
        return output

    @contextlib.contextmanager
    def _looking(self, step: int) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if isinstance(error, AssertionError) and step not in self._abandoned:
                self.found.append(error)
            self._in_flight.pop(step, None)
            self._abandoned.update(other for other in self._in_flight if other > step)
            raise


class Broken(RuntimeError):
    """What a `FailingRunner` raises."""


class FailingRunner:
    """Another runner that raises at chosen calls: {"launch" | "sample" | "collect": numbers of the
    calls of that kind, from 0}."""

    def __init__(self, inner: Any, at: dict[str, set[int]]) -> None:
        self._inner = inner
        self._at = at
        self._calls = {"launch": 0, "sample": 0, "collect": 0}
        self.failed: list[Plan] = []

    def _count(self, kind: str, plan: Plan) -> None:
        number = self._calls[kind]
        self._calls[kind] += 1
        if number in self._at.get(kind, ()):
            self.failed.append(plan)
            raise Broken(f"{kind} {number}")

    def launch(self, plan: Plan) -> tuple[Plan, Any]:
        self._count("launch", plan)
        return plan, self._inner.launch(plan)

    def sample(self, handle: tuple[Plan, Any], masks: Masks) -> None:
        self._count("sample", handle[0])
        self._inner.sample(handle[1], masks)

    def counters(self) -> dict[str, Any]:
        counted: dict[str, Any] = self._inner.counters()
        return counted

    def ready(self, handle: tuple[Plan, Any]) -> bool:
        return bool(self._inner.ready(handle[1]))

    def collect(self, handle: tuple[Plan, Any]) -> StepOutput:
        self._count("collect", handle[0])
        output: StepOutput = self._inner.collect(handle[1])
        return output
