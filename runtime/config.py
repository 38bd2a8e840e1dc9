"""What a model is, read from its config.json.

`ModelConfig` says everything the Llama family differs in, under one name each; whatever a
config.json asks for that these definitions would not compute exactly is refused here, by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelLoadError, NotSupportedError

ROPE_KINDS = ("default", "linear", "llama3", "yarn")


@dataclass(frozen=True)
class RopeConfig:
    """Rotary embedding: `theta` is the base, `parameters` the scaling's own (factor, ...)."""

    theta: float
    kind: str = "default"
    parameters: tuple[tuple[str, float], ...] = ()

    def get(self, name: str, default: float | None = None) -> float:
        """One scaling parameter. Raises ModelLoadError when it is needed and absent."""
        for key, value in self.parameters:
            if key == name:
                return value
        if default is None:
            raise ModelLoadError(
                f"rope scaling {self.kind!r} needs {name!r}", where="config.json: rope_parameters"
            )
        return default


@dataclass(frozen=True)
class ModelConfig:
    """One decoder-only model of the Llama family. Sizes are numbers of elements.

    windows: per layer, how many keys (itself included) a row sees; None means all.
    attention_bias, output_bias: biases on q/k/v and on the output projection. qk_norm: RMSNorm over
    each head of q and k before rope. dtype: the checkpoint's, as torch spells it ("bfloat16").
    """

    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rms_norm_eps: float
    context_length: int
    rope: RopeConfig
    windows: tuple[int | None, ...]
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    dtype: str | None = None
    bos_id: int | None = None
    eos_ids: tuple[int, ...] = ()

    @classmethod
    def from_folder(cls, folder: Path) -> ModelConfig:
        """Read `folder/config.json`."""
        return cls.from_dict(read_json(folder / "config.json"))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelConfig:
        """From config.json's content, as transformers 4 or 5 writes it.

        Raises ModelLoadError for what is missing or cannot be, NotSupportedError for what these
        definitions do not compute.
        """
        return _Reader(data).read()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a model folder. Raises ModelLoadError, naming the file."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelLoadError(
            f"no {path.name} in the model folder",
            where=str(path),
            hint="A model folder holds config.json, *.safetensors and tokenizer.json.",
        ) from None
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"{path.name} cannot be read: {error}", where=str(path)) from error
    if not isinstance(data, dict):
        raise ModelLoadError(expected="a JSON object", got=type(data).__name__, where=str(path))
    return data


def as_ids(value: Any) -> tuple[int, ...]:
    """`eos_token_id` and its like: an id, a list of ids, or null."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else (value,)


class _Reader:
    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data

    def read(self) -> ModelConfig:
        data = self.data
        names = data.get("architectures") or ["(none)"]
        architecture = str(names[0])
        heads, hidden = self.integer("num_attention_heads"), self.integer("hidden_size")
        if data.get("hidden_act", "silu") != "silu":
            self.refuse("hidden_act", data["hidden_act"], "silu")
        if data.get("quantization_config"):
            self.refuse("quantization_config", data["quantization_config"], "unquantised weights")
        if "AutoModelForCausalLM" in (data.get("auto_map") or {}):
            self.refuse("auto_map", data["auto_map"], "models without code of their own")
        kv_heads = self.integer("num_key_value_heads", heads)
        if heads % kv_heads:
            raise ModelLoadError(
                expected=f"a divisor of num_attention_heads ({heads})",
                got=str(kv_heads),
                where="config.json: num_key_value_heads",
            )
        qwen2, qwen3 = architecture == "Qwen2ForCausalLM", architecture == "Qwen3ForCausalLM"
        bias = bool(data.get("attention_bias", False))
        bos = as_ids(data.get("bos_token_id"))
        return ModelConfig(
            architecture=architecture,
            vocab_size=self.integer("vocab_size"),
            hidden_size=hidden,
            intermediate_size=self.integer("intermediate_size"),
            num_layers=self.integer("num_hidden_layers"),
            num_heads=heads,
            num_kv_heads=kv_heads,
            head_dim=self.integer("head_dim", 128 if qwen3 else hidden // heads),
            rms_norm_eps=float(data.get("rms_norm_eps", 1e-6)),
            context_length=self.integer("max_position_embeddings"),
            rope=self.rope(),
            windows=self.windows(architecture),
            tie_word_embeddings=bool(data.get("tie_word_embeddings", False)),
            attention_bias=True if qwen2 else bias,
            output_bias=False if qwen2 else bias,
            mlp_bias=bool(data.get("mlp_bias", False)),
            qk_norm=qwen3,
            dtype=data.get("dtype") or data.get("torch_dtype"),
            bos_id=bos[0] if bos else None,
            eos_ids=as_ids(data.get("eos_token_id")),
        )

    def integer(self, name: str, default: int | None = None) -> int:
        value = self.data.get(name)
        if value is None:
            value = default
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ModelLoadError(
                expected="an integer of at least 1", got=repr(value), where=f"config.json: {name}"
            )
        return value

    def refuse(self, name: str, value: Any, supported: str) -> None:
        raise NotSupportedError(
            f"{name}={value!r} is not computed by this model's definition",
            where=f"config.json: {name}",
            hint=f"Supported: {supported}.",
        )

    def rope(self) -> RopeConfig:
        """transformers 5 writes `rope_parameters`; 4 wrote `rope_theta` and `rope_scaling`."""
        data = self.data
        given: dict[str, Any] = dict(data.get("rope_parameters") or data.get("rope_scaling") or {})
        if any(isinstance(value, dict) for value in given.values()):
            self.refuse("rope_parameters", "one per layer type", "one for all layers")
        kind = str(given.pop("rope_type", given.pop("type", "default")))
        given.pop("type", None)
        theta = given.pop("rope_theta", data.get("rope_theta", 10000.0))
        if kind not in ROPE_KINDS:
            self.refuse("rope_type", kind, ", ".join(ROPE_KINDS))
        partial = given.pop("partial_rotary_factor", data.get("partial_rotary_factor", 1.0))
        if partial != 1.0:
            self.refuse("partial_rotary_factor", partial, "1.0")
        given.setdefault("original_max_position_embeddings", data.get("max_position_embeddings"))
        numbers = {key: value for key, value in given.items() if isinstance(value, int | float)}
        return RopeConfig(float(theta), kind, tuple(sorted(numbers.items())))

    def windows(self, architecture: str) -> tuple[int | None, ...]:
        """Qwen uses its window only when asked, and only from a layer on; Mistral always does."""
        data, layers = self.data, self.integer("num_hidden_layers")
        window = data.get("sliding_window")
        if architecture.startswith("Llama"):
            window = None
        if architecture.startswith("Qwen") and not data.get("use_sliding_window", False):
            window = None
        if window is None:
            return (None,) * layers
        kinds = data.get("layer_types")
        if kinds is None and architecture.startswith("Qwen"):
            first = int(data.get("max_window_layers", 28))
            return tuple(window if layer >= first else None for layer in range(layers))
        if kinds is None:
            return (window,) * layers
        unknown = set(kinds) - {"full_attention", "sliding_attention"}
        if unknown or len(kinds) != layers:
            self.refuse("layer_types", sorted(set(kinds)), "full_attention, sliding_attention")
        return tuple(window if kind == "sliding_attention" else None for kind in kinds)
