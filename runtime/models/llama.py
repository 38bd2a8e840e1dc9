"""The Llama family: Llama 2 and 3, Mistral, Qwen2, Qwen3, Phi-3 and Phi-4, where they differ by
`ModelConfig` alone.

A pre-norm decoder: RMSNorm, attention with rotary positions and grouped heads, RMSNorm, gated MLP.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...kernels.activation import silu_mul
from ...kernels.attention import AttentionBatch, Workspace, paged_attention
from ...kernels.native_layers import FewRows, LayerWeights
from ...kernels.norm import RMSNorm
from ...kernels.rope import turn_and_write
from ..batch import ForwardBatch
from ..config import ModelConfig
from ..kv_cache import KVCache, KVLayout, LayerKV
from ..layers import Embedding, Linear
from ..loader import Weights
from ..rotary import Rotary


@dataclass(slots=True)
class Step:
    """What every layer of one forward reads. cos, sin: of the rows' positions; local_cos,
    local_sin: for the layers with a window. in_order: 0, 1, ... T - 1, where the cache has 8 bits.
    """

    kv: KVCache
    slot_of: Tensor
    attention: AttentionBatch
    cos: Tensor
    sin: Tensor
    local_cos: Tensor
    local_sin: Tensor
    in_order: Tensor | None = None


class Angles:
    """The rotary tables of a model."""

    def __init__(self, config: ModelConfig, device: torch.device, dtype: torch.dtype) -> None:
        self._rotary = Rotary(config.rope, config, device, dtype)
        self._local = self._rotary
        if config.local_rope not in (None, config.rope):
            assert config.local_rope is not None
            self._local = Rotary(config.local_rope, config, device, dtype)
        self._workspace = Workspace()

    def reserve(self, positions: int) -> None:
        """The tables stay where they are for as many positions."""
        for rotary in (self._rotary, self._local):
            rotary.reserve(positions)

    def step(self, batch: ForwardBatch, kv: KVCache) -> Step:
        """What the layers read of `batch`."""
        rows = AttentionBatch(
            batch.query_start,
            batch.seq_len,
            batch.slot_tables,
            self._workspace,
            batch.table_of,
            batch.shared,
        )
        rows.device_plans = batch.attention_plans
        end = max(batch.seq_len)
        cos, sin = self._rotary(batch.positions, end)
        local = (cos, sin) if self._local is self._rotary else self._local(batch.positions, end)
        in_order = None
        if kv.quantised:
            in_order = torch.arange(len(batch.slot_of), device=batch.slot_of.device)
        return Step(kv, batch.slot_of, rows, cos, sin, *local, in_order)


def rms_norm(config: ModelConfig, weights: Weights, name: str, width: int) -> RMSNorm:
    """The norm whose weight is `name`."""
    if config.norm_plus_one:
        weight = weights.take(f"{name}.weight", (width,), dtype=torch.float32) + 1.0
    else:
        weight = weights.take(f"{name}.weight", (width,))
    return RMSNorm(weight, config.rms_norm_eps)


class Attention:
    """One layer's attention, up to what `output` projects back."""

    def __init__(self, config: ModelConfig, weights: Weights, layer: int) -> None:
        name = f"model.layers.{layer}.self_attn"
        self.layer = layer
        self.width = config.head_dim
        self.heads, self.kv_heads = config.num_heads, config.num_kv_heads
        self.scale = config.attention_scale
        self.softcap = config.attention_softcap
        self.window = config.windows[layer]
        self.qkv = Linear(
            weights,
            [f"{name}.{part}_proj" for part in (["qkv"] if config.fused else "qkv")],
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
        self.norms: tuple[RMSNorm, RMSNorm] | None = None
        if config.qk_norm:
            self.norms = (
                rms_norm(config, weights, f"{name}.q_norm", self.width),
                rms_norm(config, weights, f"{name}.k_norm", self.width),
            )

    def __call__(self, x: Tensor, norm: RMSNorm, step: Step, plus: Tensor | None = None) -> Tensor:
        """Of the residual `x`, normed by `norm`, after adding `plus` to it in place."""
        qkv = self.qkv.of_norm(norm, x, plus)
        local = self.window is not None
        cos, sin = (step.local_cos, step.local_sin) if local else (step.cos, step.sin)
        kv, slot_of = step.kv, step.slot_of
        rows = kv.rows[self.layer]
        if step.in_order is not None:  # wide at first, and quantised from there
            slot_of, rows = step.in_order, qkv.new_empty(len(qkv), 2 * self.kv_heads * self.width)
        queries = turn_and_write(
            qkv,
            cos,
            sin,
            slot_of,
            rows,
            heads=self.heads,
            kv_heads=self.kv_heads,
            width=self.width,
            norms=self.norms,
        )
        if step.in_order is not None:
            kv.write(self.layer, step.slot_of, rows)
        mixed = paged_attention(
            queries,
            kv.k[self.layer],
            kv.v[self.layer],
            step.attention,
            scale=self.scale,
            window=self.window,
            softcap=self.softcap,
            scales=kv.scales[self.layer],
        )
        return mixed.view(x.shape[0], -1)


class Layer:
    """Attention and MLP, each on the normed residual and added to it."""

    def __init__(self, config: ModelConfig, weights: Weights, layer: int) -> None:
        name, hidden = f"model.layers.{layer}", config.hidden_size
        inner, bias = config.intermediate_size, config.mlp_bias
        self.attention_norm = rms_norm(config, weights, f"{name}.input_layernorm", hidden)
        self.attention = Attention(config, weights, layer)
        self.mlp_norm = rms_norm(config, weights, f"{name}.post_attention_layernorm", hidden)
        parts = ["gate_up"] if config.fused else ["gate", "up"]
        both = [f"{name}.mlp.{part}_proj" for part in parts]
        self.gate_up = Linear(weights, both, [inner, inner], hidden, kind="column", bias=bias)
        down = [f"{name}.mlp.down_proj"]
        self.down = Linear(weights, down, [hidden], inner, kind="row", bias=bias)

    def __call__(self, x: Tensor, step: Step, plus: Tensor | None) -> Tensor | None:
        """Adds to the residual `x` in place: `plus`, which the layer before left to it, and its own
        result, but for what it returns."""
        mixed = self.attention(x, self.attention_norm, step, plus)
        if adds_late(x):
            gate_up = self.gate_up.of_norm(self.mlp_norm, x, self.attention.output(mixed))
            return self.down(silu_mul(gate_up))
        gate_up = self.gate_up.of_norm(self.mlp_norm, self.attention.output.add_to(x, mixed))
        self.down.add_gated_to(x, gate_up)
        return None

    def few(self) -> tuple[LayerWeights, int]:
        """What native.c reads of it, and up to how many rows."""
        products = self.attention.qkv, self.attention.output, self.gate_up, self.down
        rows = min(product.few for product in products)
        matrices = [(product.weight, product.bias) for product in products] if rows else []
        norms = self.attention_norm, self.mlp_norm
        weights = LayerWeights(matrices, norms, self.attention.norms, self.attention.window)
        return weights, rows


def adds_late(x: Tensor) -> bool:
    """Whether what is added to the residual `x` waits for the norm after it: on a GPU one kernel
    does both, on a CPU the product adds."""
    return x.is_cuda


class LlamaForCausalLM:
    """See the module's docstring."""

    mixed_rows: str | None = None
    weights = ""

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        self.config = config
        self.notes = list(config.notes)
        self.dtype = weights.dtype
        self.device = weights.device
        vocabulary, hidden = config.vocab_size, config.hidden_size
        tied = config.tie_word_embeddings
        self.embedding = Embedding(weights, "model.embed_tokens", vocabulary, hidden, tied=tied)
        self.layers = [Layer(config, weights, layer) for layer in range(config.num_layers)]
        self.norm = rms_norm(config, weights, "model.norm", hidden)
        shared = self.embedding if tied else None
        self.head = Linear(weights, ["lm_head"], [vocabulary], hidden, kind="column", shared=shared)
        self.angles = Angles(config, self.device, self.dtype)
        self._few: tuple[KVCache, FewRows | None] | None = None
        unused = ["rotary_emb.inv_freq"] + (["lm_head.weight"] if tied else [])
        weights.finish(unused=tuple(unused))

    @property
    def kv_layout(self) -> KVLayout:
        """What this model keeps per token."""
        return kv_layout(self.config)

    @torch.inference_mode()
    def forward(self, batch: ForwardBatch, kv: KVCache) -> Tensor:
        """Run one step: writes KV, returns logits [N, V] float32 of the rows `batch.logits_at`."""
        return self.read_out(self.run_layers(batch, kv), batch)

    def run_layers(self, batch: ForwardBatch, kv: KVCache) -> Tensor:
        """All but the last of a step: writes KV, returns what the layers make of its rows,
        [T, hidden size]."""
        step = self.angles.step(batch, kv)
        x = self.embedding(batch.input_ids)
        few = self._few_rows(kv) if x.is_cpu else None
        if few is not None and few.run(x, step.slot_of, step.cos, step.sin, step.attention):
            return x
        plus = None
        for layer in self.layers:
            plus = layer(x, step, plus)
        return x if plus is None else x.add_(plus)

    def _few_rows(self, kv: KVCache) -> FewRows | None:
        """What runs all layers over `kv` in one call."""
        if self._few is not None and self._few[0] is kv:
            return self._few[1]
        run, layers = None, [layer.few() for layer in self.layers]
        rows = min((rows for _, rows in layers), default=0)
        if rows and kv.dtype == self.dtype:
            # Of this family no checkpoint has what `FewRows` knows nothing of.
            config = self.config
            assert not config.norm_plus_one
            assert config.attention_softcap is None
            assert config.local_rope in (None, config.rope)
            given = [weights for weights, _ in layers]
            scale = config.attention_scale
            run = FewRows(given, rows, kv.rows, kv.k[0], kv.v[0], scale=scale)
        self._few = kv, run
        return run

    def read_out(self, x: Tensor, batch: ForwardBatch, out: Tensor | None = None) -> Tensor:
        """The rest: what `batch` asks for of the rows `x`, its hidden states into `batch`. out
        [N, V]: where the logits go."""
        if batch.hidden_at is not None:
            batch.hidden = self.norm(x.index_select(0, batch.hidden_at)).float()
        logits = self.head(self.norm(x.index_select(0, batch.logits_at)))
        return logits.float() if out is None else out.copy_(logits)


def kv_layout(config: ModelConfig) -> KVLayout:
    """Every layer keeps the same."""
    layer = LayerKV(config.num_kv_heads, config.head_dim, config.head_dim)
    return KVLayout((layer,) * config.num_layers)
