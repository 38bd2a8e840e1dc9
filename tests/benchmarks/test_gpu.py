"""The GPU's benchmarks, tried out on a CPU with a tiny model; and what they are made of."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from espalier.benchmarks import decode, gpu, tune
from espalier.benchmarks.true_shapes import TRUE_SHAPES, checkpoint
from espalier.errors import InvalidRequestError
from espalier.kernels.tuned import DEFAULT, Tiles
from espalier.runtime import graph_capture
from espalier.runtime.collecting import Collector
from espalier.runtime.engine import Engine
from tests.fake_graph import faked_graphs
from tests.support import gone, python_that_starts_another


def _page(folder: Path) -> Path:
    page = folder / "GPU.md"
    page.write_text(f"before\n{gpu.BEGIN}| old |\n{gpu.END}after\n")
    return page


def test_what_can_run_is_written_and_what_cannot_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = _page(tmp_path)
    given = ["--device", "cpu", "--tiny", "--models", str(tmp_path), "--results", str(tmp_path)]
    code = gpu.main([*given, "--page", str(page)])
    assert code == 1
    assert "without: kernels\n" in capsys.readouterr().out
    rows = json.loads((tmp_path / "gpu-forks.json").read_text())
    assert [row["name"].rpartition("/")[2] for row in rows] == ["attention", "step"]
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith(gpu.END + "after\n")
    assert "| forks/tiny bf16/4 of 96/step |" in text
    assert "| offline/tiny/mean 8 in, 4 out/tokens out @ 3 |" in text
    assert "| latency/tiny/8 in, 4 out/first token, p50 @ 2 |" in text
    assert "| decode/tiny/2 x 24/of the bound |" in text
    assert "| decode/tiny/3 uniform 100..110 in and out/of the bound |" in text
    assert "old" not in text


def test_a_part_that_is_not_there_is_told_with_the_nearest(tmp_path: Path) -> None:
    given = ["--device", "cpu", "--tiny", "--models", str(tmp_path), "--results", str(tmp_path)]
    with pytest.raises(InvalidRequestError, match=r"Did you mean kernels\?"):
        gpu.main([*given, "--only", "kernel"])


class _Event:
    """A CUDA event, by the host's clock."""

    def __init__(self, *, enable_timing: bool) -> None:
        self.at = 0.0

    def record(self) -> None:
        self.at = time.perf_counter()

    def elapsed_time(self, later: _Event) -> float:
        return 1e3 * (later.at - self.at)


def test_how_long_a_gpu_has_nothing_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a step by graphs, which recorded operators stand for: the graphs take a part of it."""
    pytest.importorskip("triton", reason="triton is not installed here")
    monkeypatch.setattr(torch.cuda, "Event", _Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(graph_capture, "EAGER", 1)
    monkeypatch.setattr(decode, "WARM", 3)
    monkeypatch.setattr(Collector, "start", lambda self: None)  # it would be this process's
    args = argparse.Namespace(
        device="cpu", bandwidth=1.0, compute=1.0, steps=8, option=["max_total_tokens=256"]
    )
    with faked_graphs(monkeypatch), torch.inference_mode():  # as what is recorded was made
        bench = decode.Bench(args, "tiny", checkpoint(tmp_path, "tiny"))
        rows = {row.name.rpartition("/")[2]: row.value for row in bench.decode(2, 24)}
        bench.engine.shutdown()
    assert set(rows) == {"tokens", "of the bound", "idle", "GPU a step"}
    assert rows["idle"] < 1
    assert rows["GPU a step"] == pytest.approx(2e3 / rows["tokens"] * (1 - rows["idle"]))


def test_a_part_that_takes_too_long_is_ended_and_one_without_time_is_not_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = gpu.Part("slow", ["forks", "--models", str(tmp_path)], [], 1, 0.2, True)
    assert not gpu._run(part, tmp_path, tmp_path, end=float("inf"))
    assert not gpu._run(part, tmp_path, tmp_path, end=0.0)
    assert "again" not in capsys.readouterr().out


@pytest.mark.parametrize("hangs", [True, False])
def test_a_part_ends_with_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    started = python_that_starts_another(tmp_path, monkeypatch, hangs=hangs)
    part = gpu.Part("it", [], [], 1, 2.0 if hangs else 99.0)
    code = gpu._bench(part, [], {}, tmp_path / "it.json", end=1e99)
    assert code == (None if hangs else 0)
    assert gone(int(started.read_text()))


def test_an_engine_that_fails_by_tritons_kernels_runs_by_torchs_operators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def bench(part: Any, arguments: Any, more: Any, file: Path, end: float) -> int:
        asked.append((more, file.name, arguments[-1]))
        return int(not more)

    monkeypatch.setattr(gpu, "_bench", bench)
    monkeypatch.delenv(gpu.TRITON, raising=False)
    given = ["latency", "--device", "cuda"]
    assert not gpu._run(gpu.Part("it", given, [], 1, 9, True), tmp_path, tmp_path, end=1e99)
    assert asked == [
        ({}, "gpu-it.json", "cuda"),
        ({gpu.TRITON: "0"}, "gpu-it-torch.json", "cuda_graphs=false"),
    ]
    assert "again, by torch's operators" in capsys.readouterr().out


def test_what_is_not_installed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "NEEDED", ("no_such_module", "msgspec"))
    monkeypatch.setattr(gpu, "_run", lambda *given: False)
    given = ["--only", "kernels", "--results", str(tmp_path), "--page", str(_page(tmp_path))]
    assert gpu.main(given) == 1
    told = capsys.readouterr().out
    assert told.startswith("no_such_module is not installed: what needs it will fail\n")
    assert "msgspec" not in told


def test_a_model_that_cannot_be_made_leaves_the_other_parts(tmp_path: Path) -> None:
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    assert not gpu._run(gpu.Part("it", [], ["tiny"], 1, 9), nowhere, tmp_path, end=1e99)
    assert gpu.roomy(tmp_path / "absent") is None


def test_the_bounds_are_those_of_the_yardsticks() -> None:
    machine = decode.Machine(4.3e12, 790e12)
    llama, qwen = (decode.Sizes.of(TRUE_SHAPES[shape]) for shape in ("8B", "0.6B"))
    for sizes, rates in (
        (llama, {(1, 512): 285, (8, 2048): 2005, (64, 512): 14256, (256, 2048): 13147}),
        (qwen, {(1, 512): 3438, (8, 2048): 11201, (64, 512): 55594, (256, 2048): 17951}),
    ):
        for (batch, keys), rate in rates.items():
            assert batch / sizes.step(batch, batch * keys, machine) == pytest.approx(rate, abs=0.5)


def test_a_workload_takes_no_less_than_its_bound() -> None:
    """Whether its prompts are computed alone or beside rows that decode."""
    machine = decode.Machine(4.3e12, 790e12)
    llama = decode.Sizes.of(TRUE_SHAPES["8B"])
    assert llama.head == 128_256 * 4096
    alone = llama.workload([100], [3], machine)
    first = 2 * llama.weights / machine.bandwidth  # reads all weights, and computes meanwhile
    assert alone == pytest.approx(first + sum(llama.step(1, keys, machine) for keys in (101, 102)))
    body, head = llama.weights - llama.head, llama.head
    one = llama.workload([100_000], [1], machine)
    assert one == pytest.approx(2 * (body * 100_000 + head) / machine.compute)
    # Each of the other's steps has a piece of the prompt, as much as it computes while it reads.
    pieces = [400] * 40
    rows = [(body * (piece + 1) + head, keys) for keys, piece in enumerate(pieces, 101)]
    took = sum(
        max((2 * llama.weights + llama.kv * keys) / machine.bandwidth, 2 * made / machine.compute)
        for made, keys in rows
    )
    last = 2 * head / machine.compute  # of the prompt's token
    both = llama.workload([100, sum(pieces)], [1 + len(pieces), 1], machine)
    assert 0.9 * took < both <= took + first + last


def test_a_page_without_a_place_is_left_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "GPU.md"
    page.write_text("nothing\n")
    gpu.write_table(page, tmp_path)
    assert page.read_text() == "nothing\n"


@pytest.mark.parametrize(("shape", "billions"), [("8B", 8.03), ("0.6B", 0.596)])
def test_shapes_are_those_of_the_models(shape: str, billions: float) -> None:
    from espalier.benchmarks.true_shapes import _count, _weights

    total = sum(_count(size) for _, size in _weights(TRUE_SHAPES[shape]))
    assert total / 1e9 == pytest.approx(billions, abs=0.005)


def test_a_checkpoint_runs(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, "tiny")
    assert checkpoint(tmp_path, "tiny") == folder
    with Engine(str(folder), inline=True, device="cpu") as engine:
        [result] = engine.generate(input_ids=[[3, 4, 5]], sampling_params={"max_tokens": 4})
    assert result.generated_tokens > 0


def test_tuning_keeps_the_best_and_passes_over_what_does_not_run() -> None:
    seen = []

    def cost(tiles: Tiles) -> float:
        seen.append(tiles)
        if tiles.stages == 5:
            raise RuntimeError("out of resource: shared memory")
        return abs(tiles.keys - 128) + tiles.warps + 1000 / tiles.split

    best, least = tune.fastest(cost, seconds=60)
    assert best == DEFAULT._replace(keys=128, warps=2, split=1024)
    assert least == cost(best)
    assert all(tiles.fits for tiles in seen)
    assert len(seen) == len(set(seen)) + 1


def test_tuning_ends_in_time() -> None:
    assert tune.fastest(lambda tiles: float(tiles.keys), seconds=0) == (DEFAULT, 64.0)
