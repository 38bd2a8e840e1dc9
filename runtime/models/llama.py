"""The Llama family: Llama 2 and 3, Mistral, Qwen2, Qwen3, where they differ by `ModelConfig` alone.

A pre-norm decoder: RMSNorm, attention with rotary positions and grouped heads, RMSNorm, gated MLP.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...kernels.activation import silu_mul
from ...kernels.attention import AttentionBatch, Workspace, paged_attention
from ...kernels.norm import RMSNorm
from ...kernels.rope import rope_, write_kv
from ..batch import ForwardBatch
from ..config import ModelConfig
from ..kv_cache import KVCache, KVLayout, LayerKV
from ..layers import Linear
from ..loader import Weights
from ..rotary import Rotary


@dataclass(slots=True)
class _Step:
    """What every layer of one forward reads."""

    kv: KVCache
    slot_of: Tensor
    attention: AttentionBatch
    cos: Tensor
    sin: Tensor


class Attention:
    """One layer's attention, projections included."""

    def __init__(self, config: ModelConfig, weights: Weights, layer: int) -> None:
        name = f"model.layers.{layer}.self_attn"
        self.layer = layer
        self.width = config.head_dim
        self.heads, self.kv_heads = config.num_heads, config.num_kv_heads
        self.scale = config.head_dim**-0.5
        self.window = config.windows[layer]
        self.qkv = Linear(
            weights,
            [f"{name}.{part}_proj" for part in "qkv"],
            [heads * self.width for heads in (self.heads, self.kv_heads, self.kv_heads)],
            config.hidden_size,
            kind="column",
            bias=config.attention_bias,
        )
        self.output = Linear(
            weights,
            [f"{name}.o_proj"],
            [config.hidden_size],
            self.heads * self.width,
            kind="row",
            bias=config.output_bias,
        )
        self.norms: list[RMSNorm] = []
        if config.qk_norm:
            for part in "qk":
                weight = weights.take(f"{name}.{part}_norm.weight", (self.width,))
                self.norms.append(RMSNorm(weight, config.rms_norm_eps))

    def __call__(self, x: Tensor, step: _Step) -> Tensor:
        qkv = self.qkv(x)
        heads = qkv.view(len(x), -1, self.width)
        queries = heads[:, : self.heads]
        if self.norms:
            keys = heads[:, self.heads : self.heads + self.kv_heads]
            for part, norm in zip((queries, keys), self.norms, strict=True):
                part.copy_(norm(part))
        rope_(heads[:, : self.heads + self.kv_heads], step.cos, step.sin)
        write_kv(step.kv.rows[self.layer], step.slot_of, qkv[:, self.heads * self.width :])
        mixed = paged_attention(
            queries,
            step.kv.k[self.layer],
            step.kv.v[self.layer],
            step.attention,
            scale=self.scale,
            window=self.window,
        )
        return self.output(mixed.view(len(x), -1))


class Layer:
    """Attention and MLP, each on the normed residual and added to it."""

    def __init__(self, config: ModelConfig, weights: Weights, layer: int) -> None:
        name, hidden = f"model.layers.{layer}", config.hidden_size
        inner, bias = config.intermediate_size, config.mlp_bias

        def norm(part: str) -> RMSNorm:
            return RMSNorm(weights.take(f"{name}.{part}.weight", (hidden,)), config.rms_norm_eps)

        self.attention_norm = norm("input_layernorm")
        self.attention = Attention(config, weights, layer)
        self.mlp_norm = norm("post_attention_layernorm")
        both = [f"{name}.mlp.gate_proj", f"{name}.mlp.up_proj"]
        self.gate_up = Linear(weights, both, [inner, inner], hidden, kind="column", bias=bias)
        down = [f"{name}.mlp.down_proj"]
        self.down = Linear(weights, down, [hidden], inner, kind="row", bias=bias)

    def __call__(self, x: Tensor, step: _Step) -> Tensor:
        """Adds to the residual `x` in place and returns it."""
        mixed = self.attention(self.attention_norm(x), step)
        return x.add_(self.down(silu_mul(self.gate_up(self.mlp_norm.add(x, mixed)))))


class LlamaForCausalLM:
    """See the module's docstring."""

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        self.config = config
        self.notes: list[str] = []
        self.dtype = weights.dtype
        self.device = weights.device
        vocabulary, hidden = config.vocab_size, config.hidden_size
        self.embedding = weights.take("model.embed_tokens.weight", (vocabulary, hidden))
        self.layers = [Layer(config, weights, layer) for layer in range(config.num_layers)]
        self.norm = RMSNorm(weights.take("model.norm.weight", (hidden,)), config.rms_norm_eps)
        tied = self.embedding if config.tie_word_embeddings else None
        self.head = Linear(weights, ["lm_head"], [vocabulary], hidden, kind="column", shared=tied)
        self.rotary = Rotary(config, self.device, self.dtype)
        self.workspace = Workspace()
        unused = ["rotary_emb.inv_freq"] + (["lm_head.weight"] if tied is not None else [])
        weights.finish(unused=tuple(unused))

    @property
    def kv_layout(self) -> KVLayout:
        """What this model keeps per token."""
        config = self.config
        layer = LayerKV(config.num_kv_heads, config.head_dim, config.head_dim)
        return KVLayout((layer,) * config.num_layers)

    @torch.inference_mode()
    def forward(self, batch: ForwardBatch, kv: KVCache) -> Tensor:
        """Run one step: writes KV, returns logits [N, V] float32 of the rows `batch.logits_at`."""
        attention = AttentionBatch(
            batch.query_start, batch.seq_len, batch.slot_tables, self.workspace
        )
        cos, sin = self.rotary(batch.positions, max(batch.seq_len))
        step = _Step(kv, batch.slot_of, attention, cos, sin)
        x = F.embedding(batch.input_ids, self.embedding)
        for layer in self.layers:
            x = layer(x, step)
        if batch.hidden_at is not None:
            batch.hidden = self.norm(x.index_select(0, batch.hidden_at)).float()
        return self.head(self.norm(x.index_select(0, batch.logits_at))).float()
