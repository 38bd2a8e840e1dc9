"""The proof, at load, that a model of transformers is the same model over our KV cache.

`survey` runs one sequence and looks at what its layers ask of attention; `accept` runs several,
packed in one batch, in chunks, on cached prefixes and row by row, and compares every logit with the
model's own eager ones. Either raises `Refused`, which says why.
"""

from __future__ import annotations

import inspect
import random
from typing import Any, Protocol

import torch
from torch import Tensor

from ..batch import ForwardBatch
from ..kv_cache import KVCache, KVLayout
from .interface import NAME, Survey, running

LONG = 160
"""Tokens of the survey: past 128, where known models begin to compress or to leave out keys."""

ROWS = 19
"""Tokens of the longest sequence of the run over the cache."""

TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""How far logits may lie from eager ones, as a share of their spread. Where attention is wrong, the
share is near one."""


_ATTENTION = {"attention", "full_attention", "sliding_attention", "chunked_attention"}


class Refused(Exception):
    """Why a model is refused."""


class _Runs(Protocol):
    dtype: torch.dtype
    device: torch.device
    kv_layout: KVLayout

    def forward(self, batch: ForwardBatch, kv: KVCache) -> Tensor: ...


@torch.inference_mode()
def survey(model: Any, *, layers: int, context_length: int | None) -> KVLayout:
    """Run one sequence, its attention answered by ours; returns what the layers keep per token."""
    ask_us(model)
    if "position_ids" not in inspect.signature(model.forward).parameters:
        raise Refused("it takes no position_ids, and so cannot know where a row stands")
    rows = min(LONG, context_length or LONG)
    notes = Survey(rows, context_length or rows)
    tokens = _tokens(model, notes.rows, seed=0)
    with running(notes):
        logits = _logits(model, tokens)
    kinds = _other_kinds(model)
    if len(notes.asked) != layers:
        raise Refused(
            f"{len(notes.asked)} of its {layers} layers call attention through transformers' "
            f"interface{f'; it also has layers of kind {kinds}' if kinds else ''}"
        )
    if context_length is None:
        raise Refused("its config.json has no max_position_embeddings")
    if kinds:
        raise Refused(f"it has layers of kind {kinds}, which may keep more than keys and values")
    if notes.problems:
        more = f" (and {len(notes.problems) - 1} more)" if len(notes.problems) > 1 else ""
        raise Refused(notes.problems[0] + more)
    _compare("alone", logits, _eager(model, tokens), model.dtype)
    return KVLayout(tuple(asked.kv for asked in notes.asked))


@torch.inference_mode()
def accept(runs: _Runs, model: Any, *, context_length: int) -> None:
    """Run several sequences through `runs`, in every way a batch mixes them."""
    long = _tokens(model, min(ROWS, context_length), seed=1)
    half, third = len(long) // 2, len(long) // 3
    texts = {
        "long": long,
        "other": _tokens(model, max(half, 1), seed=2),
        "fork": long[:third] + _tokens(model, half, seed=3),
    }
    wanted = {name: _eager(model, tokens) for name, tokens in texts.items()}
    ask_us(model)
    run = _Run(runs, context_length)
    steps = [
        ("packed beside others", {"long": long[:third], "other": texts["other"]}),
        ("in chunks", {"long": long[third : 2 * third]}),
        ("on a cached prefix", {"long": long[2 * third : -1], "fork": texts["fork"][third:]}),
        ("token by token", {"long": long[-1:]}),
    ]
    for how, rows in steps:
        if "fork" in rows:
            run.tables["fork"] = run.tables["long"][:third]
        for name, logits in run.step(rows).items():
            seen = len(run.tables[name])
            _compare(how, logits, wanted[name][seen - len(logits) : seen], runs.dtype)


class _Run:
    """Sequences in shuffled slots of a small cache, beside a row at the far end of the context: a
    model whose angles follow the longest sequence of a batch computes something else there."""

    def __init__(self, runs: _Runs, context_length: int) -> None:
        slots = 4 * ROWS
        self._runs = runs
        self._kv = KVCache(runs.kv_layout, slots, runs.device, runs.dtype)
        self._free = random.Random(0).sample(range(slots), slots)
        self._last = context_length - 1
        self.tables: dict[str, list[int]] = {}

    def step(self, rows: dict[str, list[int]]) -> dict[str, Tensor]:
        """Append tokens to sequences; returns the logits of each of them."""
        ids: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        starts = [0]
        for name, tokens in rows.items():
            table = self.tables.setdefault(name, [])
            ids += tokens
            positions += range(len(table), len(table) + len(tokens))
            slots += [self._free.pop() for _ in tokens]
            table += slots[starts[-1] :]
            starts.append(len(ids))
        tables = [self.tables[name] for name in rows]
        alone = self._free.pop()
        batch = ForwardBatch.from_host(
            input_ids=[*ids, 0],
            positions=[*positions, self._last],
            slot_of=[*slots, alone],
            query_start=[*starts, len(ids) + 1],
            seq_len=[*map(len, tables), 1],
            slot_tables=[*tables, [alone]],
            logits_at=list(range(len(ids))),
            trash_slot=self._kv.trash_slot,
            device=self._kv.device,
        )
        try:
            logits = self._runs.forward(batch, self._kv)
        except Exception as error:
            raise Refused(_failed(error)) from error
        return dict(zip(rows, logits.split([len(tokens) for tokens in rows.values()]), strict=True))


def ask_us(model: Any) -> None:
    """Have the layers of the model call our attention."""
    model.set_attn_implementation(NAME)
    if model.config._attn_implementation != NAME:
        raise Refused("its code does not call attention through transformers' interface")


def _eager(model: Any, tokens: list[int]) -> Tensor:
    """The model's own logits [len(tokens), V] of one sequence."""
    model.set_attn_implementation("eager")
    logits = _logits(model, tokens)
    if not bool(logits.isfinite().all()):
        raise Refused(f"its own logits are not finite in {logits.dtype}")
    return logits.float()


def _logits(model: Any, tokens: list[int]) -> Tensor:
    ids = torch.tensor([tokens], device=model.device)
    at = torch.arange(len(tokens), device=model.device).unsqueeze(0)
    try:
        logits: Tensor = model(input_ids=ids, position_ids=at, use_cache=False).logits[0]
    except Exception as error:
        raise Refused(_failed(error)) from error
    return logits


def _failed(error: Exception) -> str:
    return f"its forward failed with {type(error).__name__}: {error}"


def _tokens(model: Any, count: int, *, seed: int) -> list[int]:
    vocabulary = model.config.get_text_config().vocab_size
    return [random.Random(100 * seed + i).randrange(vocabulary) for i in range(count)]


def _compare(how: str, logits: Tensor, wanted: Tensor, dtype: torch.dtype) -> None:
    """As one share for all rows: where a row's experts are a near tie, half precision may choose
    others for it."""
    spread = (wanted - wanted.mean(dim=-1, keepdim=True)).norm()
    share = float((logits.float() - wanted).norm() / spread)
    if not share <= TOLERANCE[dtype]:
        raise Refused(
            f"run {how}, its logits differ from its own eager ones by {share:.1e} of their spread "
            f"(allowed in {dtype}: {TOLERANCE[dtype]:.0e})"
        )


def _other_kinds(model: Any) -> str:
    """The kinds of layer, beside attention, that a model's config names."""
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None) or getattr(config, "layers_block_type", None)
    return ", ".join(sorted({*map(str, kinds or ())} - _ATTENTION))
