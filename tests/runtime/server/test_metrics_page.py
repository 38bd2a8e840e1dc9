"""docs/serve.md names the metrics that there are."""

from __future__ import annotations

import re
from itertools import product

from espalier.runtime.engine import Engine
from espalier.runtime.server.metrics import Metrics
from tests.runtime.serving import InProcess
from tests.support import ROOT


def test_the_page_names_vllms_metrics_as_they_are(null: InProcess) -> None:
    text = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    section = text.split("## Metrics")[1].split("\n## ")[0]
    named = set()
    for word in re.findall(r"`([a-z0-9_{},]+)`", section.replace("\n", " ")):
        parts = re.split(r"[{}]", word)
        choices = [part.split(",") if at % 2 else [part] for at, part in enumerate(parts)]
        named |= {"".join(each) for each in product(*choices)}
    named -= {"_by_reason", "model_name", "engine"}
    told = set(re.findall(r"# TYPE vllm:(\S+)", null.get("/metrics").text))
    assert told - {"num_requests_waiting_by_reason"} == named


def test_steps_by_cuda_graphs_and_without_are_told_where_there_are_any() -> None:
    with Engine("null", inline=True) as engine:
        stats = engine.stats()
    assert "graph_steps" not in Metrics().text(stats, {}, {})
    told = {"decode": 3, "layers": 2, "without": {"warming": 6, "pieces": 1}}
    text = Metrics().text(stats | {"graphs": told}, {}, {})
    assert 'espalier:graph_steps_total{by="layers"} 2\n' in text
    assert 'espalier:eager_steps_total{why="pieces"} 1\n' in text
