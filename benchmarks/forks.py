"""Branches of one prompt, decoded together: what attention, and the whole step, gain by reading the
prefix once for all of them.

CPU milliseconds on one thread, of random weights in the yardstick's shapes: one layer's attention,
and a step of one token each. `plain` reads the same slots for each branch anew.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .cpu import SHAPES, make_model
from .report import Row, finish, parser

SUFFIX = 64


def main(argv: Sequence[str]) -> int:
    """`espalier bench forks`."""
    options = parser("forks", __doc__ or "")
    options.add_argument("--shape", choices=sorted(SHAPES), nargs="+", default=["6.8M"])
    options.add_argument("--dtype", choices=["fp32", "bf16"], nargs="+", default=["fp32", "bf16"])
    options.add_argument("--branches", type=int, nargs="+", default=[8, 64])
    options.add_argument("--prefix", type=int, default=8192, help="tokens (default: 8192)")
    options.add_argument("--reps", type=int, default=5)
    options.add_argument("--models", type=Path, help="keep the random-weight models there")
    args = options.parse_args(argv)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for shape in args.shape:
            for dtype in args.dtype:
                model = make_model(args.models or Path(folder), shape, dtype)
                for branches in args.branches:
                    rows += _measure(model, f"{shape} {dtype}", branches, args.prefix, args.reps)
    finish("forks", argv, args.json, rows)
    return 0


def _measure(folder: Path, name: str, branches: int, prefix: int, reps: int) -> list[Row]:
    import torch

    from ..kernels.attention_plan import SharedRun

    torch.set_num_threads(1)
    torch.manual_seed(0)
    runs: dict[str, list[SharedRun]] = {
        "shared": [SharedRun(tuple(range(branches)), 0, prefix)],
        "plain": [],
    }
    rows = []
    with torch.inference_mode():
        for what, call in _calls(folder, branches, prefix).items():
            torch.testing.assert_close(
                call(runs["shared"]), call(runs["plain"]), rtol=0.05, atol=0.05
            )
            times = {who: _milliseconds(call, shared, reps) for who, shared in runs.items()}
            title, ours = f"forks/{name}/{branches} of {prefix}/{what}", times.pop("shared")
            rows.append(Row(name=title, value=ours, unit="CPU ms", peers=times))
            print(f"{title}: {ours:.1f}, plain {times['plain']:.1f} CPU ms", flush=True)
    return rows


def _calls(folder: Path, branches: int, prefix: int) -> dict[str, Callable[[Any], Any]]:
    """One layer's attention and a whole step, of branches that have decoded `SUFFIX` tokens; each
    takes the runs that are shared."""
    import torch

    from ..kernels.attention import AttentionBatch, paged_attention
    from ..runtime.batch import ForwardBatch
    from ..runtime.kv_cache import KVCache
    from ..runtime.models import load_model

    model: Any = load_model(folder, progress=False)
    slots, keys = prefix + branches * SUFFIX, prefix + SUFFIX
    kv = KVCache(model.kv_layout, slots, dtype=model.dtype)
    for layer in kv.rows:
        layer.normal_()
    own = torch.arange(prefix, slots).view(SUFFIX, branches).t()  # as if decoded in step
    tables = torch.cat((torch.arange(prefix).expand(branches, -1), own), 1).contiguous()
    starts, lengths = list(range(branches + 1)), [keys] * branches
    heads, width = model.config.num_heads, kv.layout.layers[0].k_width
    q = torch.randn(branches, heads, width, dtype=model.dtype)

    def attention(shared: Any) -> Any:
        batch = AttentionBatch(starts, lengths, tables, shared=shared)
        return paged_attention(q, kv.k[0], kv.v[0], batch, scale=width**-0.5)

    def step(shared: Any) -> Any:
        batch = ForwardBatch(
            input_ids=torch.arange(branches),
            positions=torch.full((branches,), keys - 1),
            slot_of=tables[:, -1].contiguous(),
            query_start=starts,
            seq_len=lengths,
            slot_tables=tables,
            logits_at=torch.arange(branches),
            shared=shared,
        )
        return model.forward(batch, kv)

    return {"attention": attention, "step": step}


def _milliseconds(call: Callable[[Any], Any], argument: Any, reps: int) -> float:
    """The least of some runs."""
    found = []
    for _ in range(reps):
        begin = time.process_time()
        call(argument)
        found.append(time.process_time() - begin)
    return min(found) * 1e3
