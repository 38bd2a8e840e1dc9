"""Which steps run as CUDA graphs, by which, and how many did not and why.

Steps that only decode have graphs of the model and of the sampler (`decode_graphs.py`); all others,
up to some rows, graphs of the layers (`layer_graphs.py`). Capturing takes a while, and not every
size comes again: a bucket's first `EAGER` steps run without a graph, and the one after them is run
twice, once for its result and once to be captured; whoever runs in that step waits for it. What
does not fit runs without. Where something could not be captured, nothing more is: what has a graph
by then goes on with it.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any, Literal, cast

from torch import Tensor

from ..errors import NotSupportedError
from ..grammar.pool import most_rows
from .config import ModelConfig
from .decode_graphs import BUCKETS, DecodeGraphs, DecodeReady
from .graph_capture import Graphs
from .graph_inputs import PARTIALS, CapturableLM, GraphOptions, GraphParts
from .kv_cache import KVCache
from .layer_graphs import LayerGraphs, LayersReady, sizes_for
from .model_runner import Masks
from .models import CausalLM
from .plan import Plan
from .sampler import Sampled, Sampler
from .step_layout import decodes

_log = logging.getLogger("espalier.engine")

Why = Literal["deterministic", "failed", "pieces", "rows", "warming"]
WHYS: dict[Why, str] = {
    "deterministic": "a sequence runs in shapes of its own",
    "failed": "it, or something before it, could not be captured",
    "pieces": f"attention in more than {PARTIALS} pieces, or other parts of a step without room",
    "rows": "more rows than the largest graph",
    "warming": "among the first of its size",
}
"""Why steps run without a graph."""

Ready = DecodeReady | LayersReady


class StepGraphs:
    """See the module's docstring. tables, last: see `GraphParts`."""

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
        # Everything that grows has to be there: what was captured reads the old one.
        given.angles.reserve(tables.shape[1])
        if options.masks:
            sampler.reserve(most_rows(sampler.pool.shape[1]))
        self._graphs = Graphs(options.capture)
        parts = GraphParts(given, kv, sampler, tables, last, options, self._graphs)
        self._decode, self._layers = DecodeGraphs(parts), LayerGraphs(parts)
        self._by = Counter[str]()
        self._without = Counter[str]()

    def takes(self, plan: Plan, *, fixed: bool) -> Ready | None:
        """How a step with rows will run by graphs; None where it will not, which is counted. fixed:
        whether any of its sequences runs in shapes of its own."""
        found: Ready | Why = "deterministic" if fixed else "rows"
        if not fixed:
            if decodes(plan):
                found = self._decode.takes(plan)
            if found == "rows":
                found = self._layers.takes(plan)
        if not isinstance(found, str):
            return found
        self._without[found] += 1
        if found == "pieces" and self._without[found] == 1:
            _log.warning("a step runs without a CUDA graph, as may others: %s", WHYS[found])
        return None

    def forward(self, ready: Ready, plan: Plan) -> tuple[Tensor, Tensor | None]:
        """The step's logits [N, V], of a step that only decodes until the next such step; and the
        hidden states [P, hidden size] that are asked for."""
        if isinstance(ready, DecodeReady):
            found = self._decode.forward(ready, plan), None
            self._count("decode", captured=ready.bucket.model.replay is not None)
            return found
        out = self._layers.forward(ready, plan)
        self._count("layers", captured=ready.bucket.layers.replay is not None)
        return out

    def _count(self, kind: str, *, captured: bool) -> None:
        if captured:
            self._by[kind] += 1
        else:
            self._without["failed"] += 1

    def sample(self, ready: DecodeReady, plan: Plan, masks: Masks) -> Sampled | None:
        """See `DecodeGraphs`."""
        return self._decode.sample(ready, plan, masks)

    def counters(self) -> dict[str, Any]:
        """Steps by graph and without, by what and why; graphs captured, and samplers among them
        that the pool of masks made anew."""
        return {
            "decode": self._by["decode"],
            "layers": self._by["layers"],
            "sampled": self._decode.sampled,
            "captured": self._graphs.made,
            "moved": self._decode.moved,
            "without": {why: self._without[why] for why in WHYS},
        }


def graph_bytes(config: ModelConfig, *, seats: int, itemsize: int, masks: bool) -> int:
    """Memory that graphs hold, by estimate: the logits, attention's partial results, the rows of
    the largest bucket at 24 hidden sizes each (as `capacity.step_bytes`), the packed inputs, and
    the pool of masks."""
    decoding, sizes = min(seats, BUCKETS[-1]), sizes_for(config)
    rows = max(decoding, *sizes, 0)
    beside = (64 << 20) + decoding * 4096 * 4  # cuBLAS's workspace, fragments; filters' distances
    partial = PARTIALS * config.num_heads * (config.head_dim + 1) * 4
    packed = 2 * len(BUCKETS) * (6 * PARTIALS + 30 * decoding)
    packed += sum(6 * PARTIALS + 30 * size for size in sizes)
    words = -(-config.vocab_size // 32)
    return (
        decoding * config.vocab_size * (4 + 4 + itemsize)
        + partial
        + beside
        + rows * 25 * config.hidden_size * itemsize
        + packed * len(set(config.windows)) * 4
        + masks * most_rows(words) * words * 4
    )
