"""CUDA graphs of decode steps: the model in one, the sampler in another.

A step of n sequences runs in the graph of the least bucket that holds n. All that changes from step
to step is written to one pinned buffer on the host, copied at once, and read from there by what was
captured (`decode_inputs.py`); the sampler reads, beside that, which row of the mask pool holds for
each row. Everything else that a graph reads stays where it is: weights, KV, tables of slots, the
last token and the sampling of each seat, the pool.

Capturing takes a while, and not every size comes again: a bucket's first `EAGER` steps run without
a graph, and the one after them is run twice, once for its result and once to be captured; whoever
runs in that step waits for it. What does not fit (prompts, drafts, scores, more pieces of attention
than there is room for) runs without a graph, and so does all where something could not be captured.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ..errors import NotSupportedError
from ..kernels.attention_plan import AttentionPlan, PlanRoom
from ..kernels.prepare import ROW, RowInputs, prepare
from ..kernels.triton_attention import DevicePlan, packed_rows, plan_key
from ..kernels.tuned import tiles_for
from .batch import ForwardBatch
from .config import ModelConfig
from .decode_inputs import DecodeLayout, decodes
from .kv_cache import KVCache
from .model_runner import Masks
from .models import CausalLM
from .models.llama import Angles
from .plan import Plan
from .sampler import Sampled, Sampler

_log = logging.getLogger("espalier.engine")

BUCKETS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Rows of a graph; steps with more sequences than the last run without one."""
EAGER = 3
"""Steps of a bucket before it is captured."""
PARTIALS = 4096
"""Partial results of attention that a graph has room for: as many pieces of keys, of all rows."""
_IN_FLIGHT = 3  # pinned buffers: what the step before wrote may still be on its way

Replay = Callable[[], None]


class Capture(Protocol):
    """How work on the device is captured."""

    def __call__(self, work: Callable[[], Tensor]) -> tuple[Tensor, Replay]:
        """What `work` returns, and what does the same again to the same memory."""
        ...


class CudaCapture:
    """Captures CUDA graphs, which share their memory: they never run at once."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream()  # of this GPU: torch's own is the first one's

    def __call__(self, work: Callable[[], Tensor]) -> tuple[Tensor, Replay]:
        graph = torch.cuda.CUDAGraph()
        before = torch.cuda.current_stream()
        try:
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
            ):
                out = work()
        except BaseException:  # torch leaves its stream current where ending a capture fails
            torch.cuda.set_stream(before)
            before.wait_stream(self._stream)
            raise
        return out, graph.replay


@dataclass(frozen=True)
class GraphOptions:
    """page_size: slots that a table gets at once. programs: of attention, that a launch has in
    all."""

    page_size: int
    programs: int
    capture: Capture


@runtime_checkable
class CapturableLM(Protocol):
    """What capturing needs of a model, beside `CausalLM`: that all its layers attend by heads of
    one kind, and that its rotary tables can be made to last."""

    config: ModelConfig
    dtype: torch.dtype
    angles: Angles

    def forward(self, batch: ForwardBatch, kv: KVCache) -> Tensor:
        """See `CausalLM`."""
        ...


@dataclass
class _Graph:
    """A captured part of a step. out: what it writes. seen: steps that it might have run."""

    seen: int = 0
    out: Tensor | None = None
    replay: Replay | None = None
    stamp: int = 0


@dataclass
class Bucket:
    """The graphs of a number of rows, and the memory that they read."""

    layout: DecodeLayout
    there: Tensor
    here: list[Tensor]
    inputs: RowInputs
    batch: ForwardBatch
    mask_rows: Tensor
    model: _Graph = field(default_factory=_Graph)
    samplers: dict[bool, _Graph] = field(default_factory=dict)
    turn: int = 0


@dataclass(frozen=True)
class Ready:
    """A step that a bucket will run, packed."""

    bucket: Bucket
    plans: list[AttentionPlan]


class DecodeGraphs:
    """See the module's docstring. tables [seats + 1, width] and last [seats + 1]: of the runner,
    with one seat more than anybody may have, which is padding's."""

    def __init__(
        self,
        model: CausalLM,
        kv: KVCache,
        sampler: Sampler,
        tables: Tensor,
        last: Tensor,
        options: GraphOptions,
    ) -> None:
        if not isinstance(model, CapturableLM):
            raise NotSupportedError(
                "CUDA graphs need one of our own definitions of models",
                got=type(model).__name__,
                where="cuda_graphs",
                hint="Start the engine without cuda_graphs.",
            )
        given = cast(CapturableLM, model)
        self._model, self._kv, self._sampler = given, kv, sampler
        self._tables, self._last = tables, last
        self._options, self._capture = options, options.capture
        self._buckets: dict[tuple[int, bool], Bucket] = {}
        self._failed = False
        seats = len(tables) - 1
        self._sizes = [size for size in BUCKETS if size < seats] + [min(seats, BUCKETS[-1])]
        # Everything that grows has to be there: what was captured reads the old one.
        given.angles.reserve(tables.shape[1])
        shape = self._sizes[-1], given.config.vocab_size
        self._logits = torch.zeros(shape, device=kv.device)

    def takes(self, plan: Plan) -> Ready | None:
        """The bucket that runs a step by a graph, or is to be captured with it; None for the
        others, which run without one."""
        count = len(plan.positions)
        if self._failed or not decodes(plan) or count > self._sizes[-1]:
            return None
        bucket = self._bucket(count, shared=bool(plan.shared))
        if bucket.model.seen < EAGER:
            bucket.model.seen += 1
            return None
        if plan.growth is not None and plan.growth.slots.size > bucket.layout.growth:
            return None
        plans = bucket.layout.plans(plan)
        return None if plans is None else Ready(bucket, plans)

    def forward(self, ready: Ready, plan: Plan) -> Tensor:
        """The step's logits [n, V], until the next step of the bucket."""
        bucket = ready.bucket
        here = bucket.here[bucket.turn % _IN_FLIGHT]
        bucket.turn += 1
        nobody, trash = len(self._tables) - 1, self._kv.trash_slot
        used = bucket.layout.pack(plan, ready.plans, here.numpy(), nobody=nobody, trash_slot=trash)
        bucket.there[:used].copy_(here[:used], non_blocking=True)
        logits = self._run(bucket.model, lambda: self._forward(bucket), "decoding")
        return logits[: len(plan.positions)]

    def sample(self, ready: Ready, plan: Plan, masks: Masks) -> Sampled | None:
        """The step's tokens, which are the seats' last ones then; None where its sampler runs
        without a graph."""
        bucket, seats = ready.bucket, plan.sample_seats
        if not self._sampler.plain(seats):
            return None
        filtered = self._sampler.filtered(seats)
        graph = bucket.samplers.setdefault(filtered, _Graph())
        self._sampler.tables()  # they know the newcomers now
        rows = np.full(bucket.layout.rows, -1, dtype=np.int64)
        rows[masks.samples] = masks.rows
        bucket.mask_rows.copy_(_pinned(rows, self._kv.device), non_blocking=True)
        stamp = self._sampler.pool.data_ptr()
        if graph.stamp != stamp:  # the pool has grown, and lies elsewhere
            graph = bucket.samplers[filtered] = _Graph(stamp=stamp)
        numbers = self._run(graph, lambda: self._sample(bucket, filtered), "sampling")
        numbers = numbers[:, : len(seats)]
        if not numbers.is_cuda:  # there, what is read is copied to the host by now
            numbers = numbers.clone()
        return Sampled(numbers)

    # -- inside ------------------------------------------------------------------------------------

    def _run(self, graph: _Graph, work: Callable[[], Tensor], what: str) -> Tensor:
        """Does `work` by its graph, which is captured when there is none; the memory it leaves its
        result in is always the same from then on."""
        if graph.replay is not None:
            assert graph.out is not None
            graph.replay()
            return graph.out
        done = work()  # compiles kernels, and is what this step gets
        if not self._failed:
            try:
                graph.out, graph.replay = self._capture(work)
                graph.out.copy_(done)
                return graph.out
            except Exception:
                self._failed, graph.out = True, None
                _log.warning(
                    "%s could not be captured: steps run without CUDA graphs", what, exc_info=True
                )
        return done

    def _forward(self, bucket: Bucket) -> Tensor:
        layout = bucket.layout
        rows = bucket.there[: ROW * layout.rows].view(ROW, layout.rows)
        at = layout.growth_at
        growth = bucket.there[at : at + 3 * layout.growth].view(3, layout.growth)
        prepare(rows, growth, self._last, self._tables, bucket.inputs)
        # All buckets leave their logits in one place: each of its own would be much memory.
        logits = self._logits[: layout.rows]
        return logits.copy_(self._model.forward(bucket.batch, self._kv))

    def _sample(self, bucket: Bucket, filtered: bool) -> Tensor:
        found = self._sampler.draw(
            self._logits[: bucket.layout.rows],
            seats=bucket.inputs.seats,
            positions=bucket.inputs.sample_positions,
            rows=bucket.mask_rows,
            filtered=filtered,
        )
        self._last[bucket.inputs.seats] = found.tokens
        return torch.stack(tuple(found.parts))

    def _bucket(self, count: int, shared: bool) -> Bucket:
        size = next(size for size in self._sizes if size >= count)
        found = self._buckets.get((size, shared))
        if found is None:
            found = self._buckets[size, shared] = self._made(size, shared)
        return found

    def _made(self, size: int, shared: bool) -> Bucket:
        device, config = self._kv.device, self._model.config
        group = config.num_heads // config.num_kv_heads
        q = torch.empty(
            (0, config.num_heads, config.head_dim), dtype=self._model.dtype, device=device
        )
        tiles = tiles_for(q, self._kv.k[0], self._kv.v[0])  # as the model's layers have them
        packed = packed_rows(tiles, group, lone=not shared)
        windows = tuple(dict.fromkeys(config.windows))
        room = PlanRoom(
            items=PARTIALS + size,
            listed=8 * size,
            rows=size,
            merged=size,
            partials=PARTIALS,
        )
        layout = DecodeLayout(
            rows=size,
            growth=size * self._options.page_size,
            windows=windows,
            room=room,
            tile=packed // group,
            split=tiles.split,
        )
        there = torch.zeros(layout.size, dtype=torch.int32, device=device)
        pinned = device.type == "cuda"
        here = [
            torch.zeros(layout.size, dtype=torch.int32, pin_memory=pinned)
            for _ in range(_IN_FLIGHT)
        ]
        inputs = RowInputs(
            *(torch.zeros(size, dtype=torch.int64, device=device) for _ in RowInputs._fields)
        )
        plans: dict[Any, DevicePlan] = {}
        for number, window in enumerate(windows):
            at = layout.plan_at(number)
            part = there[at : at + room.size]
            programs = max(1, self._options.programs // config.num_kv_heads)
            key = plan_key(group, window, tiles)
            plans[key] = DevicePlan.of(part, room, packed, programs, tiles.split)
        batch = ForwardBatch(
            input_ids=inputs.input_ids,
            positions=inputs.positions,
            slot_of=inputs.slot_of,
            query_start=list(range(size + 1)),
            seq_len=[self._tables.shape[1]] * size,  # the most; the plans know theirs
            slot_tables=self._tables,
            logits_at=torch.arange(size, device=device),
            attention_plans=plans,
        )
        mask_rows = torch.full((size,), -1, dtype=torch.int64, device=device)
        return Bucket(layout, there, here, inputs, batch, mask_rows)


def graph_bytes(
    *, seats: int, vocab_size: int, heads: int, v_width: int, hidden_size: int, itemsize: int
) -> int:
    """Memory that graphs hold, by estimate: the logits, attention's partial results, the rows of
    the largest bucket at 24 hidden sizes each (as `capacity.step_bytes`), and the packed inputs."""
    rows = min(seats, BUCKETS[-1])
    beside = (64 << 20) + rows * 4096 * 4  # cuBLAS's workspace, fragments; the filters' distances
    partial = PARTIALS * heads * (v_width + 1) * 4
    packed = len(BUCKETS) * 2 * (PARTIALS + rows) * 6 * 4
    return (
        rows * vocab_size * (4 + 4 + itemsize)
        + partial
        + beside
        + rows * 24 * hidden_size * itemsize
        + packed
    )


def _pinned(array: np.ndarray[Any, Any], device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.pin_memory() if device.type == "cuda" else tensor
