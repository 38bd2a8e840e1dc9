"""Throughput and latency beside peers, on a model of a few thousand weights."""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from espalier.benchmarks import engine_worker, latency, offline, rivals
from espalier.errors import EngineError, InvalidRequestError

TINY = ["--shape", "tiny", "--reps", "1", "--quiet"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return ["--models", str(tmp_path_factory.mktemp("models"))]


def _rows(file: Path) -> dict[str, Any]:
    return {row["name"]: row for row in json.loads(file.read_text())}


def test_drawn_lengths_have_the_mean_that_is_asked_for() -> None:
    for mean, spread in ((220, 1.1), (200, 0.9), (3, 1.1)):
        found = offline.lengths(random.Random(1), 400, mean, spread, 2048)
        assert abs(statistics.fmean(found) - mean) < 0.02 * mean
        assert min(found) >= 1
        assert max(found) <= 2048
        assert statistics.median(found) < mean  # as of those of conversations


def test_throughput_beside_transformers(tmp_path: Path, models: list[str]) -> None:
    file, svg = tmp_path / "rows.json", tmp_path / "plot.svg"
    asked = ["--requests", "2", "5", "--mean-input", "9", "--mean-output", "6", "--longest", "20"]
    asked += ["--peers", "hf,hf_cb", "--json", str(file), "--svg", str(svg)]
    assert offline.main([*TINY, *models, *asked]) == 0
    rows = _rows(file)
    prefix = "offline/tiny/mean 9 in, 6 out"
    assert {name for name in rows if name.endswith("@ 5")} == {
        f"{prefix}/{what} @ 5"
        for what in ("tokens out", "tokens in and out", "requests", "tokens as the peer's")
    }
    row = rows[f"{prefix}/tokens out @ 2"]
    assert row["unit"] == "tokens/CPU s"
    assert row["peers"].keys() == {"transformers generate", "transformers generate_batch"}
    assert min(row["value"], *row["peers"].values()) > 0
    same = rows[f"{prefix}/tokens as the peer's @ 5"]["peers"]
    assert same["transformers generate"] > 0.9  # bfloat16: some are nearly ties
    assert svg.read_text().count("<polyline") == 3


def test_latency_beside_transformers(tmp_path: Path, models: list[str]) -> None:
    file, svg = tmp_path / "rows.json", tmp_path / "plot.svg"
    asked = ["--batch", "1", "3", "--prompt", "8", "--output", "6", "--option", "step_tokens=16"]
    assert latency.main([*TINY, *models, *asked, "--json", str(file), "--svg", str(svg)]) == 0
    rows = _rows(file)
    assert len(rows) == 2 * 2 * 4
    for batch in (1, 3):
        of = {
            name.rpartition("/")[2].partition(" @ ")[0]: row
            for name, row in rows.items()
            if name.endswith(f"@ {batch}")
        }
        assert all(row["peers"].keys() == {"transformers generate"} for row in of.values())
        for what in (latency.FIRST, latency.GAP):
            spread = [of[f"{what}, p{share}"]["value"] for share in (50, 90, 99)]
            assert 0 < spread[0] <= spread[1] <= spread[2]
    assert svg.read_text().count("<polyline") == 4


def test_percentiles_are_of_all_requests_and_gaps() -> None:
    of = latency.waits([[1.0, 1.5, 3.0], [2.0, 2.25, 2.75]])
    assert (of[latency.FIRST, 0], of[latency.FIRST, 0.5], of[latency.FIRST, 0.99]) == (
        1.5,
        2.0,
        2.0,
    )
    assert of[latency.GAP, 0] == pytest.approx((0.5 + 1.5 + 0.25 + 0.5) / 4)
    assert (of[latency.GAP, 0.5], of[latency.GAP, 0.99]) == (0.5, 1.5)


def test_a_peer_that_fails_is_left_out_and_ours_is_told(
    tmp_path: Path, models: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    asked = ["--requests", "2", "--input", "4", "--output", "3", "--peers", "hf"]
    with pytest.raises(EngineError, match="no_such"):
        offline.main([*TINY, *models, *asked, "--option", "no_such=1"])
    assert offline.main([*TINY, *models, *asked, "--batch-of-peer", "-1"]) == 0
    assert "left out: transformers generate failed" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["--requests", "0"], "integers >= 1"),
        (["--reps", "0"], "integers >= 1"),
        (["--longest", "100"], "twice the mean"),
        (["--requests", "2", "--svg", "x.svg"], "two numbers of requests"),
        (["--shape", "tiny", "--model", "folder"], "not both"),
        (["--shape", "tiny", "--peers", "vllm"], "peers of hf, hf_cb, llamacpp"),
        (["--shape", "tiny", "--peers", "llamacpp"], "6.8M or 387M"),
        (["--shape", "tiny", "--peers", "none", "--option", "drafts"], "NAME=JSON"),
        (["--shape", "tiny", "--peers", "none", "--option", "drafts=yes"], "NAME=JSON"),
    ],
)
def test_what_cannot_be_is_refused(asked: list[str], words: str, models: list[str]) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        offline.main([*models, *asked, "--quiet"])


def test_the_wrong_number_of_tokens_is_no_answer() -> None:
    class Short:
        def generate(self, prompts: Any, counts: Any) -> list[list[int]]:
            return [[1]]

    with pytest.raises(ValueError, match="asked for"):
        engine_worker.measure(Short(), "offline", [[1]], [2], lambda: 0.0)
    assert offline.agreement([[1, 2, 3], [4]], [[1, 9, 3], [4]]) == 0.5
    assert rivals.engine_options(["a=1", 'b="c"']) == {"a": 1, "b": "c"}


def _ended(
    monkeypatch: pytest.MonkeyPatch,
    found: Callable[[dict[str, Any], float | None], list[dict[str, Any]]],
) -> None:
    """Peers find these, and are ended then."""
    runs = rivals._runs

    def ended(job: dict[str, Any], seconds: float | None = None) -> Iterator[dict[str, Any]]:
        if job["engine"] == rivals.OURS:
            yield from runs(job)
            return
        yield from found(job, seconds)
        raise rivals.TookTooLong("it was ended")

    monkeypatch.setattr(rivals, "_runs", ended)


def test_a_peer_that_takes_too_long_is_told_as_a_bound(
    tmp_path: Path, models: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the repetition that it was ended in; one that was still warming up is left out."""

    def found(job: dict[str, Any], seconds: float | None) -> list[dict[str, Any]]:
        assert seconds == 9.0
        assert job["warm_tokens"] == 2
        return [{"seconds": 1.0, "tokens": [[1]]}] if job["engine"] == "hf" else []

    _ended(monkeypatch, found)
    file = tmp_path / "rows.json"
    asked = ["--requests", "2", "--input", "4", "--output", "3", "--peers", "hf,hf_cb"]
    asked += ["--peer-seconds", "9", "--peer-warm", "2", "--json", str(file)]
    assert offline.main([*TINY, *models, *asked]) == 0
    [row] = [row for name, row in _rows(file).items() if name.endswith("/tokens out @ 2")]
    assert row["peers"].keys() == {"transformers generate (less than)"}


def test_what_a_peer_found_before_it_was_ended_counts(
    tmp_path: Path, models: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the time of the one cut short, which says less than they do."""

    def found(job: dict[str, Any], seconds: float | None) -> list[dict[str, Any]]:
        begun = [0.0, 4.0, 2.0]  # to warm up, and two of the three repetitions
        if job["task"] == "offline":
            return [{"seconds": took, "tokens": [[1, 2]] * 2} for took in begun]
        return [{"came": [[took, 2 * took]]} for took in begun]

    _ended(monkeypatch, found)
    file = tmp_path / "rows.json"
    tiny = ["--shape", "tiny", "--reps", "3", "--quiet"]
    asked = [*tiny, *models, "--output", "2", "--peers", "hf", "--json", str(file)]
    assert offline.main([*asked, "--requests", "2", "--input", "4"]) == 0
    [row] = [row for name, row in _rows(file).items() if name.endswith("/tokens out @ 2")]
    assert row["peers"] == {"transformers generate": 4 / 2.0}
    assert latency.main([*asked, "--batch", "1", "--prompt", "4"]) == 0
    [row] = [row for name, row in _rows(file).items() if name.endswith("/between tokens, p50 @ 1")]
    assert row["peers"] == {"transformers generate": 2000.0}


def test_an_engine_is_ended_after_its_seconds(models: list[str]) -> None:
    job = {"engine": "espalier", "loads": [], "reps": 1, "task": "offline", "device": "cpu"}
    with pytest.raises(rivals.TookTooLong):
        list(rivals._runs(job | {"loads": [1]}, 0.05))
