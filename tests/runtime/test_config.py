"""config.json as transformers 4 and 5 write it, and what is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from espalier.errors import ModelLoadError, NotSupportedError
from espalier.runtime.config import ModelConfig, RopeConfig, as_ids, read_json
from espalier.runtime.rotary import inverse_frequencies

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "max_position_embeddings": 256,
}


def _config(architecture: str = "LlamaForCausalLM", **more: Any) -> ModelConfig:
    return ModelConfig.from_dict({**LLAMA, "architectures": [architecture], **more})


def test_what_is_absent_has_the_familys_value() -> None:
    config = _config()
    assert (config.num_kv_heads, config.head_dim) == (8, 8)
    assert config.rope.theta == 10000.0
    assert config.rope.kind == "default"
    assert config.windows == (None,) * 4
    assert (config.attention_bias, config.mlp_bias, config.qk_norm) == (False,) * 3
    assert (config.dtype, config.bos_id, config.eos_ids) == (None, None, ())


def test_every_option_is_read() -> None:
    config = _config(
        num_key_value_heads=2,
        head_dim=32,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        attention_bias=True,
        mlp_bias=True,
        dtype="bfloat16",
        bos_token_id=1,
        eos_token_id=[2, 3],
        rope_parameters={"rope_type": "default", "rope_theta": 5e5},
    )
    assert (config.num_kv_heads, config.head_dim, config.rms_norm_eps) == (2, 32, 1e-5)
    assert config.attention_bias
    assert config.output_bias
    assert config.mlp_bias
    assert config.tie_word_embeddings
    assert (config.dtype, config.bos_id, config.eos_ids) == ("bfloat16", 1, (2, 3))
    assert config.rope.theta == 5e5


def test_the_older_spellings() -> None:
    config = _config(
        torch_dtype="float16", rope_theta=1e6, rope_scaling={"type": "linear", "factor": 2.0}
    )
    assert config.dtype == "float16"
    assert (config.rope.theta, config.rope.kind) == (1e6, "linear")
    assert config.rope.get("factor") == 2.0


def test_qwen() -> None:
    qwen2 = _config("Qwen2ForCausalLM")
    assert qwen2.attention_bias
    assert not qwen2.output_bias
    qwen3 = _config("Qwen3ForCausalLM")
    assert qwen3.qk_norm
    assert qwen3.head_dim == 128
    assert not qwen3.attention_bias


GEMMA3_OF_VERSION_4 = {
    "query_pre_attn_scalar": 168,
    "head_dim": 16,
    "num_hidden_layers": 13,
    "sliding_window": 64,
    "sliding_window_pattern": 6,
    "rope_theta": 1000000.0,
    "rope_local_base_freq": 20000.0,
    "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
}


def test_gemma_3_as_either_version_writes_it() -> None:
    """Read as transformers reads it."""
    theirs = transformers.Gemma3TextConfig(**{**LLAMA, **GEMMA3_OF_VERSION_4})
    newer = {**theirs.to_dict(), "architectures": ["Gemma3ForCausalLM"]}
    for ours in (_config("Gemma3ForCausalLM", **GEMMA3_OF_VERSION_4), ModelConfig.from_dict(newer)):
        kinds = [
            "full_attention" if window is None else "sliding_attention" for window in ours.windows
        ]
        assert kinds == theirs.layer_types
        assert set(ours.windows) == {None, 64}
        assert (ours.rope.theta, ours.rope.kind, ours.rope.get("factor")) == (1e6, "linear", 8.0)
        assert ours.local_rope is not None
        assert (ours.local_rope.theta, ours.local_rope.kind) == (20000.0, "default")
        assert ours.attention_scale == 168**-0.5
        assert (ours.attention_softcap, ours.logit_softcap) == (None, None)
        assert ours.qk_norm
        assert ours.norm_plus_one
        assert ours.tie_word_embeddings


def test_gemma_2_where_config_json_is_silent() -> None:
    theirs = transformers.Gemma2Config(**LLAMA)
    ours = _config("Gemma2ForCausalLM", num_key_value_heads=4)
    assert (ours.attention_softcap, ours.logit_softcap) == (50.0, 30.0)
    assert ours.windows == (4096, None, 4096, None)
    assert (ours.head_dim, ours.attention_scale) == (theirs.head_dim, 256**-0.5)
    uncapped = _config("Gemma2ForCausalLM", attn_logit_softcapping=None)
    assert uncapped.attention_softcap is None


def test_windows_and_norms_where_config_json_is_silent() -> None:
    """As transformers' own classes have them; a window of null is none."""
    phi = {"rope_scaling": None}
    for name, more, made in (
        ("Mistral", {}, transformers.MistralConfig()),
        ("Qwen2", {"use_sliding_window": True}, transformers.Qwen2Config(use_sliding_window=True)),
        ("Qwen3", {"use_sliding_window": True}, transformers.Qwen3Config(use_sliding_window=True)),
        ("Phi3", phi, transformers.Phi3Config()),
    ):
        config = _config(f"{name}ForCausalLM", max_window_layers=0, **more)
        assert config.windows == (made.sliding_window,) * 4
        assert config.rms_norm_eps == made.rms_norm_eps
        none = _config(f"{name}ForCausalLM", max_window_layers=0, sliding_window=None, **more)
        assert none.windows == (None,) * 4


@pytest.mark.parametrize("spelling", ["rope_parameters", "rope_scaling"])
def test_yarn_reaches_as_far_as_its_factor(spelling: str) -> None:
    """Qwen's model cards ask for it beside the max_position_embeddings there was before."""
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256}
    assert _config("Qwen2ForCausalLM", **{spelling: yarn}).context_length == 1024
    whole = _config("Qwen2ForCausalLM", **{spelling: yarn}, max_position_embeddings=1024)
    assert whole.context_length == 1024
    del yarn["original_max_position_embeddings"]
    assert _config("Qwen2ForCausalLM", **{spelling: yarn}).context_length == 256


def test_phi_3() -> None:
    phi = _config(
        "Phi3ForCausalLM",
        sliding_window=7,
        original_max_position_embeddings=64,
        rope_scaling={"type": "su", "short_factor": [1.0] * 3, "long_factor": [2.0] * 3},
        partial_rotary_factor=0.75,
    )
    assert phi.fused
    assert phi.windows == (7,) * 4
    assert (phi.rope.kind, phi.rope.share, phi.rope.slowed) == ("longrope", 0.75, (1.0,) * 3)
    assert (phi.context_length, phi.rope.get("factor")) == (64, 4.0)
    with pytest.raises(ModelLoadError, match="3 numbers"):
        inverse_frequencies(_config("Phi3ForCausalLM", rope_scaling=_NO_FACTORS).rope, 6)


_NO_FACTORS = {"rope_type": "longrope", "short_factor": [1.0], "factor": 2.0}


def test_windows() -> None:
    mistral = "MistralForCausalLM"
    assert _config(mistral, sliding_window=7).windows == (7,) * 4
    assert _config(mistral, sliding_window=None).windows == (None,) * 4
    assert _config(sliding_window=7).windows == (None,) * 4
    window = {"sliding_window": 7, "max_window_layers": 3}
    assert _config("Qwen2ForCausalLM", **window).windows == (None,) * 4
    assert _config("Qwen2ForCausalLM", use_sliding_window=True, **window).windows == (
        None,
        None,
        None,
        7,
    )
    kinds = ["full_attention", "sliding_attention"] * 2
    given = _config("Qwen3ForCausalLM", use_sliding_window=True, layer_types=kinds, **window)
    assert given.windows == (None, 7, None, 7)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "dynamic"),
        ({"rope_scaling": {"rope_type": "longrope"}}, "longrope"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1.0}}}, "per layer type"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"quantization_config": {"quant_method": "awq"}}, "awq"),
        ({"auto_map": {"AutoModelForCausalLM": "modeling.X"}}, "auto_map"),
        (
            {"architectures": ["Gemma3ForCausalLM"], "hidden_activation": "silu"},
            "hidden_activation",
        ),
        ({"architectures": ["Gemma3ForCausalLM"], "attn_logit_softcapping": 5.0}, "softcapping"),
        (
            {"architectures": ["Gemma3ForCausalLM"], "use_bidirectional_attention": True},
            "bidirectional",
        ),
        ({"architectures": ["Phi3ForCausalLM"], "rope_scaling": {"type": "llama3"}}, "llama3"),
    ],
)
def test_refused_by_name(more: dict[str, Any], named: str) -> None:
    with pytest.raises(NotSupportedError, match=named):
        ModelConfig.from_dict({**LLAMA, **more})


def test_a_window_of_unknown_layers_is_refused() -> None:
    with pytest.raises(NotSupportedError, match="chunked_attention"):
        _config("MistralForCausalLM", sliding_window=4, layer_types=["chunked_attention"] * 4)


@pytest.mark.parametrize(
    ("more", "where"),
    [
        ({"vocab_size": None}, "vocab_size"),
        ({"hidden_size": "64"}, "hidden_size"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"num_key_value_heads": 3}, "num_key_value_heads"),
        ({"rope_scaling": {"rope_type": "linear"}}, "rope"),
        ({"architectures": ["Phi3ForCausalLM"], "rope_scaling": {"type": "su"}}, "rope"),
    ],
)
def test_what_cannot_be(more: dict[str, Any], where: str) -> None:
    with pytest.raises(ModelLoadError) as caught:
        inverse_frequencies(ModelConfig.from_dict({**LLAMA, **more}).rope, 8)
    assert where in str(caught.value.where)


def test_read_json(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"no config\.json"):
        read_json(tmp_path / "config.json")
    path = tmp_path / "config.json"
    path.write_text("{")
    with pytest.raises(ModelLoadError, match="cannot be read"):
        read_json(path)
    path.write_text("[]")
    with pytest.raises(ModelLoadError, match="JSON object"):
        ModelConfig.from_folder(tmp_path)


def test_as_ids() -> None:
    assert (as_ids(None), as_ids(3), as_ids([3, 4])) == ((), (3,), (3, 4))


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_type": "linear", "factor": 3.0},
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096},
        {"rope_type": "yarn", "factor": 40.0, "mscale": 1.0, "mscale_all_dim": 0.7},
        {"rope_type": "yarn", "factor": 4.0, "attention_factor": 1.5, "truncate": False},
        {"rope_type": "yarn", "factor": 0.5, "beta_fast": 20, "beta_slow": 2},
    ],
)
def test_frequencies_are_transformers_own(rope: dict[str, Any]) -> None:
    rope = {"rope_theta": 500000.0, **rope}
    theirs = transformers.LlamaConfig(
        hidden_size=1024,
        num_attention_heads=8,
        max_position_embeddings=131072,
        rope_parameters=dict(rope),
    )
    expected, factor = ROPE_INIT_FUNCTIONS[rope["rope_type"]](theirs, "cpu")
    ours = _config(hidden_size=1024, max_position_embeddings=131072, rope_parameters=rope)
    frequency, own_factor = inverse_frequencies(ours.rope, 128)
    torch.testing.assert_close(frequency, expected, rtol=1e-6, atol=0)
    assert own_factor == pytest.approx(factor)


@pytest.mark.parametrize("factor", [None, 32.0, 1.0])
def test_longrope_is_transformers_own(factor: float | None) -> None:
    """Up to the original context."""
    rope: dict[str, Any] = {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "short_factor": [1.0 + 0.1 * i for i in range(48)],
        "long_factor": [2.0] * 48,
        "partial_rotary_factor": 0.75,
        "original_max_position_embeddings": 4096,
    }
    if factor is not None:
        rope["factor"] = factor
    sizes = {"hidden_size": 1024, "num_attention_heads": 8, "max_position_embeddings": 131072}
    theirs = transformers.Phi3Config(**sizes, pad_token_id=0, rope_parameters=dict(rope))
    expected, factor = ROPE_INIT_FUNCTIONS["longrope"](theirs, "cpu", seq_len=4096)
    ours = _config("Phi3ForCausalLM", **sizes, rope_parameters=rope)
    frequency, own_factor = inverse_frequencies(ours.rope, 96)
    torch.testing.assert_close(frequency, expected, rtol=1e-6, atol=0)
    assert own_factor == pytest.approx(factor)


def test_a_needed_parameter_is_named() -> None:
    with pytest.raises(ModelLoadError, match="low_freq_factor"):
        inverse_frequencies(RopeConfig(1e4, "llama3", (("factor", 2.0),)), 8)
