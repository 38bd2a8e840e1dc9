"""Steps with prompts as graphs, on a CPU (`fake_graph.py`): each step is run by graphs and, beside
that, without, and their numbers are compared."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from espalier.grammar import GrammarSpec
from espalier.kernels import tuned
from espalier.kernels.attention_plan import plan_attention
from espalier.kernels.tuned import Tiles
from espalier.runtime import graph_capture, graph_inputs, layer_graphs, shared_runs
from espalier.runtime.client import InlineLink
from espalier.runtime.engine import Engine
from espalier.runtime.kv_cache import KVCache
from espalier.runtime.layer_graphs import SIZES, sizes_for
from espalier.runtime.model_runner import DelayedRunner, Masks
from espalier.runtime.plan import Plan, StepOutput
from espalier.runtime.pooling import COARSE
from espalier.runtime.torch_runner import TorchRunner
from espalier.types import Result, SamplingParams
from tests.fake_graph import FakeCapture, faked_graphs

pytest.importorskip("triton", reason="triton is not installed here")

Make = Callable[..., Path]


@pytest.fixture
def capture(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCapture]:
    """An engine made inside has graphs from its first step on, of few sizes, and attends in pieces
    of 16 keys."""
    monkeypatch.setattr(graph_capture, "EAGER", 0)
    monkeypatch.setattr(layer_graphs, "SIZES", (8, 24))
    monkeypatch.setattr(tuned, "DEFAULT", Tiles(split=16, keys=16, few=16, many=16))
    monkeypatch.setattr(shared_runs, "LEAST", 1)
    tuned._known.cache_clear()
    with faked_graphs(monkeypatch) as made:
        yield made
    tuned._known.cache_clear()


class Twin:
    """Two runners in one: what the first gives, by graphs, and a second one by torch's operators,
    to which each step is held. steps: that had rows; mixed, shared: those of prompts beside rows
    that decode, and of these, those that attend to a prefix together."""

    def __init__(self, first: TorchRunner, second: TorchRunner, capture: FakeCapture) -> None:
        self._first, self._second, self._capture = first, second, capture
        self.steps = 0
        self.mixed = self.shared = 0

    def launch(self, plan: Plan) -> tuple[Any, Any]:
        first = self._first.launch(plan)
        with self._torch():
            handles = first, self._second.launch(plan)
        rows = [b - a for a, b in zip(plan.query_start, plan.query_start[1:], strict=False)]
        longest = max(rows, default=0)
        self.steps += longest > 0
        self.mixed += 1 in rows and longest > 1
        self.shared += bool(plan.shared) and longest > 1
        ours, theirs = ([handle.logits, handle.pooled] for handle in handles)
        for one, other in zip(ours, theirs, strict=True):
            assert (one is None) == (other is None)
            if one is not None:  # of what is pooled the whole sums, without what they leave
                one, other = (
                    each[:, 0] / COARSE if each.dim() == 3 else each for each in (one, other)
                )
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        return handles

    def sample(self, handle: tuple[Any, Any], masks: Masks) -> None:
        self._first.sample(handle[0], masks)
        with self._torch():
            self._second.sample(handle[1], masks)
        self._second._last.copy_(self._first._last[:-1])  # near ties may part them

    def ready(self, handle: tuple[Any, Any]) -> bool:
        return self._first.ready(handle[0])

    def collect(self, handle: tuple[Any, Any]) -> StepOutput:
        found = self._first.collect(handle[0])
        with self._torch():
            other = self._second.collect(handle[1])
        for token, wanted, near in zip(found.tokens, other.tokens, found.near_ties, strict=True):
            assert token == wanted or near
        ours, theirs = ([score for score, _ in each.scores] for each in (found, other))
        assert ours == pytest.approx(theirs, abs=1e-3)
        return found

    def counters(self) -> dict[str, Any]:
        return self._first.counters()

    @contextmanager
    def _torch(self) -> Iterator[None]:
        self._capture.triton = False
        try:
            yield
        finally:
            self._capture.triton = True


def _twin(engine: Engine, options: dict[str, Any], capture: FakeCapture) -> Twin:
    """Puts one into an engine that has not run yet."""
    assert isinstance(engine.link, InlineLink)
    core = engine.link.core
    late = isinstance(core._runner, DelayedRunner)
    first: Any = core._runner._inner if late else core._runner
    kv = KVCache(first.kv.layout, first.kv.num_slots, "cpu", first.kv.dtype)
    second = TorchRunner(
        first.model,
        kv,
        max_running=options["max_running"],
        max_context=first._tables.shape[1] - 16,
    )
    made: Any = Twin(first, second, capture)
    core._runner = DelayedRunner(made) if late else made
    return made


def _prompts(seed: int, count: int, longest: int = 40) -> list[list[int]]:
    """Some begin alike, some are the same."""
    rng = random.Random(seed)
    stem = [rng.randrange(3, 199) for _ in range(longest)]
    cuts = [rng.randrange(1, longest) for _ in range(count)]
    tails = [[rng.randrange(3, 199) for _ in range(rng.randrange(1, 9))] for _ in cuts]
    made = [stem[:cut] + tail for cut, tail in zip(cuts, tails, strict=True)]
    made[count // 2] = list(made[0])
    return made


def _params(seed: int, count: int) -> list[SamplingParams]:
    rng = random.Random(seed)
    return [
        SamplingParams(
            max_tokens=rng.randrange(1, 6), ignore_eos=True, temperature=n % 2 * 0.9, seed=n
        )
        for n in range(count)
    ]


def _run(
    folder: Path,
    capture: FakeCapture,
    options: dict[str, Any],
    ask: Callable[[Engine], list[Result]],
) -> tuple[Twin, list[Result], dict[str, Any]]:
    """What an engine says whose steps are run twice, and its counters."""
    options = {"max_running": 3, "max_total_tokens": 256, "dtype": "float32"} | options
    with Engine(str(folder), inline=True, device="cpu", **options) as engine:
        twin = _twin(engine, options, capture)
        results = ask(engine)
        engine.check_invariants()
        counted = engine.stats()["graphs"]
    assert all(result.error is None for result in results)
    return twin, results, counted


@pytest.mark.parametrize(
    ("kind", "count", "longest", "options"),
    [
        ("qwen3", 5, 24, {"step_tokens": 20, "chunk_tokens": 7, "overlap": True, "page_size": 4}),
        ("gemma2", 6, 30, {"step_tokens": 24}),
        ("mistral", 7, 30, {"overlap": True, "step_tokens": 24}),
        ("llama3", 8, 40, {"kv_dtype": "int8", "step_tokens": 23}),
        ("qwen2-window", 6, 24, {"max_total_tokens": 80, "step_tokens": 24}),
    ],
    ids=str,
)
def test_each_step_is_what_it_is_without(
    small: Make, capture: FakeCapture, kind: str, count: int, longest: int, options: dict[str, Any]
) -> None:
    """Chunks, prompts beside rows that decode, prefixes that are shared; where slots are few, what
    is retracted and computed again."""
    prompts, params = _prompts(len(kind), count, longest), _params(5, count)
    twin, _, counted = _run(
        small(kind),
        capture,
        options,
        lambda engine: engine.generate(input_ids=prompts, sampling_params=params),
    )
    assert twin.mixed > 0
    assert counted["layers"] > 2
    assert counted["decode"] + counted["layers"] == twin.steps
    assert not any(counted["without"].values())
    assert counted["captured"] == capture.graphs
    assert capture.replays > 2


def test_prefixes_are_read_once_beside_prompts(small: Make, capture: FakeCapture) -> None:
    """Branches that decode below one node, while newcomers' prompts run."""
    stem = _prompts(1, 1, longest=20)[0] + [7] * 30
    prompts = [[*stem, n + 3, n + 9] for n in range(5)] + _prompts(2, 3)

    def ask(engine: Engine) -> list[Result]:
        engine.generate(input_ids=[stem], sampling_params=SamplingParams(max_tokens=1))
        return engine.generate(input_ids=prompts, sampling_params=_params(3, 8))

    twin, _, counted = _run(
        small("qwen3"), capture, {"step_tokens": 9, "max_total_tokens": 512}, ask
    )
    assert twin.shared > 0
    assert not any(counted["without"].values())


def test_scores_and_embeddings_are_read_of_the_graph_s_rows(
    small: Make, capture: FakeCapture
) -> None:
    params = [SamplingParams(max_tokens=2, prompt_logprobs=1, logprobs=2) for _ in range(4)]
    folder = small("llama3")
    _, results, counted = _run(
        folder,
        capture,
        {"step_tokens": 21},
        lambda engine: engine.generate(input_ids=_prompts(4, 4), sampling_params=params),
    )
    assert all(result.prompt_logprobs and result.logprobs for result in results)
    assert counted["layers"] > 3

    def embed(engine: Engine) -> list[Result]:
        assert len(engine.embed(input_ids=_prompts(6, 3))) == 3
        return []

    _, _, counted = _run(folder, capture, {"step_tokens": 21}, embed)
    assert counted["layers"] > 2
    assert not any(counted["without"].values())


def test_drafts_are_verified_by_graphs(small: Make, capture: FakeCapture) -> None:
    """Several rows of a sequence that decodes, each with a mask."""
    folder = small("llama3", text=True)
    grammar = GrammarSpec.regex('\\{"name": "[ab]{2}", "number": [0-9]\\}')
    params = SamplingParams(max_tokens=40, temperature=1.0, seed=3)
    _, results, counted = _run(
        folder,
        capture,
        {"max_total_tokens": 512, "step_tokens": 24},
        lambda engine: engine.generate(
            input_ids=[[7, 8, 9], [7, 8]], sampling_params=params, grammar=[grammar] * 2
        ),
    )
    assert all(result.text.startswith('{"name": "') for result in results)
    assert counted["layers"] > 1
    assert not any(counted["without"].values())


def test_without_room_a_step_runs_without(
    small: Make,
    capture: FakeCapture,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Which is counted, and told once; the others run by graphs as before."""
    monkeypatch.setattr(graph_inputs, "PARTIALS", 5)
    prompts, params = _prompts(5, 8), _params(5, 8)
    with caplog.at_level(logging.WARNING):
        twin, _, counted = _run(
            small("qwen3"),
            capture,
            {"step_tokens": 24},
            lambda engine: engine.generate(input_ids=prompts, sampling_params=params),
        )
    without = counted["without"]
    assert without["pieces"] > 1
    assert sum(without.values()) == without["pieces"]
    assert counted["layers"] > 0
    assert counted["decode"] + counted["layers"] + without["pieces"] == twin.steps
    assert caplog.text.count("without a CUDA graph") == 1


def test_what_has_more_rows_or_shapes_of_its_own(
    small: Make, capture: FakeCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_graphs, "SIZES", (8,))
    alone = SamplingParams(max_tokens=3, ignore_eos=True, deterministic=True)

    def ask(engine: Engine) -> list[Result]:
        found = engine.generate(input_ids=_prompts(5, 4), sampling_params=_params(5, 4))
        return found + engine.generate(input_ids=_prompts(6, 1), sampling_params=alone)

    twin, _, counted = _run(small("llama3"), capture, {"step_tokens": 60}, ask)
    without = counted["without"]
    assert without["rows"] > 0
    assert without["deterministic"] == 3
    assert counted["decode"] + counted["layers"] + sum(without.values()) == twin.steps


def test_the_first_steps_of_a_size_wait_for_no_capture(
    small: Make, capture: FakeCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_capture, "EAGER", 2)
    with Engine(
        str(small("llama3")), inline=True, device="cpu", dtype="float32",
        max_total_tokens=256,
    ) as engine:  # fmt: skip
        seen = []
        for n in range(4):
            engine.generate(input_ids=[[n + 3] * 20], sampling_params={"max_tokens": 1})
            told = engine.stats()["graphs"]
            seen.append((told["without"]["warming"], told["layers"], told["captured"]))
    assert seen == [(1, 0, 0), (2, 0, 0), (2, 1, 1), (2, 2, 1)]
    assert capture.replays == 1 + 1  # tried as it was captured, and the step after


def test_graphs_are_for_layers_that_take_longer_to_launch_than_to_run() -> None:
    """Up to 1,024 rows of Qwen3-0.6B's, 64 of Llama-3.1-8B's."""
    from types import SimpleNamespace

    small: Any = SimpleNamespace(
        num_heads=16, num_kv_heads=8, head_dim=128, hidden_size=1024, intermediate_size=3072
    )
    large: Any = SimpleNamespace(
        num_heads=32, num_kv_heads=8, head_dim=128, hidden_size=4096, intermediate_size=14336
    )
    assert sizes_for(small) == list(SIZES)
    assert max(sizes_for(large)) == 64


def test_what_was_captured_goes_on_where_nothing_more_can_be(
    small: Make, capture: FakeCapture
) -> None:
    """And a step whose capture fails counts as one without."""
    with Engine(
        str(small("llama3")), inline=True, device="cpu", dtype="float32",
        max_total_tokens=256,
    ) as engine:  # fmt: skip

        def counted(length: int, tokens: int) -> tuple[int, int, int, int]:
            engine.flush_cache()
            params = SamplingParams(max_tokens=tokens, ignore_eos=True)
            engine.generate(input_ids=[[3] * length], sampling_params=params)
            told = engine.stats()["graphs"]
            return told["layers"], told["decode"], told["captured"], told["without"]["failed"]

        assert counted(20, 1) == (1, 0, 1, 0)
        capture.failing = True
        assert counted(5, 1) == (1, 0, 1, 1)
        assert counted(5, 1) == (1, 0, 1, 2)
        assert counted(20, 1) == (2, 0, 1, 2)
        assert counted(20, 3) == (3, 0, 1, 4)
    assert capture.replays == 1 + 2


def test_all_rows_of_a_graph_may_have_keys_in_several_pieces(
    small: Make, capture: FakeCapture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds that decode, beside a chunk."""
    monkeypatch.setattr(layer_graphs, "SIZES", (512,))
    monkeypatch.setattr(graph_capture, "EAGER", 1)  # its room is there, and nobody runs it
    with Engine(
        str(small("llama3")), inline=True, device="cpu", dtype="float32", max_total_tokens=256
    ) as engine:
        engine.generate(input_ids=[[3] * 9], sampling_params={"max_tokens": 1})
        assert isinstance(engine.link, InlineLink)
        core: Any = engine.link.core
        runner = core._runner._inner if isinstance(core._runner, DelayedRunner) else core._runner
        layout = runner._graphs._layers._buckets[512].inputs.layout
    starts, lengths = [*range(301), 400], [30] * 300 + [100]
    plan = plan_attention(starts, lengths, list(range(301)), tile=layout.tile, split=layout.split)
    assert len(plan.merged) >= 300
    assert layout.room.holds(plan)
