"""SGLang's programs of API speculative execution, unmodified, against the fake of OpenAI's API."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.apis.fake_api import KEY, FakeAPI

STORY = "Name: Ada Lovelace.\nBirthday: December 10, 1815.\nJob: Mathematician.\n"


def model(prompt: str) -> str:
    """The rest of STORY, from where the prompt stands behind its last question."""
    said = prompt.rpartition("Job.\n")[2].removeprefix("\nassistant: ")
    assert STORY.startswith(said), said
    return STORY[len(said) :]


@pytest.fixture
def api() -> Iterator[FakeAPI]:
    with FakeAPI(model) as running:
        yield running


@pytest.mark.parametrize(
    ("name", "is_chat", "requests"),
    [("test_completion_speculative", False, 1 + 3), ("test_chat_completion_speculative", True, 1)],
)
def test_speculative(
    name: str,
    is_chat: bool,
    requests: int,
    sglang: ModuleType,
    wheel: zipfile.ZipFile,
    api: FakeAPI,
) -> None:
    source = wheel.read("sglang/test/test_programs.py").decode()
    names: dict[str, Any] = {"__name__": "test_programs"}
    exec(compile(source, "sglang/test/test_programs.py", "exec"), names)
    options = {"base_url": f"{api.url}/v1", "api_key": KEY}
    backend = sglang.OpenAI("fake", is_chat, **options)
    sglang.set_default_backend(backend)
    names[name]()
    assert len(api.seen) == requests
    assert backend.token_usage.prompt_tokens > 0
    backend.shutdown()


def test_names_and_arguments(sglang: ModuleType, api: FakeAPI) -> None:
    backend = sglang.OpenAI("gpt-3.5-turbo-instruct", api_key="x")
    assert (backend.model_name, backend.is_chat_model) == ("gpt-3.5-turbo-instruct", False)
    assert sglang.OpenAI("gpt-4o", api_key="x").is_chat_model
    crusoe = sglang.Crusoe("m", api_key="x")
    assert "crusoe" in crusoe.info()["base_url"]

    @sglang.function
    def program(s: Any) -> None:
        s += sglang.user("Who?") + sglang.assistant(sglang.gen("x"))

    api.world.model = lambda prompt: "Ada."
    client = sglang.OpenAI("fake", base_url=f"{api.url}/v1", api_key=KEY)
    assert program.run(backend=client)["x"] == "Ada."
    assert "temperature" not in api.bodies[0]  # SGLang's default, and the API's
    client.shutdown()


def test_anthropic(sglang: ModuleType, api: FakeAPI) -> None:
    pytest.importorskip("anthropic", reason="the package anthropic is not installed: make setup")

    @sglang.function
    def program(s: Any) -> None:
        s += sglang.user("Who?") + sglang.assistant(sglang.gen("x"))

    api.world.model = lambda prompt: "Ada."
    backend = sglang.Anthropic("fake", base_url=api.url, api_key=KEY)
    assert program.run(backend=backend)["x"] == "Ada."
    backend.shutdown()
