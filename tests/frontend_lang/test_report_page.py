"""The report as a page: what it tells, that it is safe, and how it looks in a browser."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import espalier as esp
from tests.runtime.server.browsing import chromium

State = Any
MARKUP = "<script>alert(1)</script><b>&amp;\"'"


@esp.function
def program(s: State, text: str = "The quick brown fox") -> None:
    s += text + esp.gen("plan", 6, ignore_eos=True)
    forks = s.fork(3)
    forks += lambda at: f" part {at}: " + esp.gen("part", 8, ignore_eos=True, temperature=1.0)
    forks.join()
    s += " Good?" + esp.select("good", ["yes", "no", MARKUP]) + esp.gen("end", 4)


class Elements(HTMLParser):
    """Every element's tag, classes, style and title, and the text inside `pre`."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.prompts: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "pre":
            self.prompts.append("")
        self._inside |= tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        self._inside &= tag != "pre"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.prompts[-1] += data

    def of(self, name: str) -> list[dict[str, str]]:
        return [attrs for _, attrs in self.found if name in attrs.get("class", "").split()]


def test_it_tells_every_call(engine: esp.Engine) -> None:
    state = program.run(backend=engine, seed=1, logprobs=2, namespace="page")
    report = state.report()
    page = Elements(report.html())
    calls = list(report.calls())
    assert len(page.of("call")) == len(page.of("bar")) == len(calls) == 6
    assert len(page.of("lane")) == 4
    assert page.prompts[0].endswith("The quick brown fox" + state["plan"])
    told = [int(title.split()[0]) for title in _titles(page, "computed")]
    assert sum(told) == sum(call.computed for call in calls if call.kind == "gen")
    tokens = [attrs for attrs in page.of("model") if "probability" in attrs.get("title", "")]
    assert len(tokens) == sum(call.generated for call in calls)
    assert all(0 <= float(attrs["style"].removeprefix("--p:")) <= 1 for attrs in tokens)
    assert len(page.of("choice")) == 3
    assert len(page.of("chosen")) == 1


def _titles(page: Elements, name: str) -> list[str]:
    return [attrs["title"] for attrs in page.of(name) if "title" in attrs]


def test_nothing_that_was_said_is_markup(engine: esp.Engine) -> None:
    texts = [program.run(text=MARKUP, backend=engine, logprobs=2).report().html()]

    @esp.function
    def fails(s: State) -> None:
        s += MARKUP + esp.gen("<b>", 3)

    state = fails.run(backend=esp.Scripted(ValueError(MARKUP)))
    texts.append(state.report().html())
    for text in texts:
        page = Elements(text)
        tags = {tag for tag, _ in page.found}
        assert "script" not in tags
        assert not any(name.startswith("on") for _, attrs in page.found for name in attrs)
        assert not re.search(r"https?://|url\(|@import", text)
    assert "&lt;script&gt;alert(1)" in texts[1]
    assert MARKUP in Elements(texts[0]).prompts[0]


def test_errors_stand_in_their_place() -> None:
    @esp.function
    def keeps(s: State) -> None:
        s += "a"
        forks = s.fork(2)
        forks += esp.gen("part")
        forks.join(errors="keep")

    state = keeps.run(backend=esp.Scripted({"part": ["a", ValueError("no luck")]}))
    page = Elements(state.report().html())
    assert [attrs["class"] for attrs in page.of("failed")].count("call failed") == 1
    assert state.report()._repr_html_() in state.report().html()


def test_long_prompts_are_cut_and_say_so() -> None:
    state = program.run(
        text="x" * 20_000, backend=esp.Scripted({"part": "a", "good": "no"}, default="b")
    )
    text = state.report().html()
    assert "tokens left out" in text
    assert len(text) < 100_000


def test_times_are_in_order(engine: esp.Engine) -> None:
    state = program.run(backend=engine, seed=1)
    for call in state.report().calls():
        assert call.ended is not None
        assert 0 <= call.began <= call.ended <= state.report().seconds()
    data = state.report().to_dict()["tree"]["calls"][0]
    assert data["ended"] >= data["began"]
    assert "prompt_tokens" not in data


@pytest.mark.slow
def test_in_a_browser(engine: esp.Engine, tmp_path: Path) -> None:
    state = program.run(backend=engine, seed=1, logprobs=2, namespace="browser")
    file = tmp_path / "report.html"
    file.write_text(state.report().html(), encoding="utf-8")
    with chromium() as page:
        page.driver.get(file.as_uri())
        assert page.text("h1") == "program"
        assert page.complaints() == []
        boxes = [bar.rect for bar in page.all(".bar")]
        parts = boxes[3:]  # the forks' calls: beside one another in time, in lanes of their own
        assert len({box["y"] for box in parts}) == 3
        assert max(box["x"] for box in parts) < min(box["x"] + box["width"] for box in parts)
        assert boxes[0]["x"] + boxes[0]["width"] <= parts[0]["x"] + 4
        first = page.one("details.call")
        assert not first.find_element("css selector", "pre").is_displayed()
        first.find_element("css selector", "summary").click()
        token = first.find_element("css selector", "span.model")
        assert token.is_displayed()
        assert "probability" in token.get_attribute("title")
        colours = {
            page.run("return getComputedStyle(arguments[0]).backgroundColor", found)
            for found in (token, first.find_element("css selector", "span.computed"))
        }
        assert len(colours) == 2
        width = page.run("return document.documentElement.scrollWidth - innerWidth")
        assert width <= 0, "the page scrolls sideways"
