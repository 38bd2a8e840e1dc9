"""Runs a torch model: a plan becomes tensors here, and tokens leave here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from ..kernels.attention_plan import SharedRun
from ..kernels.native import library
from ..kernels.sampling import HOTTEST, mask_logits, masked_greedy, masked_sample, noise_keys
from .batch import ForwardBatch
from .biases import BiasTable
from .fixed_shapes import BLOCK, forward_mixed
from .kv_cache import HostKV, KVCache
from .model_runner import Masks
from .models import CausalLM
from .penalties import PenaltyTable
from .plan import Plan, SeatParams, StepOutput, TableGrowth
from .pooling import sum_rows

_SCORED = 64  # rows whose log probabilities are made at once: they are copies of the logits


class _Launched(msgspec.Struct):
    plan: Plan
    logits: Tensor | None
    tokens: Tensor | None = None
    near: Tensor | None = None
    banned: Tensor | None = None
    broken: Tensor | None = None
    pooled: Tensor | None = None
    sampled: torch.cuda.Event | None = None


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
    ) -> None:
        self.model = model
        self.kv = kv
        self._host = host
        self.device = kv.device
        # The seats whose rows run in fixed shapes; all of them in an engine that promises it.
        self._fixed = set(range(max_running)) if deterministic else set[int]()
        self._always_fixed = deterministic
        self._tables = torch.zeros((max_running, max_context + BLOCK), dtype=torch.int64)
        self._tables = self._tables.to(self.device)
        # On a CPU the same memory, which numpy writes in a fraction of the time.
        self._in_memory = self._tables.numpy() if self.device.type == "cpu" else None
        if self.device.type == "cpu":  # compiled now, not when the first request waits
            for dtype in (model.dtype, torch.float32):
                library(dtype)
        self._last = torch.zeros(max_running, dtype=torch.int64, device=self.device)
        self._params: list[SeatParams | None] = [None] * max_running
        self._floats = np.zeros((3, max_running), dtype=np.float32)  # temperature, top_p, min_p
        self._ints = np.zeros((3, max_running), dtype=np.int64)  # top_k, seed, index
        self._warm = set[int]()  # seats with a temperature
        self._pool = torch.zeros((0, 0), dtype=torch.int32, device=self.device)
        self._penalties = PenaltyTable(max_running, model.config.vocab_size, self.device)
        self._biases = BiasTable(self.device)

    @torch.inference_mode()
    def launch(self, plan: Plan) -> _Launched:
        for move in plan.moves:
            assert self._host is not None
            self._host.move(move)
        for params in plan.new_seats:
            self._sit(params)
        for delta in plan.deltas:
            slots = torch.from_numpy(delta.slots)
            stop = delta.start + len(delta.slots)
            self._tables[delta.seat, delta.start : stop] = slots.to(self.device)
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

    @torch.inference_mode()
    def sample(self, handle: _Launched, masks: Masks) -> None:
        plan = handle.plan
        self._update_pool(masks)
        if not plan.sample_from:
            return
        assert handle.logits is not None
        logits = handle.logits.index_select(0, self._index(plan.sample_from))
        handle.broken = logits.sum(dim=-1).isnan()
        seats = plan.sample_seats
        self._biases.bias(logits, seats)
        self._penalties.apply(logits, seats)
        bans = self._biases.ban(logits, seats, plan.sample_positions)
        if masks.samples:  # these logits are a copy of this step's
            mask_logits(logits, self._pool, self._index(masks.rows), self._index(masks.samples))
        alone = [i for i, seat in enumerate(seats) if seat in self._fixed] if self._fixed else []
        if not alone:
            handle.tokens, handle.near = self._choose(logits, plan)
        else:
            groups = [[i] for i in alone]
            if len(alone) < len(seats):
                groups.append([i for i, seat in enumerate(seats) if seat not in self._fixed])
            handle.tokens = torch.empty(len(seats), dtype=torch.int64, device=self.device)
            handle.near = torch.empty(len(seats), dtype=torch.bool, device=self.device)
            for group in groups:
                at = self._index(group)
                handle.tokens[at], handle.near[at] = self._choose(logits[at], plan, group)
        if bans:
            chosen = logits.gather(1, handle.tokens.unsqueeze(1)).squeeze(1)
            handle.banned = self._biases.refused(chosen)
        self._last[self._index(seats)] = handle.tokens
        self._penalties.count(handle.tokens, seats)
        if self.device.type == "cuda":
            handle.sampled = torch.cuda.Event()
            handle.sampled.record()

    def ready(self, handle: _Launched) -> bool:
        return handle.sampled is None or handle.sampled.query()

    def _choose(
        self, logits: Tensor, plan: Plan, which: list[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Tokens and near ties of the samples `which` (None: all), whose masked logits these
        are."""
        samples = range(len(plan.sample_seats)) if which is None else which
        seats = [plan.sample_seats[i] for i in samples]
        if self._warm.isdisjoint(seats):
            return masked_greedy(logits, None)
        temperature, top_p, min_p = self._floats[:, seats]
        top_k, seeds, indices = self._ints[:, seats]
        positions = np.array([plan.sample_positions[i] for i in samples], dtype=np.int64)
        keys = noise_keys(*(self._put(x) for x in (seeds, indices, positions)))
        return masked_sample(
            logits,
            temperature=self._put(temperature),
            top_k=self._put(top_k),
            top_p=self._put(top_p),
            min_p=self._put(min_p),
            keys=keys,
            filtered=bool(top_k.any() or (top_p < 1).any() or min_p.any()),
        )

    @torch.inference_mode()
    def collect(self, handle: _Launched) -> StepOutput:
        plan = handle.plan
        out = StepOutput(tokens=[])
        if handle.tokens is not None and handle.near is not None:
            out.tokens = handle.tokens.tolist()
            out.near_ties = handle.near.tolist()
            if handle.banned is not None:
                out.banned = handle.banned.nonzero().flatten().tolist()
            if handle.broken is not None:
                out.broken = handle.broken.nonzero().flatten().tolist()
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

    def _sit(self, params: SeatParams) -> None:
        seat = params.seat
        self._params[seat] = params
        self._floats[:, seat] = min(params.temperature, HOTTEST), params.top_p, params.min_p
        self._ints[:, seat] = params.top_k, params.seed, params.index
        (self._warm.add if params.temperature else self._warm.discard)(seat)
        self._penalties.sit(params)
        self._biases.sit(params)
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
        slots = self._put(growth.slots)
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
        return torch.from_numpy(np.array(numbers, dtype=np.int64)).to(self.device)

    def _put(self, array: Any) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _update_pool(self, masks: Masks) -> None:
        if masks.new_words is None or not masks.new_rows:
            return
        needed = max(masks.new_rows) + 1
        if needed > len(self._pool):
            grown = torch.zeros(
                (max(needed, 2 * len(self._pool)), masks.new_words.shape[1]),
                dtype=torch.int32,
                device=self.device,
            )
            if len(self._pool):
                grown[: len(self._pool)] = self._pool
            self._pool = grown
        words = torch.from_numpy(masks.new_words.view(np.int32))
        self._pool[self._index(masks.new_rows)] = words.to(self.device)

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
