"""From a folder, a hub id or "sprig" to a model that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ...errors import ModelLoadError
from ..batch import ForwardBatch
from ..config import ModelConfig, read_json
from ..dtypes import resolve_dtype
from ..kv_cache import KVCache, KVLayout
from ..loader import Weights
from ..locate import SPRIG, resolve_folder
from .llama import LlamaForCausalLM

ARCHITECTURES: dict[str, type[LlamaForCausalLM]] = {
    "LlamaForCausalLM": LlamaForCausalLM,
    "MistralForCausalLM": LlamaForCausalLM,
    "Qwen2ForCausalLM": LlamaForCausalLM,
    "Qwen3ForCausalLM": LlamaForCausalLM,
}
"""What config.json calls a model -> the definition that runs it."""


class CausalLM(Protocol):
    """What the engine needs of a model."""

    config: ModelConfig
    dtype: torch.dtype
    device: torch.device

    @property
    def kv_layout(self) -> KVLayout:
        """What it keeps per token."""
        ...

    def forward(self, batch: ForwardBatch, kv: KVCache) -> Tensor:
        """Run one step: writes KV, returns logits [N, V] float32 of the rows `batch.logits_at`."""
        ...


def load_model(
    model: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = "auto",
    revision: str | None = None,
    progress: bool = True,
) -> CausalLM:
    """Load a model folder, a hub id, or the embedded model "sprig".

    dtype: "auto" is the checkpoint's; on a CPU that cannot compute in it, float32. Sprig computes
    in float32 on any CPU: it is small, and its answers must not change with its neighbours (P3).
    Raises ModelLoadError naming the file, the tensor and what to do.
    """
    folder = resolve_folder(model, revision=revision)
    data = read_json(folder / "config.json")
    architecture = (data.get("architectures") or ["(none)"])[0]
    definition = ARCHITECTURES.get(architecture)
    if definition is None:
        raise ModelLoadError(
            f"unknown architecture {architecture!r}",
            expected=f"one of {', '.join(ARCHITECTURES)}",
            where=str(folder / "config.json"),
        )
    config = ModelConfig.from_dict(data)
    place = torch.device(device)
    if dtype == "auto" and folder == SPRIG and place.type == "cpu":
        dtype = torch.float32
    chosen = resolve_dtype(dtype, config, place)
    with Weights(folder, device=place, dtype=chosen, progress=progress) as weights:
        return definition(config, weights)
