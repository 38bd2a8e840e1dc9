"""Runs a torch model: a plan becomes tensors here, and tokens leave here."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import msgspec
import numpy as np
import torch
from torch import Tensor

from ..kernels.attention_plan import SharedRun
from ..kernels.device import current_device, put, put_ints, uses_triton
from ..kernels.native import library
from .batch import ForwardBatch
from .fixed_shapes import BLOCK, forward_mixed
from .kv_cache import HostKV, KVCache
from .model_runner import Masks
from .models import CausalLM
from .plan import Plan, SeatParams, StepOutput, TableGrowth
from .pooling import sum_rows
from .sampler import Sampled, Sampler
from .warm_up import warm_up

if TYPE_CHECKING:
    from .graph_inputs import GraphOptions
    from .step_graphs import Ready, StepGraphs

P = ParamSpec("P")
R = TypeVar("R")
_SCORED = 64  # rows whose log probabilities are made at once: they are copies of the logits


class _Launched(msgspec.Struct):
    plan: Plan
    logits: Tensor | None
    sampled: Sampled | None = None
    pooled: Tensor | None = None
    read: _Read | None = None
    ready: Any = None  # of step_graphs.py, where a graph runs the step


class _Read(msgspec.Struct):
    """What was sampled on its way to the host's pinned memory `numbers` [4, S]; complete when
    `there` has come."""

    numbers: Tensor
    there: torch.cuda.Event


def _on_device(
    part: Callable[Concatenate[TorchRunner, P], R],
) -> Callable[Concatenate[TorchRunner, P], R]:
    """For inference, with the runner's GPU as the current one: kernels are launched there."""

    @functools.wraps(part)
    def run(self: TorchRunner, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with current_device(self.device), torch.inference_mode():
            return part(self, *args, **kwargs)

    return run


class TorchRunner:
    """A model, its KV cache, and per seat: slot table, sampling parameters, last token."""

    def __init__(
        self,
        model: CausalLM,
        kv: KVCache,
        *,
        max_running: int,
        max_context: int,
        deterministic: bool = False,
        host: HostKV | None = None,
        graphs: GraphOptions | None = None,
    ) -> None:
        self.model = model
        self.kv = kv
        self._host = host
        self.device = kv.device
        # The seats whose rows run in fixed shapes; all of them in an engine that promises it.
        self._fixed = set(range(max_running)) if deterministic else set[int]()
        self._always_fixed = deterministic
        seats = max_running if graphs is None else max_running + 1  # one that nobody has
        self._tables = torch.zeros((seats, max_context + BLOCK), dtype=torch.int64)
        self._tables = self._tables.to(self.device)
        # On a CPU the same memory, which numpy writes in a fraction of the time.
        self._in_memory = self._tables.numpy() if self.device.type == "cpu" else None
        if self.device.type == "cpu":  # compiled now, not when the first request waits
            for dtype in (model.dtype, torch.float32):
                library(dtype)
        self._last = torch.zeros(seats, dtype=torch.int64, device=self.device)
        self._params: list[SeatParams | None] = [None] * max_running
        self._sampler = Sampler(seats, model.config.vocab_size, self.device)
        self._graphs: StepGraphs | None = None
        if graphs is not None:
            from .step_graphs import StepGraphs

            parts = model, kv, self._sampler, self._tables, self._last
            self._graphs = StepGraphs(*parts, graphs)

    @_on_device
    def warm_up(self) -> None:
        """Compiles Triton's kernels, if it is they that run."""
        if uses_triton(self._last):
            warm_up(
                self.model,
                self.kv,
                self._sampler,
                max_context=self._tables.shape[1],
                graphs=self._graphs is not None,
            )

    @_on_device
    def launch(self, plan: Plan) -> _Launched:
        for move in plan.moves:
            assert self._host is not None
            self._host.move(move)
        for params in plan.new_seats:
            self._sit(params)
        for delta in plan.deltas:
            stop = delta.start + len(delta.slots)
            self._tables[delta.seat, delta.start : stop] = put(delta.slots, self.device)
        ready: Ready | None = None
        if self._graphs is not None and plan.positions:
            ready = self._graphs.takes(plan, fixed=not self._fixed.isdisjoint(plan.seats))
        if self._graphs is not None and ready is not None:
            launched, hidden = self._launch_graph(self._graphs, ready, plan)
        else:
            if plan.growth is not None:
                self._grow(plan.growth)
            if not plan.positions:
                return _Launched(plan=plan, logits=None)
            logits, hidden = self._forward(plan)
            launched = _Launched(plan=plan, logits=logits)
        if hidden is not None:
            sums = [sum_rows(rows) for rows in hidden.split(plan.pool_counts)]
            launched.pooled = torch.stack(sums)
        return launched

    @_on_device
    def sample(self, handle: _Launched, masks: Masks) -> None:
        plan = handle.plan
        self._sampler.update_pool(masks)
        if not plan.sample_from:
            return
        assert handle.logits is not None
        found = None
        if handle.ready is not None and self._graphs is not None:
            found = self._graphs.sample(handle.ready, plan, masks)
        if found is None:
            found = self._sampler.sample(handle.logits, plan, masks, self._fixed)
            self._last[self._index(plan.sample_seats)] = found.tokens
        handle.sampled = found
        if self.device.type == "cuda":
            handle.read = _read(found)

    def counters(self) -> dict[str, Any]:
        return {} if self._graphs is None else self._graphs.counters()

    def ready(self, handle: _Launched) -> bool:
        return handle.read is None or handle.read.there.query()

    @_on_device
    def collect(self, handle: _Launched) -> StepOutput:
        plan = handle.plan
        out = StepOutput(tokens=[])
        if handle.sampled is not None:
            _tell(handle.sampled, handle.read, out)
            for i, seat in enumerate(plan.sample_seats):
                params = self._params[seat]
                if params is not None and params.logprobs is not None:
                    out.logprobs[i] = self._logprobs(
                        handle, [plan.sample_from[i]], [out.tokens[i]], params.logprobs
                    )[0]
        if plan.score_rows:
            out.scores = self._logprobs(handle, plan.score_rows, plan.score_tokens, plan.score_top)
        if handle.pooled is not None:
            out.pooled = list(handle.pooled.cpu().numpy())
        return out

    # -- inside ------------------------------------------------------------------------------------

    def _launch_graph(
        self, graphs: StepGraphs, ready: Ready, plan: Plan
    ) -> tuple[_Launched, Tensor | None]:
        logits, hidden = graphs.forward(ready, plan)
        if not ready.samples:
            return _Launched(plan=plan, logits=logits), hidden
        params = [self._params[seat] for seat in plan.seats]
        if any(each is not None and each.logprobs is not None for each in params):
            logits = logits.clone()  # they are asked for after the next step has begun
        return _Launched(plan=plan, logits=logits, ready=ready), hidden

    def _sit(self, params: SeatParams) -> None:
        seat = params.seat
        self._params[seat] = params
        self._sampler.sit(params)
        if params.deterministic:
            self._fixed.add(seat)
        elif not self._always_fixed:
            self._fixed.discard(seat)

    def _grow(self, growth: TableGrowth) -> None:
        if self._in_memory is not None:
            first = np.array(growth.starts)[:, None]
            columns = first + np.arange(growth.slots.shape[1])
            self._in_memory[np.array(growth.seats)[:, None], columns] = growth.slots
            return
        slots = put(growth.slots, self.device)
        seats, starts = self._index(growth.seats), self._index(growth.starts)
        where = starts[:, None] + torch.arange(slots.shape[1], device=self.device)
        self._tables[seats[:, None], where] = slots

    def _forward(self, plan: Plan) -> tuple[Tensor, Tensor | None]:
        """Logits [N, V], and the hidden states [P, hidden size] that are asked for."""
        input_ids = self._index(plan.input_ids)
        if plan.device_rows:
            last = self._last[self._index(plan.device_seats)]
            input_ids[self._index(plan.device_rows)] = last
        if self._fixed and not self._fixed.isdisjoint(plan.seats):
            fixed = [seat in self._fixed for seat in plan.seats]
            return forward_mixed(self.model, self.kv, plan, input_ids, self._tables, fixed)
        batch = self._batch(plan, input_ids)
        return self.model.forward(batch, self.kv), batch.hidden

    def _batch(self, plan: Plan, input_ids: Tensor) -> ForwardBatch:
        return ForwardBatch(
            input_ids=input_ids,
            positions=self._index(plan.positions),
            slot_of=self._index(plan.slot_of),
            query_start=plan.query_start,
            seq_len=plan.seq_len,
            slot_tables=self._tables,
            table_of=plan.seats,
            logits_at=self._index(plan.logits_at),
            hidden_at=self._index(plan.pool_rows) if plan.pool_rows else None,
            shared=[SharedRun(run.members, run.begin, run.end) for run in plan.shared],
        )

    def _index(self, numbers: Sequence[int]) -> Tensor:
        return put_ints(numbers, self.device)

    def _logprobs(
        self, handle: _Launched, rows: list[int], tokens: list[int], top: int
    ) -> list[tuple[float, list[tuple[int, float]]]]:
        """Log probabilities of tokens under the raw logits of rows, and the `top` likeliest."""
        found = []
        for at in range(0, len(rows), _SCORED):
            stop = at + _SCORED
            found += self._logprobs_of(handle, rows[at:stop], tokens[at:stop], top)
        return found

    def _logprobs_of(
        self, handle: _Launched, rows: list[int], tokens: list[int], top: int
    ) -> list[tuple[float, list[tuple[int, float]]]]:
        assert handle.logits is not None
        logprobs = handle.logits[self._index(rows)].log_softmax(dim=-1)
        own = logprobs.gather(1, self._index(tokens).unsqueeze(1)).squeeze(1).tolist()
        if not top:
            return [(value, []) for value in own]
        best = logprobs.topk(min(top, logprobs.shape[1]), dim=-1)
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        alternatives = [list(zip(ids, values, strict=True)) for ids, values in pairs]
        return list(zip(own, alternatives, strict=True))


def _read(found: Sampled) -> _Read:
    """Starts the copy of what was sampled to the host."""
    parts = found.parts
    numbers = parts if isinstance(parts, Tensor) else torch.stack(tuple(parts))
    there = torch.empty(numbers.shape, dtype=torch.int64, pin_memory=True)
    there.copy_(numbers, non_blocking=True)
    event = torch.cuda.Event()
    event.record()
    return _Read(there, event)


def _tell(found: Sampled, read: _Read | None, out: StepOutput) -> None:
    """Puts what was sampled into `out`, waiting for it where it is on its way."""
    parts = found.parts
    if read is not None:
        read.there.synchronize()  # a step's one wait for the device's results
        parts = read.numbers
    out.tokens, near, broken, *banned = [part.tolist() for part in parts]
    out.near_ties = [bool(tie) for tie in near]
    out.broken = [i for i, nan in enumerate(broken) if nan]
    out.banned = [i for each in banned for i, left_out in enumerate(each) if left_out]
