"""Models that transformers defines, over our KV cache: accepted ones compute the same, the others
are refused with the reason, and every check of the acceptance run can fail."""

from __future__ import annotations

import json
import logging
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface

from espalier.errors import EngineError, ModelLoadError, NotSupportedError
from espalier.kernels import device as kernels
from espalier.runtime.engine import Engine
from espalier.runtime.models import foreign, interface, load_model
from espalier.runtime.models.acceptance import LONG, Refused
from tests.tiny_foreign import FOREIGN, REFUSED, save_foreign
from tests.tiny_models import TINY, Driver, save_tiny

CLOSE = 1e-4


def _prompt(length: int, seed: int = 0) -> list[int]:
    generator = random.Random(seed)
    return [generator.randrange(3, 199) for _ in range(length)]


def _expected(reference: Any, tokens: list[int]) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = reference(torch.tensor([tokens])).logits[0].float()
    return logits


@pytest.mark.parametrize("model_type", FOREIGN)
def test_prefill_chunks_fork_and_decode_beside_each_other(model_type: str, tmp_path: Path) -> None:
    reference = save_foreign(model_type, tmp_path)
    driver = Driver.of(tmp_path)
    texts = {"long": _prompt(70, 1), "short": _prompt(5, 2), "fork": []}
    # With 3 a token of Mixtral's chooses between experts 1e-7 apart: transformers' own choice
    # depends on how its prompt is cut.
    texts["fork"] = texts["long"][:30] + _prompt(9, 4)
    first = driver.step({"long": texts["long"][:40]})
    driver.fork("long", "fork", 30)
    second = driver.step({"short": texts["short"], "fork": texts["fork"][30:]})
    third = driver.step({"long": texts["long"][40:-1]})
    last = driver.step({"long": texts["long"][-1:]})
    ours = {**second, "long": torch.cat([first["long"], third["long"], last["long"]])}
    for name, logits in ours.items():
        wanted = _expected(reference, texts[name])[-len(logits) :]
        assert logits.dtype == torch.float32
        assert (logits - wanted).abs().max() < CLOSE


@pytest.mark.parametrize("model_type", REFUSED)
def test_refused_by_name_with_the_reason(model_type: str, tmp_path: Path) -> None:
    name = type(save_foreign(model_type, tmp_path)).__name__
    with pytest.raises(NotSupportedError, match=f"^{name} is refused: {REFUSED[model_type][1]}"):
        load_model(tmp_path, progress=False)


def test_the_cost_of_expanded_keys_is_said_at_load(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_foreign("deepseek_v3", tmp_path)
    with caplog.at_level(logging.WARNING, "espalier.models"):
        model = load_model(tmp_path, progress=False)
    layer = model.kv_layout.layers[0]
    assert (layer.heads, layer.k_width, layer.v_width) == (6, 24, 12)
    [note] = model.notes
    assert note in caplog.text
    assert "2592 bytes per token" in note
    assert "384" in note


@pytest.mark.parametrize("name", ["gpt2", "opt", "gemma3", "phi3"])
def test_hidden_states_for_embeddings(name: str, tmp_path: Path) -> None:
    save = save_tiny if name in TINY else save_foreign
    reference = save(name, tmp_path)
    prompt = _prompt(30)
    with Engine(str(tmp_path), device="cpu", dtype="float32", inline=True, step_tokens=7) as engine:
        [ours] = engine.embed(input_ids=[prompt], normalize=False)
    with torch.inference_mode():
        states = reference.base_model(torch.tensor([prompt])).last_hidden_state[0]
    assert (torch.tensor(ours.embedding) - states.mean(0)).abs().max() < CLOSE


@pytest.mark.parametrize(
    ("name", "more", "named"),
    [
        ("llama2", {"hidden_act": "gelu"}, "hidden_act='gelu'"),
        ("gemma2", {"hidden_activation": "gelu"}, "hidden_activation='gelu'"),
        ("gemma3", {"hidden_activation": "silu"}, "hidden_activation='silu'"),
        (
            "qwen2",
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
            "rope_type='dynamic'",
        ),
    ],
)
def test_what_a_definition_of_ours_does_not_compute(
    name: str, more: dict[str, Any], named: str, tmp_path: Path
) -> None:
    """Runs by transformers' code, proven as any other, and says so; or is refused by its name."""
    reference, prompt = save_tiny(name, tmp_path, **more), _prompt(30)
    driver = Driver.of(tmp_path)
    ours = torch.cat([driver.step({"a": part})["a"] for part in (prompt[:20], prompt[20:])])
    assert (ours - _expected(reference, prompt)).abs().max() < CLOSE
    [note] = driver.model.notes
    assert f"by transformers' code, which is slower: {named}" in note
    with pytest.raises(NotSupportedError, match=re.escape(named)):
        load_model(tmp_path, progress=False, quantization="int8")


def test_what_neither_computes_is_refused_as_its_definition_does(tmp_path: Path) -> None:
    save_tiny("gemma3", tmp_path, use_bidirectional_attention=True)
    assert _refusal(tmp_path).startswith("use_bidirectional_attention=True is not computed")
    path = tmp_path / "config.json"
    config = {**json.loads(path.read_text()), "use_bidirectional_attention": False}
    own = {"AutoModelForCausalLM": "modeling.M"}
    for more in ({"auto_map": own}, {"quantization_config": {"quant_method": "awq"}}):
        path.write_text(json.dumps(config | {"hidden_activation": "silu"} | more))
        assert _refusal(tmp_path).startswith(f"{min(more)}=")


@pytest.mark.parametrize("beside", [{}, {"hidden_act": "gelu", "hidden_activation": "gelu"}])
@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("llama2", "attn_logit_softcapping", 0.05),
        ("llama2", "use_bidirectional_attention", True),
        ("llama2", "hidden_activation", "silu_of_another"),
        ("llama2", "partial_rotary_factor", 0.5),
        ("gemma2", "hidden_act", "silu"),
        ("gemma3", "attn_logit_softcapping", 0.05),
    ],
)
def test_what_transformers_leaves_out_is_refused(
    name: str, key: str, value: object, beside: dict[str, str], tmp_path: Path
) -> None:
    """Also beside what it reads: nobody would compute it."""
    save_tiny(name, tmp_path)
    path = tmp_path / "config.json"
    read = "hidden_act" if name == "llama2" else "hidden_activation"
    more = {read: beside[read]} if beside else {}
    path.write_text(json.dumps(json.loads(path.read_text()) | more | {key: value}))
    assert _refusal(tmp_path).startswith(f"{key}={value!r} is not computed")


@pytest.mark.parametrize("key", ["hidden_act", "rope_type"])
def test_what_nobody_knows_is_refused_as_its_definition_does(key: str, tmp_path: Path) -> None:
    save_tiny("llama2", tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    (config if key in config else config["rope_parameters"])[key] = "nonsense"
    path.write_text(json.dumps(config))
    with pytest.raises(NotSupportedError, match=f"^{key}='nonsense' is not computed") as caught:
        load_model(tmp_path, progress=False)
    assert "transformers cannot load LlamaForCausalLM: KeyError" in caught.value.__notes__[0]


def test_an_attempt_that_breaks_is_told_beside_the_refusal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*given: object) -> None:
        raise IndexError("out of range")

    save_tiny("llama2", tmp_path, hidden_act="gelu")
    monkeypatch.setattr(foreign, "_accepted", broken)
    with pytest.raises(NotSupportedError, match=r"^hidden_act='gelu'") as caught:
        load_model(tmp_path, progress=False)
    assert caught.value.__notes__ == ["transformers' code: IndexError: out of range"]


def test_a_model_that_does_not_ask_where_a_row_stands(tmp_path: Path) -> None:
    save_foreign("blenderbot-small", tmp_path)
    assert "it takes no position_ids" in _refusal(tmp_path)


# -- every check can fail ----------------------------------------------------------------------


@pytest.fixture
def attention() -> Iterator[Callable[[Callable[..., Any]], None]]:
    """Puts another function between transformers and ours."""

    def put(changed: Callable[..., Any]) -> None:
        AttentionInterface.register(interface.NAME, changed)

    yield put
    AttentionInterface.register(interface.NAME, interface._attend)
    AttentionMaskInterface.register(interface.NAME, interface._mask)


def _refusal(folder: Path) -> str:
    with pytest.raises(NotSupportedError) as caught:
        load_model(folder, progress=False)
    return str(caught.value)


def test_an_argument_that_is_not_computed(attention: Any, tmp_path: Path) -> None:
    save_foreign("gpt2", tmp_path)
    attention(lambda *args, **more: interface._attend(*args, **more, alibi=torch.ones(6)))
    assert "layer 0 gives attention alibi (and 2 more)" in _refusal(tmp_path)


def test_an_argument_that_comes_later(attention: Any, tmp_path: Path) -> None:
    """Never ignored: the step fails that brings it."""
    save_foreign("gpt2", tmp_path)
    driver = Driver.of(tmp_path)
    attention(lambda *args, **more: interface._attend(*args, **more, alibi=torch.ones(6)))
    with pytest.raises(EngineError, match="layer 0 gives attention alibi"):
        driver.step({"a": _prompt(5)})


def test_layers_that_keep_more_than_keys_and_values(tmp_path: Path) -> None:
    """DeepSeek-V4 compresses keys past 128 tokens; before, it computes what we do."""
    save_foreign("deepseek_v4", tmp_path)
    assert "it has layers of kind heavily_compressed_attention, which" in _refusal(tmp_path)


@pytest.mark.parametrize("model_type", ["starcoder2", "gpt_oss"])
def test_a_window_longer_than_the_run(model_type: str, attention: Any, tmp_path: Path) -> None:
    """It hides nothing from so few rows: the masks tell."""
    window = LONG + 20
    reference = save_foreign(model_type, tmp_path, sliding_window=window)

    def forget(*args: Any, sliding_window: Any = None, **more: Any) -> Any:
        return interface._attend(*args, **more)

    tokens = _prompt(LONG + 90)
    ours = Driver.of(tmp_path).step({"a": tokens})["a"]
    assert (ours - _expected(reference, tokens)).abs().max() < CLOSE
    attention(forget)
    assert f"has a mask over {window} positions, and tells attention of None" in _refusal(tmp_path)


@pytest.mark.parametrize("name", ["s_aux", "scaling"])
def test_an_argument_that_is_dropped(name: str, attention: Any, tmp_path: Path) -> None:
    save_foreign("gpt_oss" if name == "s_aux" else "granite", tmp_path)
    attention(
        lambda *args, **more: interface._attend(
            *args, **{key: value for key, value in more.items() if key != name}
        )
    )
    assert "run alone, its logits differ from its own eager ones by" in _refusal(tmp_path)


def test_a_mask_of_its_own(attention: Any, tmp_path: Path) -> None:
    save_foreign("gpt2", tmp_path)

    def biased(module: Any, q: Any, k: Any, v: Any, mask: Any, **more: Any) -> Any:
        return interface._attend(module, q, k, v, mask if mask is None else mask + 1.0, **more)

    attention(biased)
    assert "layer 0 gives attention a mask of its own" in _refusal(tmp_path)


def test_a_mask_that_is_no_window(attention: Any, tmp_path: Path) -> None:
    save_foreign("gpt2", tmp_path)

    def chunked(*, mask_function: Any, **more: Any) -> Any:
        def sees(b: Any, h: Any, q: Any, kv: Any) -> Any:
            return mask_function(b, h, q, kv) & (q // 100 == kv // 100)

        return interface._mask(mask_function=sees, **more)

    AttentionMaskInterface.register(interface.NAME, chunked)
    assert "layer 0 has a mask that is neither causal nor a window" in _refusal(tmp_path)


def test_a_sequence_that_reads_its_neighbour(attention: Any, tmp_path: Path) -> None:
    """Right alone, wrong in a batch."""
    save_foreign("gpt2", tmp_path)

    def leaking(module: Any, q: Any, *args: Any, **more: Any) -> Any:
        out, _ = interface._attend(module, q, *args, **more)
        return out + 0.1 * (out[:, -1:] if q.shape[2] != LONG else 0.0), None

    attention(leaking)
    assert "run packed beside others, its logits differ" in _refusal(tmp_path)


def test_angles_that_follow_the_longest_sequence_of_a_batch(tmp_path: Path) -> None:
    """LongRoPE's do: tokens would depend on the neighbours (P3)."""
    rope = {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "short_factor": [1.0] * 4,
        "long_factor": [4.0] * 4,
        "original_max_position_embeddings": 64,
    }
    save_foreign("mixtral", tmp_path, rope_parameters=rope)
    assert "run packed beside others, its logits differ" in _refusal(tmp_path)


@pytest.mark.parametrize("by_torch", [True, False])
def test_one_that_triton_s_attention_fails_is_tried_by_torch_s(
    by_torch: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As on a GPU, where Triton is left for good only if that helps."""
    monkeypatch.setattr(kernels, "_left", {})
    monkeypatch.setattr(kernels, "_number", lambda device: 0)
    monkeypatch.setattr(foreign, "unproved", lambda device: kernels.why_left(device) is None)
    ways: list[str | None] = []

    def accept(runs: Any, model: Any, *, context_length: int) -> None:
        ways.append(kernels.why_left(runs.device))
        if not (by_torch and ways[-1]):
            raise Refused(f"it is off by {len(ways)}")

    monkeypatch.setattr(foreign, "accept", accept)
    save_foreign("gpt2", tmp_path)
    why = "of Triton's kernels, GPT2LMHeadModel is refused: it is off by 1"
    if by_torch:
        load_model(tmp_path, progress=False)
    else:
        assert "GPT2LMHeadModel is refused: it is off by 2" in _refusal(tmp_path)
    assert ways == [None, why]
    assert kernels.why_left(torch.device("cpu")) == (why if by_torch else None)


# -- folders that are not what they say ------------------------------------------------------------


def test_tensors_missing_left_over_or_pickled(tmp_path: Path) -> None:
    save_foreign("gpt2", tmp_path)
    weights = tmp_path / "model.safetensors"
    whole = load_file(weights)
    name = "transformer.h.1.mlp.c_fc.bias"
    for changed, said in (
        ({key: value for key, value in whole.items() if key != name}, f"'{name}' is missing"),
        ({**whole, "extra.bias": torch.ones(2)}, "'extra.bias' is without a place"),
        ({**whole, name: torch.ones(3)}, "cannot load GPT2LMHeadModel"),
    ):
        save_file(changed, weights, metadata={"format": "pt"})
        with pytest.raises(ModelLoadError, match=said):
            load_model(tmp_path, progress=False)
    weights.rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelLoadError, match="pickled"):
        load_model(tmp_path, progress=False)


def test_quantised_weights_and_code_of_its_own(tmp_path: Path) -> None:
    save_foreign("gpt2", tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "quantization_config": {"quant_method": "mxfp4"}}))
    with pytest.raises(NotSupportedError, match="mxfp4"):
        load_model(tmp_path, progress=False)
    code = "raise SystemExit('code of a checkpoint has run')"
    (tmp_path / "modeling.py").write_text(code)
    own = {"AutoConfig": "modeling.C", "AutoModelForCausalLM": "modeling.M"}
    path.write_text(json.dumps({**config, "auto_map": own}))
    assert load_model(tmp_path, progress=False).config.vocab_size == 199
