"""Parts are taken away one at a time, and a run that had one nevertheless is an error."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from espalier.benchmarks import ablation, report
from espalier.benchmarks.ablation import CONFIGURATIONS, Configuration
from espalier.benchmarks.bars import bars
from espalier.errors import InvariantError

BY_NAME = {configuration.name: configuration for configuration in CONFIGURATIONS}


def test_rows_and_plot(tmp_path: Path) -> None:
    file, svg = tmp_path / "rows.json", tmp_path / "plot.svg"
    options = ["--only", "judge", "--size", "4", "--rounds", "1"]
    assert ablation.main([*options, "--json", str(file), "--svg", str(svg)]) == 0
    rows = {row["name"]: row["value"] for row in report.read(file)}
    assert len(rows) == 2 * len(CONFIGURATIONS)
    assert rows["ablation/judge/full"] == 1.0
    for name in ("no cache", "no tree"):
        assert rows[f"ablation/judge/{name}/computed"] > 3.0
        assert rows[f"ablation/judge/{name}"] < 0.6
    assert rows["ablation/judge/no parallelism"] < 0.8
    assert rows["ablation/judge/compiled/computed"] <= rows["ablation/judge/full/computed"]
    titles = [element.text or "" for element in ET.parse(svg).getroot().iter() if element.text]
    assert any(title.startswith("judge, no tree: 0.") for title in titles)


def seen(**more: int) -> Any:
    return SimpleNamespace(**{"cached": 0, "shared": 0, "held": 0, "found": 0, "most": 1} | more)


def engine(policy: str = "lpm") -> Any:
    core = SimpleNamespace(scheduler=SimpleNamespace(config=SimpleNamespace(policy=policy)))
    return SimpleNamespace(link=SimpleNamespace(core=core))


@pytest.mark.parametrize(
    ("name", "had", "what"),
    [
        ("no cache", seen(cached=1), "a cache"),
        ("no cache", seen(shared=1), "a cache"),
        ("FCFS", seen(), "another order"),
        ("random", seen(), "another order"),
        ("no parallelism", seen(most=9), "calls of one program at once"),
        ("no hint", seen(held=1), "holds"),
        ("no tree", seen(found=1), "what other states had said"),
    ],
)
def test_what_was_not_honoured_is_an_error(name: str, had: Any, what: str) -> None:
    with pytest.raises(InvariantError, match=f"the run of '{name}' had {what}"):
        BY_NAME[name].check(engine(), had, 8)


def test_what_was_honoured_passes() -> None:
    for configuration in CONFIGURATIONS:
        policy = configuration.engine.get("schedule_policy", "lpm")
        configuration.check(engine(policy), seen(most=8), 8)


def test_a_table_shares_nothing_between_states() -> None:
    twin = next(twin for twin in ablation.TWINS if twin.name == "self_consistency")
    batch = [("one two three",), ("one two three",)]
    tree = ablation.take(Configuration("full"), twin, batch, 1 << 16)
    table = ablation.take(BY_NAME["no tree"], twin, batch, 1 << 16)
    none = ablation.take(BY_NAME["no cache"], twin, batch, 1 << 16)
    assert table.computed == none.computed  # five branches of one call each
    assert tree.computed < table.computed / 4
    again = dataclasses.replace(
        twin, program=next(t for t in ablation.TWINS if t.name == "chat").program
    )
    turns = [("one", "two", "three")]
    table = ablation.take(BY_NAME["no tree"], again, turns, 1 << 16)
    assert table.computed == ablation.take(Configuration("full"), again, turns, 1 << 16).computed


def test_bars_are_as_high_as_they_say() -> None:
    root = ET.fromstring(bars("title", "y", {"a": {"x": 1.0, "y": 2.0}, "b": {"x": 0.5, "y": 0.0}}))
    heights = {
        element[0].text: float(element.get("height", "0"))
        for element in root.iter("{http://www.w3.org/2000/svg}rect")
        if len(element)
    }
    assert heights["a, y: 2.00"] == pytest.approx(2 * heights["a, x: 1.00"])
    assert heights["b, x: 0.50"] == pytest.approx(heights["a, x: 1.00"] / 2)
    assert heights["b, y: 0.00"] == 0
