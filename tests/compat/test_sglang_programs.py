"""SGLang's own test_programs.py, unmodified, through the alias: on the embedded model, and with a
scripted one where a test wants a clever answer."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import espalier as esp
from espalier.frontend_lang import seeds

RUNS = 10
ON_SPRIG = {
    "test_mt_bench": {},
    "test_select": {"check_answer": False},
    "test_expert_answer": {"check_answer": False},
    "test_parallel_decoding": {},
    "test_parallel_encoding": {"check_answer": False},
    "test_stream": {},
    "test_stream_logprobs": {},
    "test_regex": {},
    "test_dtype_gen": {},
    "test_gen_min_new_tokens": {},
    "test_decode_json": {},
    "test_decode_json_regex": {},
}


@pytest.fixture(scope="module")
def sprig() -> Iterator[esp.Engine]:
    with esp.Engine("sprig") as engine:
        yield engine


@pytest.fixture
def programs(sglang: ModuleType, wheel: zipfile.ZipFile) -> dict[str, Any]:
    """The names of SGLang's file, as its text defines them under the alias."""
    source = wheel.read("sglang/test/test_programs.py").decode()
    names: dict[str, Any] = {"__name__": "test_programs"}
    exec(compile(source, "sglang/test/test_programs.py", "exec"), names)
    return names


@pytest.mark.parametrize("name", ON_SPRIG)
def test_on_sprig(
    name: str,
    programs: dict[str, Any],
    sglang: ModuleType,
    sprig: esp.Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sampled at temperature 1, as SGLang does; with seeds that are the same each time, for what is
    counted in test_gen_min_new_tokens are the tokens of the text's own spelling, and those may be
    fewer than were generated."""
    drawn = itertools.count(1)
    monkeypatch.setattr(seeds, "draw", lambda: next(drawn))
    sglang.set_default_backend(sprig)
    for _ in range(RUNS):
        programs[name](**ON_SPRIG[name])


def answers(asked: Any) -> str:
    """A model that knows the questions of SGLang's file, each by the end of its prompt."""
    prompt = asked.prompt
    if asked.choices is not None:
        return "Search" if "Action 1" in prompt.rpartition("Question")[2][-60:] else "Finish"
    known = {
        "capital of the United States?\nA:": " Washington, D.C.\n",
        "capital of Japan?\nA:": " Tokyo\n",
        "capital of the United Kingdom?\nA:": " London\n",
        "capital city of China?\nA:": " Beijing\n",
        "hours in a day is ": "24",
        "days in a year is ": "365",
        "is calculate(": "257*983)",
        "Thought 1:": " I need to search for the creator of Linux.",
        "Action 1: Search [": "Creator of Linux].",
        "Observation 1:": " The creator of Linux is Linus Torvalds.",
        "Thought 2:": " He lives in the United States.",
        "Action 2: Finish [": "United States].",
    }
    story = " Ada Lovelace.\nBirthday: December 10, 1815.\nJob: Mathematician.\n"
    for end, answer in known.items():
        if prompt.endswith(end):
            return answer
    said = prompt[prompt.rindex("Name:") + len("Name:") :]
    assert story.startswith(said), prompt
    return story[len(said) :]


@pytest.mark.parametrize(
    "name",
    [
        "test_few_shot_qa",
        "test_decode_int",
        "test_react",
        "test_tool_use",
        "test_completion_speculative",
        "test_chat_completion_speculative",
    ],
)
def test_with_a_script(name: str, programs: dict[str, Any], sglang: ModuleType) -> None:
    sglang.set_default_backend(esp.Scripted(answers))
    for _ in range(RUNS):
        programs[name]()


def test_an_image_is_refused(programs: dict[str, Any], sglang: ModuleType) -> None:
    sglang.set_default_backend(esp.Scripted(default="a taxi"))
    with pytest.raises(esp.NotSupportedError, match="vision"):
        programs["test_image_qa"]()
