"""The Llama family: Llama 2 and 3, Mistral, Qwen2, Qwen3, where they differ by `ModelConfig` alone.

A pre-norm decoder: RMSNorm, attention with rotary positions and grouped heads, RMSNorm, gated MLP.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...kernels.activation import silu_mul
from ...kernels.attention import paged_attention
from ...kernels.norm import rms_norm
from ...kernels.rope import rope_, write_kv
from ..batch import ForwardBatch
from ..config import ModelConfig
from ..kv_cache import KVCache, KVLayout, LayerKV
from ..layers import Linear
from ..loader import Weights
from ..rotary import Rotary


class Attention:
    """One layer's attention, projections included."""

    def __init__(self, config: ModelConfig, weights: Weights, layer: int) -> None:
        name = f"model.layers.{layer}.self_attn"
        self.layer = layer
        self.heads, self.kv_heads, self.width = (
            config.num_heads,
            config.num_kv_heads,
            config.head_dim,
        )
        self.scale = config.head_dim**-0.5
        self.window = config.windows[layer]
        self.eps = config.rms_norm_eps
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
        self.q_norm = self.k_norm = None
        if config.qk_norm:
            self.q_norm = weights.take(f"{name}.q_norm.weight", (self.width,))
            self.k_norm = weights.take(f"{name}.k_norm.weight", (self.width,))

    def __call__(
        self, x: Tensor, batch: ForwardBatch, kv: KVCache, cos: Tensor, sin: Tensor
    ) -> Tensor:
        qkv = self.qkv(x)
        heads = qkv.view(x.shape[0], -1, self.width)
        turning = heads[:, : self.heads + self.kv_heads]
        if self.q_norm is not None and self.k_norm is not None:
            q, k = turning.split((self.heads, self.kv_heads), dim=1)
            q.copy_(rms_norm(q, self.q_norm, self.eps))
            k.copy_(rms_norm(k, self.k_norm, self.eps))
        rope_(turning, cos, sin)
        write_kv(kv.rows[self.layer], batch.slot_of, qkv[:, self.heads * self.width :])
        mixed = paged_attention(
            heads[:, : self.heads],
            kv.k[self.layer],
            kv.v[self.layer],
            batch.attention,
            scale=self.scale,
            window=self.window,
        )
        return self.output(mixed.flatten(1))


class Layer:
    """Attention and MLP, each on the normed residual and added to it."""

    def __init__(self, config: ModelConfig, weights: Weights, layer: int) -> None:
        name, hidden = f"model.layers.{layer}", config.hidden_size
        inner = config.intermediate_size
        self.eps = config.rms_norm_eps
        self.attention_norm = weights.take(f"{name}.input_layernorm.weight", (hidden,))
        self.attention = Attention(config, weights, layer)
        self.mlp_norm = weights.take(f"{name}.post_attention_layernorm.weight", (hidden,))
        self.gate_up = Linear(
            weights,
            [f"{name}.mlp.gate_proj", f"{name}.mlp.up_proj"],
            [inner, inner],
            hidden,
            kind="column",
            bias=config.mlp_bias,
        )
        self.down = Linear(
            weights, [f"{name}.mlp.down_proj"], [hidden], inner, kind="row", bias=config.mlp_bias
        )

    def __call__(
        self, x: Tensor, batch: ForwardBatch, kv: KVCache, cos: Tensor, sin: Tensor
    ) -> Tensor:
        x += self.attention(rms_norm(x, self.attention_norm, self.eps), batch, kv, cos, sin)
        x += self.down(silu_mul(self.gate_up(rms_norm(x, self.mlp_norm, self.eps))))
        return x


class LlamaForCausalLM:
    """See the module's docstring."""

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        self.config = config
        self.dtype = weights.dtype
        self.device = weights.device
        vocabulary, hidden = config.vocab_size, config.hidden_size
        self.embedding = weights.take("model.embed_tokens.weight", (vocabulary, hidden))
        self.layers = [Layer(config, weights, layer) for layer in range(config.num_layers)]
        self.norm = weights.take("model.norm.weight", (hidden,))
        tied = config.tie_word_embeddings and "lm_head.weight" not in weights
        head = "model.embed_tokens" if tied else "lm_head"
        self.head = Linear(weights, [head], [vocabulary], hidden, kind="column")
        self.rotary = Rotary(config, self.device, self.dtype)

    @property
    def kv_layout(self) -> KVLayout:
        """What this model keeps per token."""
        config = self.config
        layer = LayerKV(config.num_kv_heads, config.head_dim, config.head_dim)
        return KVLayout((layer,) * config.num_layers)

    @torch.inference_mode()
    def forward(self, batch: ForwardBatch, kv: KVCache) -> Tensor:
        """Run one step: writes KV, returns logits [N, V] float32 of the rows `batch.logits_at`."""
        cos, sin = self.rotary(batch.positions, max(batch.seq_len))
        x = F.embedding(batch.input_ids, self.embedding)
        for layer in self.layers:
            x = layer(x, batch, kv, cos, sin)
        x = rms_norm(x[batch.logits_at], self.norm, self.config.rms_norm_eps)
        return self.head(x).float()
