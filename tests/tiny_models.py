"""Tiny random checkpoints of each architecture, made by transformers, and a driver for our own."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from espalier.runtime.batch import ForwardBatch
from espalier.runtime.kv_cache import KVCache
from espalier.runtime.models import CausalLM, load_model

_SIZES = {
    "vocab_size": 199,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
}

_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0, 1.3, 2.0],
    "long_factor": [2.0, 3.0, 5.0],
}
_GEMMA = {"head_dim": 16, "query_pre_attn_scalar": 24, "sliding_window": 11}
_LINEAR = {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0}
_LOCAL = {"rope_type": "default", "rope_theta": 1e4}

TINY: dict[str, tuple[str, dict[str, Any]]] = {
    "llama2": ("Llama", {"num_key_value_heads": 6}),
    "llama3": ("Llama", {"rope_parameters": _LLAMA3, "tie_word_embeddings": True}),
    "llama-linear": (
        "Llama",
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}},
    ),
    "llama-biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "mistral": ("Mistral", {"sliding_window": 11, "head_dim": 16}),
    "mistral-full": ("Mistral", {"sliding_window": None, "head_dim": 8}),
    "qwen2": ("Qwen2", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "qwen2-window": (
        "Qwen2",
        {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1},
    ),
    "qwen3": ("Qwen3", {"head_dim": 16, "tie_word_embeddings": True}),
    "qwen3-yarn": ("Qwen3", {"head_dim": 16, "rope_parameters": _YARN}),
    "phi3": ("Phi3", {"sliding_window": 11}),
    "phi4-mini": (
        "Phi3",
        {
            "tie_word_embeddings": True,
            "original_max_position_embeddings": 256,
            "rope_parameters": {**_LONGROPE, "partial_rotary_factor": 0.75},
        },
    ),
    "gemma2": (
        "Gemma2",
        {**_GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
    ),
    "gemma3": (
        "Gemma3",
        {
            **_GEMMA,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            "rope_parameters": {"full_attention": _LINEAR, "sliding_attention": _LOCAL},
        },
    ),
}
"""Name -> (architecture, what differs from the common sizes)."""


_EYE = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
_SIGLIP = {**_EYE, "model_type": "siglip_vision_model"}

WRAPPED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gemma3-images": ("Gemma3", "gemma3", {"vision_config": _SIGLIP, "mm_tokens_per_image": 4}),
    "mistral3-images": (
        "Mistral3",
        "mistral",
        {
            "vision_config": {**_EYE, "model_type": "pixtral", "head_dim": 8},
            "tie_word_embeddings": False,
        },
    ),
    "llava": ("Llava", "llama2", {"vision_config": {**_EYE, "model_type": "clip_vision_model"}}),
    "llava-next": (
        "LlavaNext",
        "mistral-full",
        {"vision_config": {**_EYE, "model_type": "clip_vision_model"}},
    ),
    "llava-onevision": ("LlavaOnevision", "qwen2", {"vision_config": _SIGLIP}),
    "internvl": ("InternVL", "qwen3", {"vision_config": _EYE}),
}
"""Name -> (wrapper, its text model in TINY, the rest of its config)."""


def save_tiny(name: str, folder: Path, *, dtype: torch.dtype = torch.float32, **more: Any) -> Any:
    """Save the checkpoint `name` to `folder`; returns transformers' model, in eval mode."""
    if name in WRAPPED:
        wrapper, text_name, rest = WRAPPED[name]
        text = _text_config(text_name, **more)
        config = getattr(transformers, f"{wrapper}Config")(text_config=text.to_dict(), **rest)
        definition = f"{wrapper}ForConditionalGeneration"
    else:
        config, definition = _text_config(name, **more), f"{TINY[name][0]}ForCausalLM"
    torch.manual_seed(7)
    model = getattr(transformers, definition)(config).to(dtype).eval()
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.endswith(("norm.weight", ".bias")):
            torch.nn.init.normal_(parameter, mean=0.5, std=0.5)
    model.save_pretrained(folder)
    return model


def _text_config(name: str, **more: Any) -> Any:
    family, differing = TINY[name]
    text = "Text" if family == "Gemma3" else ""
    sizes = {**_SIZES, "pad_token_id": 0, **differing, **more}
    return getattr(transformers, f"{family}{text}Config")(**sizes)


class Driver:
    """Runs sequences through one of our models step by step, in shuffled slots."""

    def __init__(self, model: CausalLM, *, slots: int = 1024, seed: int = 0) -> None:
        self.model = model
        self.kv = KVCache(model.kv_layout, slots, dtype=model.dtype)
        self.free = list(range(slots))
        random.Random(seed).shuffle(self.free)
        self.tables: dict[str, list[int]] = {}

    @classmethod
    def of(cls, folder: Path, *, context_length: int | None = None, **more: Any) -> Driver:
        return cls(load_model(folder, context_length=context_length, progress=False), **more)

    def step(self, rows: dict[str, list[int]], *, last_only: bool = False) -> dict[str, Tensor]:
        """Append tokens to sequences; returns each one's logits, a row per token (or the last)."""
        ids: list[int] = []
        positions: list[int] = []
        slot_of: list[int] = []
        starts, lengths, tables, wanted = [0], [], [], []
        for name, tokens in rows.items():
            table = self.tables.setdefault(name, [])
            for token in tokens:
                ids.append(token)
                positions.append(len(table))
                table.append(self.free.pop())
                slot_of.append(table[-1])
            starts.append(len(ids))
            lengths.append(len(table))
            tables.append(list(table))
            wanted.append([starts[-1] - 1] if last_only else list(range(*starts[-2:])))
        batch = ForwardBatch.from_host(
            input_ids=ids,
            positions=positions,
            slot_of=slot_of,
            query_start=starts,
            seq_len=lengths,
            slot_tables=tables,
            logits_at=[row for group in wanted for row in group],
            trash_slot=self.kv.trash_slot,
        )
        logits = self.model.forward(batch, self.kv)
        return dict(zip(rows, logits.split([len(group) for group in wanted]), strict=True))

    def fork(self, source: str, name: str, length: int) -> None:
        """`name` begins with the first `length` positions of `source`, whose slots it shares."""
        self.tables[name] = self.tables[source][:length]
