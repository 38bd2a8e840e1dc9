"""Random programs against an interpreter of twenty lines that knows only strings.

Answers are a function of the prompt, so that both must agree whatever runs at the same time.
"""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

import espalier as esp

State = Any
Step = Any
WORDS = st.sampled_from(["a ", "the ", "x", "é", "\n", "one two "])


def steps(depth: int) -> st.SearchStrategy[list[Step]]:
    simple = st.one_of(
        st.tuples(st.just("text"), WORDS),
        st.tuples(st.just("gen"), st.just("")),
        st.tuples(st.just("select"), st.just("")),
        st.tuples(st.just("read"), st.just("")),
    )
    if depth == 0:
        return st.lists(simple, max_size=4)
    nested = st.one_of(
        st.tuples(st.just("scope"), steps(depth - 1)),
        st.tuples(st.just("gather"), st.lists(steps(depth - 1), min_size=1, max_size=3)),
        st.tuples(st.just("append"), st.lists(steps(depth - 1), min_size=1, max_size=3)),
    )
    return st.lists(st.one_of(simple, nested), max_size=4)


def answer(prompt: str, what: str) -> str:
    digest = hashlib.sha256((what + prompt).encode()).hexdigest()
    return digest[: 1 + int(digest[0], 16) % 5] if what == "gen" else "yn"[int(digest[0], 16) % 2]


class Naive:
    """A state as text and a dict."""

    def __init__(self, text: str, names: dict[str, Any], prompts: list[str]) -> None:
        self.text, self.names, self.prompts = text, names, prompts
        self.count = 0

    def run(self, program: list[Step], prefix: str) -> None:
        for kind, what in program:
            self.count += 1
            name = f"{prefix}{self.count}"
            if kind == "text":
                self.text += what
            elif kind in ("gen", "select"):
                self.prompts.append("<|bos|>" + self.text)
                self.names[name] = answer(self.text, kind)
                self.text += self.names[name]
            elif kind == "scope":
                begin = len(self.text)
                self.run(what, name + "s")
                self.names[name] = self.text[begin:]
            elif kind in ("gather", "append"):
                self.fork(what, name, kind)

    def fork(self, branches: list[list[Step]], name: str, kind: str) -> None:
        made = []
        for branch in branches:
            child = Naive(self.text, dict(self.names), self.prompts)
            child.run(branch, name + "f")
            made.append(child)
        if kind == "append":
            before = self.text
            self.text += "".join(child.text[len(before) :] for child in made)
            return
        new = {n: None for child in made for n in child.names if n not in self.names}
        for each in new:
            self.names[each] = [child.names.get(each) for child in made]


class Real:
    """The same on a ProgramState."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.count = 0
        self.last: str | None = None

    def run(self, program: list[Step], prefix: str) -> None:
        s = self.state
        for kind, what in program:
            self.count += 1
            name = f"{prefix}{self.count}"
            if kind == "text":
                s += what
            elif kind == "gen":
                s += esp.gen(name)
                self.last = name
            elif kind == "select":
                s += esp.select(name, ["y", "n"])
                self.last = name
            elif kind == "read" and self.last is not None:
                s[self.last]
            elif kind == "scope":
                with s.var_scope(name):
                    self.run(what, name + "s")
            elif kind in ("gather", "append"):
                forks = s.fork(len(what))
                for branch, child in zip(what, forks, strict=True):
                    Real(child).run(branch, name + "f")
                forks.join("gather_variable" if kind == "gather" else "concate_and_append")


@pytest.mark.parametrize("delay", [0.0, 0.001])
@settings(max_examples=30)
@given(program=steps(2))
def test_random_programs(delay: float, program: list[Step]) -> None:
    def script(asked: Any) -> str:
        return answer(asked.prompt.removeprefix("<|bos|>"), "select" if asked.choices else "gen")

    @esp.function
    def body(s: State) -> None:
        Real(s).run(program, "v")

    backend = esp.Scripted(script, delay=delay)
    state = body.run(backend=backend)
    naive = Naive("", {}, [])
    naive.run(program, "v")
    assert state.error() is None
    assert state.text() == naive.text
    assert {name: state[name] for name in state.var_names} == naive.names
    assert sorted(asked.prompt for asked in backend.asked) == sorted(naive.prompts)
    state._interpreter.check_invariants()
    if naive.text:
        assert state.token_ids() == state._interpreter.content.encoder.start(naive.text)
