"""Our definitions against transformers' own, on tiny random checkpoints."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from espalier.errors import InvalidRequestError, ModelLoadError
from espalier.kernels import native
from espalier.kernels.native_layers import FewRows
from espalier.runtime.batch import ForwardBatch
from espalier.runtime.dtypes import native_on_cpu
from espalier.runtime.kv_cache import KVCache
from espalier.runtime.models import ARCHITECTURES, llama, load_model
from tests.tiny_models import TINY, Driver, save_tiny

CLOSE = 1e-4


def _prompt(length: int, seed: int = 0) -> list[int]:
    generator = random.Random(seed)
    return [generator.randrange(3, 199) for _ in range(length)]


def _expected(reference: Any, tokens: list[int]) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = reference(torch.tensor([tokens])).logits[0].float()
    return logits


@pytest.fixture(scope="module", params=TINY)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(our folder, transformers' model) of each architecture."""
    folder = tmp_path_factory.mktemp(request.param)
    return folder, save_tiny(request.param, folder)


def _assert_close(ours: Tensor, theirs: Tensor) -> None:
    assert ours.dtype == torch.float32
    assert (ours - theirs).abs().max().item() < CLOSE


@pytest.mark.parametrize("length", [1, 2, 33, 90])
def test_whole_prompt(tiny: Any, length: int) -> None:
    folder, reference = tiny
    tokens = _prompt(length)
    ours = Driver.of(folder).step({"a": tokens})["a"]
    _assert_close(ours, _expected(reference, tokens))


def test_what_is_added_may_wait_for_the_norm_after_it(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where one kernel adds and norms."""
    folder, reference = tiny
    monkeypatch.setattr(llama, "adds_late", lambda x: True)
    tokens = _prompt(30)
    driver = Driver.of(folder)
    pieces = tokens[:20], tokens[20:21], tokens[21:]
    ours = torch.cat([driver.step({"a": piece})["a"] for piece in pieces])
    _assert_close(ours, _expected(reference, tokens))


def test_chunks_of_seven_then_one_by_one(tiny: Any) -> None:
    folder, reference = tiny
    tokens = _prompt(60)
    driver = Driver.of(folder)
    pieces = [tokens[i : i + 7] for i in range(0, 42, 7)] + [[token] for token in tokens[42:]]
    ours = torch.cat([driver.step({"a": piece})["a"] for piece in pieces])
    _assert_close(ours, _expected(reference, tokens))


def test_cached_prefix_and_neighbours_of_all_kinds(tiny: Any) -> None:
    """One step mixes prefill, chunk, short and long decode rows, and a fork that reads slots which
    another sequence fills in the same step."""
    folder, reference = tiny
    driver = Driver.of(folder)
    texts = {"long": _prompt(150, 1), "short": _prompt(12, 2), "chunk": _prompt(80, 3)}
    driver.step({"long": texts["long"][:-1], "short": texts["short"][:-1]})
    driver.step({"chunk": texts["chunk"][:40]})
    texts["fork"] = texts["long"][:70] + _prompt(9, 4)
    driver.fork("long", "fork", 70)
    texts["fresh"] = _prompt(45, 5)
    ours = driver.step(
        {
            "long": texts["long"][-1:],
            "fork": texts["fork"][70:],
            "chunk": texts["chunk"][40:],
            "fresh": texts["fresh"],
            "short": texts["short"][-1:],
        }
    )
    for name, logits in ours.items():
        _assert_close(logits, _expected(reference, texts[name])[-len(logits) :])


def test_greedy_decode_of_a_ragged_batch(tiny: Any) -> None:
    """64 steps of four sequences of very different lengths choose transformers' tokens."""
    folder, reference = tiny
    driver = Driver.of(folder)
    texts = {str(length): _prompt(length, length) for length in (3, 17, 70, 71)}
    with torch.inference_mode():
        wanted = {
            name: reference.generate(
                torch.tensor([tokens]),
                attention_mask=torch.ones(1, len(tokens), dtype=torch.int64),
                max_new_tokens=64,
                min_new_tokens=64,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
            )[0].tolist()
            for name, tokens in texts.items()
        }
    rows = dict(texts)
    for _ in range(64):
        logits = driver.step(rows, last_only=True)
        rows = {name: [int(row[-1].argmax())] for name, row in logits.items()}
        texts = {name: texts[name] + rows[name] for name in texts}
    assert texts == wanted


_HALF = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("llama3", {}),
        ("llama-biases", {}),
        ("mistral", {}),
        ("qwen2-window", {}),
        ("qwen3-yarn", {}),
        ("phi3", {"rope_parameters": _HALF}),
    ],
)
def test_layers_of_few_rows_in_one_call(
    name: str,
    more: dict[str, Any],
    dtype: torch.dtype,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To the last bit what they make one by one, in every step that has no more rows than C takes:
    decoding ones, a draft of four tokens, a short prompt; the others are left to them."""
    c = native.library(dtype)
    if c is None or not c.few():
        pytest.skip("no C compiler, or none of its products")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    save_tiny(name, tmp_path, dtype=dtype, head_dim=16, **more)
    taken: list[tuple[int, bool]] = []
    run = FewRows.run

    def told(self: FewRows, x: Tensor, *rest: Any) -> bool:
        taken.append((len(x), run(self, x, *rest)))
        return taken[-1][1]

    steps = [
        {"a": _prompt(30), "b": _prompt(5, 1)},
        *[{"a": [n], "b": [n + 1]} for n in range(20, 40)],
        {"a": [4], "b": _prompt(4, 2), "c": _prompt(8, 3)},
        {str(n): [n + 3] for n in range(17)},
        {"a": [5], **{str(n): [n + 4] for n in range(15)}},
        {"a": [6], "b": _prompt(9, 4)},
    ]

    def answers(run: Any) -> tuple[list[Tensor], KVCache]:
        monkeypatch.setattr(FewRows, "run", run)
        driver = Driver(load_model(tmp_path, dtype=dtype, progress=False))
        for rows in (*driver.kv.k, *driver.kv.v):
            rows.fill_(torch.nan)
        return [torch.cat(list(driver.step(step).values())) for step in steps], driver.kv

    ours, ours_kv = answers(told)
    theirs, theirs_kv = answers(lambda *rest: False)
    rows = [2] * 20 + [13, 16] if dtype == torch.float32 else [2] * 20 + [13, 17, 16]
    assert [count for count, done in taken if done] == rows
    assert len(taken) == len(steps)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other)
    for one, other in zip(ours_kv.rows, theirs_kv.rows, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def test_layers_of_few_rows_go_over_the_cache_they_are_given(tmp_path: Path) -> None:
    save_tiny("qwen3", tmp_path)
    driver, other = Driver.of(tmp_path), Driver.of(tmp_path)
    first = driver.step({"a": _prompt(9)})["a"]
    driver.step({"a": [5]})
    driver.kv, driver.free = KVCache(driver.model.kv_layout, 64), list(range(64))
    driver.tables.clear()
    assert torch.equal(driver.step({"a": _prompt(9)})["a"], first)
    other.step({"a": _prompt(9)})
    assert torch.equal(driver.step({"a": [5]})["a"], other.step({"a": [5]})["a"])


def test_a_row_reads_slots_that_another_row_of_the_step_fills(tiny: Any) -> None:
    """64 identical prompts, computed once: one sequence runs all rows, the others their last one,
    which writes to the trash slot."""
    folder, reference = tiny
    driver = Driver.of(folder)
    tokens = _prompt(20)
    slots = [driver.free.pop() for _ in tokens]
    trash = driver.kv.trash_slot
    batch = ForwardBatch.from_host(
        input_ids=[*tokens, tokens[-1], tokens[-1]],
        positions=[*range(20), 19, 19],
        slot_of=[*slots, trash, trash],
        query_start=[0, 20, 21, 22],
        seq_len=[20, 20, 20],
        slot_tables=[slots] * 3,
        logits_at=[19, 20, 21, 0],
        trash_slot=trash,
    )
    ours = driver.model.forward(batch, driver.kv)
    theirs = _expected(reference, tokens)
    _assert_close(ours, theirs[[19, 19, 19, 0]])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "name", ["llama3", "mistral", "qwen2", "qwen3", "phi3", "gemma2", "gemma3"]
)
def test_half_precision_follows_transformers(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    reference = save_tiny(name, tmp_path, dtype=dtype)
    tokens = _prompt(40)
    driver = Driver(load_model(tmp_path, dtype=dtype, progress=False))
    assert driver.model.dtype == dtype
    ours = driver.step({"a": tokens})["a"]
    theirs = _expected(reference, tokens)
    exact = _expected(reference.float(), tokens)
    # No further from the exact logits than transformers' own half precision is, up to a factor.
    assert (ours - exact).abs().mean() <= 1.5 * (theirs - exact).abs().mean()


def test_embedding_is_found_beside_a_table_that_grows(tmp_path: Path) -> None:
    """Positions past the first rotary table, up to the context."""
    reference = save_tiny("qwen3", tmp_path, max_position_embeddings=4096)
    tokens = _prompt(2100)
    ours = Driver.of(tmp_path, slots=3000).step({"a": tokens}, last_only=True)["a"]
    _assert_close(ours, _expected(reference, tokens)[-1:])


def test_longrope_runs_up_to_where_its_angles_change(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_tiny("phi4-mini", tmp_path)
    model = load_model(tmp_path, progress=False)
    assert model.config.context_length == 256
    [note] = model.notes
    assert note in caplog.text
    assert "256 tokens, of the 512" in note


def test_code_that_has_gone_into_transformers_is_never_imported(tmp_path: Path) -> None:
    """Phi-3 checkpoints name their own copy of it."""
    save_tiny("phi3", tmp_path)
    path = tmp_path / "config.json"
    code = {"auto_map": {"AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM"}}
    path.write_text(json.dumps({**json.loads(path.read_text()), **code}))
    (tmp_path / "modeling_phi3.py").write_text("raise SystemExit('code of a checkpoint has run')")
    assert load_model(tmp_path, progress=False).config.vocab_size == 199


def test_unknown_architecture_lists_the_known_ones(tmp_path: Path) -> None:
    save_tiny("llama2", tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace("LlamaForCausalLM", "MambaForCausalLM"))
    with pytest.raises(ModelLoadError, match="MambaForCausalLM") as caught:
        load_model(tmp_path, progress=False)
    assert all(name in str(caught.value) for name in ARCHITECTURES)
    assert caught.value.where == str(config)


def test_dtype(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tiny("llama2", tmp_path, dtype=torch.bfloat16)
    assert load_model(tmp_path, dtype="float32", progress=False).dtype == torch.float32
    assert load_model(tmp_path, dtype=torch.bfloat16, progress=False).dtype == torch.bfloat16
    assert load_model(tmp_path, progress=False).dtype == torch.bfloat16 or not native_on_cpu(
        torch.bfloat16
    )
    monkeypatch.setattr("espalier.runtime.dtypes.native_on_cpu", lambda dtype: False)
    assert load_model(tmp_path, progress=False).dtype == torch.float32
    with pytest.raises(InvalidRequestError, match="int8"):
        load_model(tmp_path, dtype="int8", progress=False)


def test_the_embedded_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("espalier.runtime.locate.SPRIG", tmp_path)
    monkeypatch.setattr("espalier.runtime.models.registry.SPRIG", tmp_path)
    with pytest.raises(ModelLoadError, match="not installed"):
        load_model("sprig", progress=False)
    save_tiny("llama2", tmp_path, dtype=torch.bfloat16)
    assert load_model("sprig", progress=False).dtype == torch.float32
    assert load_model("sprig", dtype="bfloat16", progress=False).dtype == torch.bfloat16


def test_missing_folder_and_unreachable_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelLoadError, match="no such model folder"):
        load_model(tmp_path / "nowhere", progress=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelLoadError, match="cannot be fetched"):
        load_model("espalier-test/no-such-model", progress=False)
