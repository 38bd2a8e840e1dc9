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
    ],
)
def test_refused_by_name(more: dict[str, Any], named: str) -> None:
    with pytest.raises(NotSupportedError, match=named):
        _config(**more)


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
    ],
)
def test_what_cannot_be(more: dict[str, Any], where: str) -> None:
    with pytest.raises(ModelLoadError) as caught:
        inverse_frequencies(_config(**more).rope, 8)
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


def test_a_needed_parameter_is_named() -> None:
    with pytest.raises(ModelLoadError, match="low_freq_factor"):
        inverse_frequencies(RopeConfig(1e4, "llama3", (("factor", 2.0),)), 8)
