"""The fake API, and backends on it, closed when the test ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import espalier as esp
from tests.apis.fake_api import KEY, FakeAPI

Made = Callable[..., Any]


@pytest.fixture
def fake() -> Iterator[Made]:
    """`fake(model, faults=..., ...)`: a FakeAPI that runs."""
    running: list[FakeAPI] = []

    def make(model: Any = lambda prompt: "Yes.", **options: Any) -> FakeAPI:
        running.append(FakeAPI(model, **options).__enter__())
        return running[-1]

    yield make
    for api in running:
        api.__exit__()


@pytest.fixture
def openai_on() -> Iterator[Made]:
    """`openai_on(api, ...)`: an OpenAI backend."""
    made: list[esp.OpenAI] = []

    def make(api: FakeAPI, **options: Any) -> esp.OpenAI:
        options = {"base_url": f"{api.url}/v1", "api_key": KEY, **options}
        made.append(esp.OpenAI("fake", **options))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


@pytest.fixture
def anthropic_on() -> Iterator[Made]:
    """`anthropic_on(api, ...)`: an Anthropic backend."""
    pytest.importorskip("anthropic", reason="the package anthropic is not installed: make setup")
    made: list[esp.Anthropic] = []

    def make(api: FakeAPI, **options: Any) -> esp.Anthropic:
        made.append(esp.Anthropic("fake", **{"base_url": api.url, "api_key": KEY, **options}))
        return made[-1]

    yield make
    for backend in made:
        backend.close()
