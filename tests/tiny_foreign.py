"""Tiny random checkpoints of architectures that transformers defines and we do not."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

SIZES: dict[str, Any] = {
    "vocab_size": 199,
    "hidden_size": 48,
    "n_embd": 48,
    "d_model": 48,
    "word_embed_proj_dim": 48,
    "embedding_size": 48,
    "intermediate_size": 80,
    "ffn_dim": 80,
    "ffn_hidden_size": 80,
    "n_inner": 80,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "shared_intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_layers": 3,
    "n_layer": 3,
    "n_layers": 3,
    "num_attention_heads": 6,
    "n_head": 6,
    "n_heads": 6,
    "num_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "n_positions": 512,
    "max_seq_len": 512,
    "num_local_experts": 4,
    "num_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_k": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 24,
    "q_lora_rank": 32,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 12,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "initializer_range": 0.2,
    "init_std": 0.2,
}
"""Under whatever name a config has it."""

FOREIGN: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "gpt_neox": {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}},
    "opt": {},
    "stablelm": {"use_qkv_bias": True, "qk_layernorm": True},
    "olmo2": {},
    "starcoder2": {"sliding_window": 11},
    "granite": {
        "attention_multiplier": 0.3,
        "embedding_multiplier": 2.0,
        "residual_multiplier": 0.7,
        "logits_scaling": 3.0,
    },
    "cohere": {"use_qk_norm": True},
    "mixtral": {"sliding_window": 9},
    "qwen3_moe": {},
    "deepseek_v3": {},
    "gpt_oss": {"sliding_window": 9},
}
"""model_type -> what differs from `SIZES`; these run."""

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "falcon": ({"alibi": False}, "its code does not call attention through"),
    "bloom": ({}, "its code does not call attention through"),
    "lfm2": (
        {"layer_types": ["conv", "full_attention", "conv"]},
        "1 of its 3 layers call attention .* layers of kind conv",
    ),
    "jamba": (
        {"attn_layer_period": 3, "attn_layer_offset": 1},
        "1 of its 3 layers call attention .* layers of kind linear_attention",
    ),
    "bamba": (
        {"attn_layer_indices": [1], "mamba_n_heads": 12, "mamba_d_head": 8, "mamba_d_state": 16},
        "1 of its 3 layers call attention .* layers of kind linear_attention",
    ),
    "qwen3_next": (
        {
            "layer_types": ["linear_attention", "full_attention", "linear_attention"],
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
        },
        "1 of its 3 layers call attention .* layers of kind linear_attention",
    ),
}
"""model_type -> what differs from `SIZES`, and the reason that the refusal gives."""

_MIXED = {"layer_types": ["linear_attention", "full_attention", "linear_attention"]}
OTHERS: dict[str, dict[str, Any]] = {
    "bailing_hybrid": _MIXED,
    "gpt_neo": {"attention_types": [[["global", "local", "global"], 1]]},
    "gptj": {"rotary_dim": 4},
    "granitemoehybrid": {"mamba_n_heads": 12, "mamba_d_head": 8},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv"]},
    "mamba2": {"num_heads": 12, "head_dim": 8},
    "qwen3_5_moe_text": _MIXED,
    "qwen3_5_text": _MIXED,
}
"""model_type -> what differs from `SIZES`, of the others that docs/models.md speaks of."""


def definition_of(model_type: str) -> str:
    """The name of transformers' class."""
    names: str | tuple[str, ...] = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type]
    return names if isinstance(names, str) else names[0]


def tiny_config(model_type: str, **more: Any) -> Any:
    """A config of `model_type` with our sizes where it has them, and what else is said above."""
    kind = CONFIG_MAPPING[model_type]
    known = {field.name for field in dataclasses.fields(kind)}
    sizes = {name: value for name, value in SIZES.items() if name in known}
    if "kv_lora_rank" in known:  # keys are expanded to as many heads as there are queries'
        sizes["num_key_value_heads"] = sizes["num_attention_heads"]
    return kind(**{**sizes, **_differing(model_type), **more})


def save_foreign(model_type: str, folder: Path, **more: Any) -> Any:
    """Save a tiny random model of `model_type` to `folder`; returns it, in eval mode."""
    config = tiny_config(model_type, **more)
    torch.manual_seed(7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(transformers, definition_of(model_type))(config).eval()
    for name, parameter in model.named_parameters():
        if "norm" in name or name.endswith((".bias", "sinks")):
            torch.nn.init.normal_(parameter, mean=0.5, std=0.5)
    model.save_pretrained(folder)
    return model


def _differing(model_type: str) -> dict[str, Any]:
    refused, _ = REFUSED.get(model_type, ({}, ""))
    return {**FOREIGN.get(model_type, {}), **refused, **OTHERS.get(model_type, {})}
