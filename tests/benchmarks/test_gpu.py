"""The GPU's benchmarks, tried out on a CPU with a tiny model; and what they are made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from espalier.benchmarks import gpu, tune
from espalier.benchmarks.true_shapes import TRUE_SHAPES, checkpoint
from espalier.kernels.tuned import DEFAULT, Tiles
from espalier.runtime.engine import Engine


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
    assert "old" not in text


def test_a_part_that_takes_too_long_is_ended_and_one_without_time_is_not_begun(
    tmp_path: Path,
) -> None:
    part = gpu.Part("slow", ["forks", "--shape", "8B", "--models", str(tmp_path)], 1, 0.2)
    assert not gpu._run(part, tmp_path, end=float("inf"))
    assert not gpu._run(part, tmp_path, end=0.0)


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
        if tiles.stages == 4:
            raise RuntimeError("out of resource: shared memory")
        return abs(tiles.keys - 128) + tiles.warps + 1000 / tiles.split

    best, least = tune.fastest(cost, seconds=60)
    assert best == DEFAULT._replace(keys=128, warps=2, split=1024)
    assert least == cost(best)
    assert all(tiles.fits for tiles in seen)
    assert len(seen) == len(set(seen)) + 1


def test_tuning_ends_in_time() -> None:
    assert tune.fastest(lambda tiles: float(tiles.keys), seconds=0) == (DEFAULT, 64.0)
