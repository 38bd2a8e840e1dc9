"""Models that put images beside a text, of which only the text part is run.

Without images such a model computes what its text model computes. The configuration of that lies
under `text_config`, where what is absent is transformers' default; its tensors lie under a prefix,
which versions of transformers spell in different ways.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from ...errors import ModelLoadError, NotSupportedError
from ..loader import tensor_files

WRAPPERS = (
    "Gemma3ForConditionalGeneration",
    "InternVLForConditionalGeneration",
    "LlavaForConditionalGeneration",
    "LlavaNextForConditionalGeneration",
    "LlavaOnevisionForConditionalGeneration",
    "Mistral3ForConditionalGeneration",
)
_PREFIXES = ("language_model.model.", "model.language_model.")
_HEADS = ("language_model.lm_head.weight", "lm_head.weight")
_IMAGES = ("vision_tower.", "multi_modal_projector.", "image_newline")


def text_config(folder: Path, data: Mapping[str, Any], *, known: Collection[str]) -> dict[str, Any]:
    """The config.json that the text part of a folder would have by itself. data: the folder's.
    known: the architectures that can be its text model. Raises ModelLoadError, NotSupportedError.
    """
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if data.get("auto_map"):
        raise NotSupportedError(
            f"auto_map={data['auto_map']!r} is not computed by this model's definition",
            where=str(folder / "config.json"),
            hint="Supported: models without code of their own.",
        )
    try:
        whole = transformers.CONFIG_MAPPING[data["model_type"]].from_dict(deepcopy(dict(data)))
        text: dict[str, Any] = whole.text_config.to_dict()
    except Exception as error:  # whatever its checks raise
        raise ModelLoadError(
            f"transformers cannot read it: {type(error).__name__}: {error}",
            where=str(folder / "config.json"),
        ) from error
    name = str(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(text["model_type"], text["model_type"]))
    if name not in known:
        raise NotSupportedError(
            f"the text model of this {data['architectures'][0]} is {name}",
            expected=f"one of {', '.join(known)}",
            where=f"{folder / 'config.json'}: text_config",
        )
    for key in ("bos_token_id", "eos_token_id", "dtype", "torch_dtype", "quantization_config"):
        if data.get(key) is not None:
            text[key] = data[key]
    return text | {
        "architectures": [name],
        "final_logit_softcapping": None,  # the head is the wrapper's own, which caps nothing
        # As transformers does: a head that is there is used, whatever was said of it.
        "tie_word_embeddings": _says_tied(data, text) and not _has_head(folder),
    }


def text_name(name: str) -> str | None:
    """What the text model by itself calls a tensor; None for one of the image part."""
    if name in _HEADS:
        return "lm_head.weight"
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            return "model." + name.removeprefix(prefix)
    return None if name.removeprefix("model.").startswith(_IMAGES) else name


def _says_tied(data: Mapping[str, Any], text: Mapping[str, Any]) -> bool:
    said = [part.get("tie_word_embeddings") for part in (data, text)]
    return True in said or said == [None, None]


def _has_head(folder: Path) -> bool:
    return any(text_name(name) == "lm_head.weight" for name in tensor_files(folder))
