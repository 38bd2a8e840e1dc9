"""The benchmark measures what it says, at sizes that take no time."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from functools import partial
from pathlib import Path

import pytest

from espalier.benchmarks import device, long_prompt, report, scheduler
from espalier.runtime.options import SchedulerConfig
from espalier.runtime.plan import Plan


def test_rows_slopes_and_plot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    small = partial(scheduler.measure, batches=(1, 2, 4), waiting=(5, 10, 20))
    monkeypatch.setattr(scheduler, "measure", small)
    monkeypatch.setattr(
        scheduler, "decoding", lambda batch, tokenizer=None, steps=3: float(batch + 1)
    )
    monkeypatch.setattr(long_prompt, "rows", partial(long_prompt.rows, 5_000, 2))
    file, svg = tmp_path / "rows.json", tmp_path / "plot.svg"
    assert scheduler.main(["--json", str(file), "--svg", str(svg)]) == 0
    rows = {row["name"]: row for row in report.read(file)}
    assert rows["scheduler/step, text, by batch @ 4"]["value"] == 5
    assert rows["scheduler/step beside requests waiting @ 20"]["value"] > 0
    assert rows["scheduler/step beside requests waiting: slope"]["unit"] == "log/log"
    name = "scheduler/a prompt of 5,000 tokens among 2 that decode: rise of the p99"
    assert 0 < rows[name]["value"] <= 3
    assert len(list(ET.parse(svg).getroot())) > 10


def test_a_decoding_step_is_timed() -> None:
    assert scheduler.decoding(2, steps=5) > 0
    median, mean = scheduler.queueing(40, steps=5)
    assert median > 0
    assert mean > 0
    assert scheduler.header_for_all(5) > 0


def test_a_long_prompt_costs_those_who_decode_a_chunk_a_token() -> None:
    """Modelled time, of which a busy machine changes nothing but the few percent that are CPU."""
    took = long_prompt.latency(20_000, decoding=4, quiet=20)
    assert took.before < 0.1 * took.chunk
    assert 0.5 < took.rise <= 3


def test_the_modelled_device_reads_weights_or_computes() -> None:
    one = Plan(step=0, positions=[0], seq_len=[1])
    assert device.seconds(one) == pytest.approx(16e9 / 4.3e12, rel=0.01)
    many = Plan(step=0, positions=list(range(2048)), seq_len=[2048])
    assert device.seconds(many) == pytest.approx(2048 * 16e9 / 400e12, rel=0.05)


def test_the_oldest_is_passed_over_as_often_as_it_may_be_and_no_more() -> None:
    bound = SchedulerConfig(capacity=1).age_bound
    assert long_prompt.passed_over(waiting=8, steps=400) == bound
