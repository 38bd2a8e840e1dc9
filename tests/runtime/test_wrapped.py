"""Models that put images beside a text: their text part against transformers' whole model, as each
version of transformers has written their folders."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from espalier.errors import ModelLoadError, NotSupportedError
from espalier.runtime.config import ModelConfig, read_json
from espalier.runtime.engine import Engine
from espalier.runtime.models import ARCHITECTURES, load_model
from espalier.runtime.models.wrapped import WRAPPERS, text_config
from tests.golden_matrix import CLOSE, prompt
from tests.tiny_models import WRAPPED, Driver, save_tiny

TOKENS = prompt(60, 1)
OLD, NEW = "language_model.model.", "model.language_model."
"""Prefixes of the text model's tensors: of files, and of transformers' own modules since 4.52."""


def _difference(folder: Path, reference: Any) -> float:
    with torch.inference_mode():
        wanted = reference(torch.tensor([TOKENS])).logits[0].float()
    ours = Driver.of(folder).step({"a": TOKENS})["a"]
    return float((ours - wanted).abs().max())


def _rewrite(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**read_json(path), **changes}))


def _respell(folder: Path) -> None:
    """As `NEW` has it: the image part below `model.` too, the head above."""
    path = folder / "model.safetensors"
    found = {}
    for name, tensor in load_file(path).items():
        assert name.startswith((OLD, "language_model.lm_head.", "vision_", "multi_", "image_"))
        if name.startswith(OLD):
            name = NEW + name.removeprefix(OLD)
        elif not name.startswith("language_model."):
            name = "model." + name
        found[name.removeprefix("language_model.")] = tensor
    save_file(found, path, metadata={"format": "pt"})


@pytest.mark.parametrize("name", WRAPPED)
def test_logits_by_either_spelling(name: str, tmp_path: Path) -> None:
    reference = save_tiny(name, tmp_path)
    assert type(reference).__name__ in WRAPPERS
    assert _difference(tmp_path, reference) < CLOSE
    _respell(tmp_path)
    assert _difference(tmp_path, reference) < CLOSE


def test_every_wrapper_is_tried() -> None:
    assert {f"{wrapper}ForConditionalGeneration" for wrapper, _, _ in WRAPPED.values()} == {
        *WRAPPERS
    }


def test_a_cap_on_logits_is_the_text_models_own(tmp_path: Path) -> None:
    """The wrapper's head has none, whatever its text model's configuration says."""
    reference = save_tiny("gemma3-images", tmp_path, final_logit_softcapping=2.0)
    assert _difference(tmp_path, reference) < CLOSE


def test_a_head_that_is_there_is_used_whatever_was_said(tmp_path: Path) -> None:
    """Mistral 3.1 has one, and says nothing: the default is to tie."""
    reference = save_tiny("mistral3-images", tmp_path)
    data = read_json(tmp_path / "config.json")
    text = {k: v for k, v in data["text_config"].items() if k != "tie_word_embeddings"}
    _rewrite(tmp_path, text_config=text, tie_word_embeddings=True)
    assert _difference(tmp_path, reference) < CLOSE
    path = tmp_path / "model.safetensors"
    whole = load_file(path)
    whole.pop("language_model.lm_head.weight")
    save_file(whole, path, metadata={"format": "pt"})
    load_model(tmp_path, progress=False)
    _rewrite(tmp_path, text_config=text, tie_word_embeddings=False)
    with pytest.raises(ModelLoadError, match=r"'lm_head.weight' is missing"):
        load_model(tmp_path, progress=False)


def test_it_is_said_at_load_and_images_are_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from tests.tiny_tokenizers import save

    caplog.set_level(logging.WARNING, "espalier.models")
    save_tiny("gemma3-images", tmp_path, vocab_size=406)
    save(tmp_path, bos_token="<s>", eos_token="</s>")
    text = {"type": "text", "text": "What is this?"}
    with Engine(str(tmp_path), inline=True) as engine:
        assert "runs its text part alone: images are refused" in caplog.text
        for part in ({"type": "image", "url": "cat.png"}, {"type": "input_image"}, {"image": 0}):
            with pytest.raises(NotSupportedError, match=r"image.*text alone") as caught:
                engine.generate(messages=[{"role": "user", "content": [text, part]}])
            assert caught.value.where == "messages[0][0].content[1]"


def _folder(tmp_path: Path, *tensors: str) -> Path:
    index = {"weight_map": dict.fromkeys(tensors, "model-00001-of-00001.safetensors")}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    return tmp_path


def _text(folder: Path, wrapper: str, kind: str, text: dict[str, Any], **more: Any) -> ModelConfig:
    data = {
        "architectures": [f"{wrapper}ForConditionalGeneration"],
        "model_type": kind,
        "text_config": text,
        **more,
    }
    return ModelConfig.from_dict(text_config(folder, data, known=ARCHITECTURES))


def test_what_a_published_gemma_3_leaves_out(tmp_path: Path) -> None:
    text = {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    }
    folder = _folder(tmp_path, "language_model.model.embed_tokens.weight")
    more = {"eos_token_id": [1, 106], "torch_dtype": "bfloat16", "vision_config": {}}
    config = _text(folder, "Gemma3", "gemma3", text, **more)
    assert (config.num_heads, config.num_kv_heads, config.head_dim) == (8, 4, 256)
    assert (config.vocab_size, config.context_length) == (262208, 131072)
    assert config.windows == ((1024,) * 5 + (None,)) * 5 + (1024,) * 4
    assert (config.rope.kind, config.rope.theta, config.rope.get("factor")) == ("linear", 1e6, 8.0)
    assert config.local_rope is not None
    assert (config.local_rope.kind, config.local_rope.theta) == ("default", 1e4)
    assert (config.dtype, config.eos_ids, config.tie_word_embeddings) == (
        "bfloat16",
        (1, 106),
        True,
    )
    assert config.attention_scale == 256**-0.5


def test_what_a_published_llava_leaves_out(tmp_path: Path) -> None:
    text = {
        "architectures": ["LlamaForCausalLM"],
        "max_position_embeddings": 4096,
        "model_type": "llama",
        "rms_norm_eps": 1e-05,
        "torch_dtype": "float16",
        "vocab_size": 32064,
    }
    folder = _folder(tmp_path, "language_model.lm_head.weight")
    config = _text(folder, "Llava", "llava", text, torch_dtype="float16")
    assert (config.architecture, config.hidden_size, config.num_layers) == (
        "LlamaForCausalLM",
        4096,
        32,
    )
    assert (config.intermediate_size, config.num_heads, config.vocab_size) == (11008, 32, 32064)
    assert (config.dtype, config.tie_word_embeddings) == ("float16", False)


@pytest.mark.parametrize(
    ("error", "says", "more"),
    [
        (NotSupportedError, "is Cohere2ForCausalLM", {"text_config": {"model_type": "cohere2"}}),
        (NotSupportedError, "quantization_config", {"quantization_config": {"bits": 4}}),
        (NotSupportedError, "auto_map", {"auto_map": {"AutoModel": "modeling.M"}}),
        (ModelLoadError, "transformers cannot read it", {"model_type": "no such"}),
        (ModelLoadError, "transformers cannot read it", {"text_config": "llama"}),
    ],
)
def test_refused_by_name(
    tmp_path: Path, error: type[Exception], says: str, more: dict[str, Any]
) -> None:
    data = {
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "text_config": {"model_type": "llama"},
        **more,
    }
    (_folder(tmp_path, "x") / "config.json").write_text(json.dumps(data))
    with pytest.raises(error, match=says):
        load_model(tmp_path, progress=False)


def test_a_tensor_without_a_place_is_named_as_its_file_does(tmp_path: Path) -> None:
    save_tiny("llava", tmp_path)
    path = tmp_path / "model.safetensors"
    name = "language_model.model.layers.0.mlp.up_proj.bias"
    save_file({**load_file(path), name: torch.ones(3)}, path, metadata={"format": "pt"})
    with pytest.raises(ModelLoadError, match=f"'{name}' has no place"):
        load_model(tmp_path, progress=False)
