"""Attention of transformers' models, computed by ours: what is registered with its interfaces.

transformers asks a registered function for each layer's attention, and a registered mask function
for masks. Ours answer from the step that is running (`running`): a `Survey` notes what is asked and
attends to the rows of one sequence; a `PagedStep` writes the KV cache and attends over it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface

from ...errors import EngineError
from ...kernels.attention import AttentionBatch, paged_attention
from ..kv_cache import KVCache, LayerKV

NAME = "espalier"
"""How transformers' models are told to ask us."""

_IGNORED = {
    "cache_position",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "position_embeddings",
    "position_ids",
    "return_dict",
    "use_cache",
}
"""Arguments that models hand on to attention and that say nothing about it."""


@dataclass(frozen=True)
class Asked:
    """What one layer asks of attention. unknown: arguments given that are not computed."""

    kv: LayerKV
    scale: float
    window: int | None
    softcap: float | None
    sinks: Tensor | None
    mask: Tensor | None
    unknown: tuple[str, ...]


class Step(Protocol):
    """What answers a model's attention calls during one forward."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, asked: Asked) -> Tensor:
        """q [T, Hq, Dk], k [T, Hkv, Dk], v [T, Hkv, Dv] -> [T, Hq, Dv]."""
        ...

    def mask(self, sees: Callable[..., Tensor], device: torch.device) -> Tensor | None:
        """The mask of which `sees(batch, head, q, kv)` says which position sees which."""
        ...


_running: ContextVar[Step] = ContextVar("espalier_step")


@contextmanager
def running(step: Step) -> Iterator[None]:
    """Within it, `step` answers the attention calls of this thread's models."""
    token = _running.set(step)
    try:
        yield
    finally:
        _running.reset(token)


@dataclass
class Survey:
    """Notes what a model asks while one sequence of `rows` rows runs through it, and attends to
    them.

    asked: per call, in order. problems: what contradicts that our attention can stand in.
    """

    rows: int
    context_length: int
    asked: list[Asked] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _masks: dict[int, tuple[Tensor, int | None]] = field(default_factory=dict)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, asked: Asked) -> Tensor:
        layer = len(self.asked)
        self.asked.append(asked)
        self.problems += [f"layer {layer} gives attention {name}" for name in asked.unknown]
        if asked.mask is not None:
            self._compare(layer, asked.mask, asked.window)
        table = torch.arange(len(q), device=q.device).unsqueeze(0)
        return paged_attention(
            q,
            k,
            v,
            AttentionBatch([0, len(q)], [len(q)], table),
            scale=asked.scale,
            window=asked.window,
            softcap=asked.softcap,
            sinks=asked.sinks,
        )

    def mask(self, sees: Callable[..., Tensor], device: torch.device) -> Tensor:
        """A mask that hides nothing, to be recognised when it comes back with a layer's call."""
        window = _window(sees, self.context_length, device)
        blank = torch.zeros(1, 1, self.rows, self.rows, device=device)
        self._masks[blank.untyped_storage().data_ptr()] = blank, window
        return blank

    def _compare(self, layer: int, mask: Tensor, given: int | None) -> None:
        """A layer's mask and its `sliding_window` must hide the same, up to the longest context."""
        blank, window = self._masks.get(mask.untyped_storage().data_ptr(), (None, None))
        if blank is None:
            self.problems.append(f"layer {layer} gives attention a mask of its own")
            return
        seen = min(self.context_length if given is None else given, self.context_length)
        if window is None:
            self.problems.append(f"layer {layer} has a mask that is neither causal nor a window")
        elif window != seen:
            self.problems.append(
                f"layer {layer} has a mask over {window} positions, and tells attention of {given}"
            )


def _window(sees: Callable[..., Tensor], context: int, device: torch.device) -> int | None:
    """How many positions, itself included, the last row of a context sees, where all see as many;
    None for masks of another kind."""
    last, before = (_visible(sees, context - back, device) for back in (1, 2))
    if last is None or before is None or before != min(last, context - 1):
        return None
    return last


def _visible(sees: Callable[..., Tensor], position: int, device: torch.device) -> int | None:
    """How many positions the row at `position` sees, itself included; None where they are not its
    last ones, or where it sees one after itself."""
    zero = torch.zeros((), dtype=torch.int64, device=device)
    keys = torch.arange(position + 2, device=device)
    seen = sees(zero, zero, zero + position, keys).expand(len(keys))
    count = int(seen.sum())
    last = seen[position + 1 - count : position + 1]
    return count if count and bool(last.all()) and not bool(seen[-1]) else None


class PagedStep:
    """One forward over the KV cache: the calls of the layers, in order."""

    def __init__(self, kv: KVCache, slot_of: Tensor, attention: AttentionBatch) -> None:
        self._kv = kv
        self._slot_of = slot_of
        self._attention = attention
        self.calls = 0

    def attend(self, q: Tensor, k: Tensor, v: Tensor, asked: Asked) -> Tensor:
        layer, kv = self.calls, self._kv
        self.calls += 1
        if asked.unknown or asked.mask is not None:  # what the acceptance run never saw
            what = asked.unknown[0] if asked.unknown else "a mask of its own"
            raise EngineError(f"layer {layer} gives attention {what}, which is not computed")
        both = torch.cat((k.flatten(1), v.flatten(1)), dim=1)
        kv.write(layer, self._slot_of, both)
        mixed = paged_attention(
            q if kv.quantised else q.to(kv.dtype),
            kv.k[layer],
            kv.v[layer],
            self._attention,
            scale=asked.scale,
            window=asked.window,
            softcap=asked.softcap,
            sinks=asked.sinks,
            scales=kv.scales[layer],
        )
        return mixed.to(q.dtype)

    def mask(self, sees: Callable[..., Tensor], device: torch.device) -> None:
        """None: a row's sequence, position and window say what it sees."""


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    is_causal: bool | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """transformers' attention function: query, key, value [1, heads, T, D] -> [1, T, heads, D]."""
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    unknown = [name for name, given in more.items() if given is not None and name not in _IGNORED]
    unknown += ["dropout"] if dropout else []
    unknown += ["is_causal=False"] if not causal else []
    unknown += ["a batch of several rows"] if len(query) != 1 else []
    heads, width = key.shape[1], key.shape[3]
    if (value.shape[1], key.shape[2]) != (heads, query.shape[2]):
        unknown.append("keys and values of other shapes than the queries'")
    asked = Asked(
        kv=LayerKV(heads, width, value.shape[3]),
        scale=query.shape[3] ** -0.5 if scaling is None else float(scaling),
        window=sliding_window,
        softcap=softcap,
        sinks=s_aux,
        mask=attention_mask,
        unknown=tuple(unknown),
    )
    q, k, v = (part[0].transpose(0, 1) for part in (query, key, value))
    return _running.get().attend(q, k, v, asked).unsqueeze(0), None


def _mask(
    *, mask_function: Callable[..., Tensor], device: torch.device | None = None, **_: Any
) -> Tensor | None:
    """transformers' mask function."""
    return _running.get().mask(mask_function, torch.device(device or "cpu"))


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, _mask)
