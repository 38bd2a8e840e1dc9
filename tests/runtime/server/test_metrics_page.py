"""docs/serve.md names the metrics that there are."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

import pytest

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


def _counted(server: InProcess) -> dict[str, float]:
    """Requests that ended, and what is told of each."""
    text = server.get("/metrics").text
    names = ("success_total", "generation_tokens_count", "prompt_tokens_count", "params_n_count")
    return {
        name: sum(map(float, re.findall(rf"^vllm:request_{name}\S* (\S+)$", text, re.MULTILINE)))
        for name in names
    }


@pytest.mark.parametrize("more", [{}, {"logprobs": 1}, {"logprobs": 1, "stream": True}])
def test_an_echoed_request_is_one(sprig: InProcess, more: dict[str, Any]) -> None:
    """Though a stream has its prompt scored before it begins."""
    before = _counted(sprig)
    body = {"prompt": "What is", "echo": True, "max_tokens": 3, **more}
    assert sprig.post("/v1/completions", body).status_code == 200
    assert {name: n - before[name] for name, n in _counted(sprig).items()} == dict.fromkeys(
        before, 1.0
    )


def test_what_nobody_asked_for_is_in_no_total(sprig: InProcess) -> None:
    """A probe's token, and the one that compiles a grammar."""

    def totals() -> dict[str, float]:
        found = re.findall(
            r"^((?:vllm|espalier):\w+_(?:total|count))\S* (\S+)$",
            sprig.get("/metrics").text,
            re.MULTILINE,
        )
        return {name: float(value) for name, value in found if "steps" not in name}

    before = totals()
    assert sprig.get("/health_generate").status_code == 200
    assert sprig.ok("/grammar/check", regex="[ab]{3}")["valid"]
    assert totals() == before
    sprig.ok("/v1/completions", prompt=[5, 6], max_tokens=2, ignore_eos=True)
    after = totals()
    assert after["vllm:generation_tokens_total"] == before["vllm:generation_tokens_total"] + 2
    assert after["vllm:prompt_tokens_total"] == before["vllm:prompt_tokens_total"] + 2
    assert after["vllm:iteration_tokens_total_count"] == (
        before["vllm:iteration_tokens_total_count"] + 2
    )
    sprig.engine.check_invariants()
