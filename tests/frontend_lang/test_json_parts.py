"""Values inside a JSON text as they close, against `json` itself."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

import espalier as esp
from espalier.errors import EngineError, ProgramError
from espalier.frontend_lang.json_parts import JsonPart, JsonParts

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def naive(value: Any, path: tuple[Any, ...] = ()) -> list[JsonPart]:
    members: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        members = list(value.items())
    elif isinstance(value, list):
        members = list(enumerate(value))
    parts = [part for key, inner in members for part in naive(inner, (*path, key))]
    return [*parts, JsonPart(path, value)]


@given(VALUES, st.lists(st.integers(1, 6)), st.booleans(), st.sampled_from([None, 1]))
def test_all_values_in_order(value: Any, cuts: list[int], ascii: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii, indent=indent)
    parts, at = JsonParts(), 0
    found: list[JsonPart] = []
    for cut in cuts:
        found += parts.feed(text[at : at + cut])
        at += cut
    found += [*parts.feed(text[at:]), *parts.finish()]
    assert found == naive(value)


@given(st.text(alphabet='{}[]",:1-.e tru\\'))
def test_what_is_no_json_is_refused(text: str) -> None:
    def read() -> JsonPart:
        parts = JsonParts()
        return [*parts.feed(text), *parts.finish()][-1]

    try:
        value = json.loads(text)
    except ValueError:
        with pytest.raises(ProgramError, match="no JSON"):
            read()
    else:
        assert read().value == value


def test_a_value_comes_with_its_last_character() -> None:
    parts = JsonParts()
    assert parts.feed('{"people": [{"name": "A') == []
    assert [part.pointer for part in parts.feed('da"}')] == ["$.people[0].name", "$.people[0]"]
    assert parts.feed(", 1") == []
    assert [part.value for part in parts.feed("2]")] == [12, [{"name": "Ada"}, 12]]
    assert [part.pointer for part in parts.feed("}")] == ["$"]
    assert parts.finish() == []


@esp.function
def people(s: Any) -> None:
    s += "People: " + esp.gen("people", list[dict[str, int]])
    s += esp.gen("after")


TEXT = '[{"Ada": 36}, {"Bob": 41}]'


def test_in_a_program_that_streams() -> None:
    backend = esp.Scripted({"people": TEXT, "after": "x"}, chunk=3)
    state = people.run(backend=backend, stream=True)
    parts = list(state.stream_json("people"))
    assert [part.value for part in parts if len(part.path) == 1] == json.loads(TEXT)
    assert parts == naive(json.loads(TEXT))
    assert list(people.run(backend=backend).stream_json("people")) == parts


def test_for_asyncio() -> None:
    @esp.function
    async def body(s: esp.AsyncState) -> list[Any]:
        s += "People: " + esp.gen("people", list[dict[str, int]])
        return [part.value async for part in s.stream_json("people")]

    backend = esp.Scripted({"people": TEXT}, chunk=3)
    assert body.run(backend=backend).ret_value[-1] == json.loads(TEXT)

    async def main() -> int:
        state = people.run(backend=esp.Scripted(default=TEXT), stream=True)
        return len([part async for part in state.astream_json("people")])

    assert asyncio.run(main()) == 5


def test_what_ends_it() -> None:
    state = people.run(backend=esp.Scripted({"people": EngineError("gone")}, default=""))
    with pytest.raises(ProgramError, match="gone"):
        list(state.stream_json("people"))
    state = people.run(backend=esp.Scripted({"people": "[]", "after": "no"}))
    with pytest.raises(ProgramError, match="no JSON"):
        list(state.stream_json("after"))
