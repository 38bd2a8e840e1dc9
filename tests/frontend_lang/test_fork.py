"""Forks: what branches begin with, how they are joined, and what a failed one leaves."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

import espalier as esp
from espalier.errors import (
    BranchError,
    EngineError,
    InvalidRequestError,
    ProgramError,
    VariableError,
)
from espalier.frontend_lang.backends.byte_tokenizer import ByteTokenizer

State = Any


def run(body: Any, script: Any = "x", **options: Any) -> tuple[State, esp.Scripted]:
    backend = esp.Scripted(script, **options)
    return esp.function(body).run(backend=backend), backend


def by_branch(asked: Any) -> str:
    return f"{asked.name}{list(asked.path)}"


def test_branches_begin_where_the_parent_is() -> None:
    def body(s: State) -> None:
        s += esp.user("hi") + esp.assistant_begin() + esp.gen("own")
        forks = s.fork(2)
        forks += lambda i: f"({i})" + esp.gen("x")
        forks.join()
        s += "parent" + esp.gen("after")

    state, backend = run(body, by_branch)
    assert state["x"] == ["x[0, 0]", "x[0, 1]"]
    assert backend.prompts("x") == [
        f"<|bos|><|user|>hi<|end|><|assistant|>own[]({i})" for i in range(2)
    ]
    assert backend.prompts("after")[0].endswith("own[]parent")


def test_a_fork_does_not_wait_for_the_parents_calls() -> None:
    def body(s: State) -> None:
        started = time.perf_counter()
        s += "a" + esp.gen("slow")
        forks = s.fork(3)
        forks += esp.gen("x")
        assert time.perf_counter() - started < 0.5
        forks.join()
        assert [branch["slow"] for branch in forks] == ["slow[]"] * 3

    state, _ = run(body, by_branch, delay=0.6)
    assert state["x"] == [f"x[0, {i}]" for i in range(3)]


def test_branches_run_at_once() -> None:
    def body(s: State) -> None:
        s += "a"
        forks = s.fork(50)
        forks += esp.gen("x")
        forks.join()

    before = threading.active_count()
    started = time.perf_counter()
    run(body, "x", delay=0.2)
    assert time.perf_counter() - started < 5  # 50 x 0.2 s one after another would be 10 s
    assert threading.active_count() <= before + 1


def test_ways_of_speaking_to_branches() -> None:
    def body(s: State) -> None:
        forks = s.fork(2)
        forks += "all "
        forks += ["first", "second"]
        forks[0] += "!"
        forks += esp.gen("x")
        assert len(forks) == 2
        assert [branch.text() for branch in forks] == ["all first!x", "all secondx"]
        with pytest.raises(InvalidRequestError, match="one entry per branch"):
            forks += ["only one"]
        with pytest.raises(InvalidRequestError, match="branch's number"):
            forks += 3
        with pytest.raises(InvalidRequestError, match="cannot be replaced"):
            forks[0] = forks[1]

    run(body)


def test_names_that_only_some_branches_set() -> None:
    def body(s: State) -> None:
        s += "a"
        forks = s.fork(3)
        forks[0] += esp.gen("x")
        forks[2] += esp.gen("x")
        forks[1] += esp.gen("y")
        forks.join()

    state, _ = run(body, by_branch)
    assert state["x"] == ["x[0, 0]", None, "x[0, 2]"]
    assert state["y"] == [None, "y[0, 1]", None]


def test_a_branch_cannot_set_its_parents_name() -> None:
    def body(s: State) -> None:
        s += "a" + esp.gen("x")
        with pytest.raises(VariableError, match="set already"):
            s.fork(2).__iadd__(esp.gen("x"))
        with s.loop():
            for _ in range(2):
                forks = s.fork(2)
                forks += esp.gen("x")
                forks.join()

    state, _ = run(body, by_branch)
    assert state["x"] == ["x[2, 0]", "x[2, 1]"]


def test_branches_of_branches() -> None:
    def body(s: State) -> None:
        s += "a"
        outer = s.fork(2)
        for branch in outer:
            inner = branch.fork(2)
            inner += esp.gen("x")
            inner.join()
        outer.join()

    state, _ = run(body, by_branch)
    assert state["x"] == [[f"x[0, {i}, 0, {j}]" for j in range(2)] for i in range(2)]


def test_texts_are_appended_in_order() -> None:
    def body(s: State) -> None:
        s += "a "
        forks = s.fork(3)
        forks += lambda i: f"<{i}:" + esp.gen("x") + ">"
        forks.join(mode="concate_and_append")
        s += "end" + esp.gen("after")

    state, backend = run(body, by_branch)
    assert state.text() == "a <0:x[0, 0]><1:x[0, 1]><2:x[0, 2]>endafter[]"
    assert backend.prompts("after")[0] == "<|bos|>" + state.text().removesuffix("after[]")
    assert "x" not in state


def test_messages_of_branches_are_appended_as_messages() -> None:
    """As the template writes them there: it begins a chat once, and knows all of them."""

    def body(s: State) -> None:
        s += "first "
        forks = s.fork(2)
        forks += lambda i: f"({i})" + esp.user(f"q{i}") + esp.assistant(esp.gen("x")) + "then "
        forks.join("concate_and_append")
        s += esp.user("all") + esp.assistant(esp.gen("y"))

    def directly(s: State) -> None:
        s += "first "
        for i in range(2):
            s += f"({i})" + esp.user(f"q{i}") + esp.assistant(f"x[0, {i}]") + "then "
        s += esp.user("all") + esp.assistant(esp.gen("y"))

    state, backend = run(body, by_branch)
    expected, direct = run(directly, by_branch)
    assert state.text() == expected.text()
    assert state.messages() == expected.messages()
    assert len(state.messages()) == 6
    assert backend.prompts("y") == direct.prompts("y")
    state._interpreter.check_invariants()


def test_a_branch_inside_a_message_is_appended_to_it() -> None:
    def body(s: State) -> None:
        with s.user():
            s += "a"
            forks = s.fork(2)
            forks += lambda i: f"({i})"
            forks.join("concate_and_append")

    state, _ = run(body)
    assert state.messages() == [{"role": "user", "content": "a(0)(1)"}]


@pytest.mark.parametrize("opens", [True, False])
def test_a_branch_that_ends_in_another_message_is_not_appended(opens: bool) -> None:
    def body(s: State) -> None:
        s += esp.user("a") if opens else esp.user_begin()
        forks = s.fork(2)
        forks += esp.assistant_begin() if opens else esp.user_end()
        with pytest.raises(ProgramError, match="another message") as caught:
            forks.join("concate_and_append")
        assert str(caught.value.where).startswith(__file__)

    run(body)


def fails_in_branch_1(asked: Any) -> str:
    if asked.path[-1:] == (1,):
        raise EngineError("boom")
    return by_branch(asked)


@pytest.mark.parametrize("mode", ["gather_variable", "concate_and_append"])
def test_a_failed_branch_is_an_exception_group(mode: Any) -> None:
    def body(s: State) -> None:
        s += "a"
        forks = s.fork(3)
        forks += esp.gen("x")
        forks.join(mode)

    with pytest.raises(ExceptionGroup) as caught:
        run(body, fails_in_branch_1)
    assert "1 of 3 branches failed" in str(caught.value)
    assert "gen('x') failed: boom" in str(caught.value)  # what `state.error()` of a batch tells
    [error] = caught.value.exceptions
    assert isinstance(error, BranchError)
    assert "branch 1 failed" in str(error)
    assert __file__ in str(error)
    assert isinstance(error.__cause__, ProgramError)
    assert isinstance(error.__cause__.__cause__, EngineError)


def test_kept_errors_stand_in_their_places() -> None:
    def body(s: State) -> None:
        s += "a"
        forks = s.fork(3)
        forks += "b" + esp.gen("x") + esp.gen("y")
        forks.join(errors="keep")
        more = s.fork(3)
        more += "c" + esp.gen("z")
        more.join("concate_and_append", errors="keep")

    state, _ = run(body, fails_in_branch_1)
    assert (state["x"][0], state["x"][2]) == ("x[0, 0]", "x[0, 2]")
    assert isinstance(state["x"][1], BranchError)
    assert isinstance(state["y"][1], BranchError)
    assert state["y"][2] == "y[0, 2]"
    assert state.text() == "acz[1, 0]cz[1, 2]"
    assert state.error() is None


def test_a_program_that_raises_inside_a_fork() -> None:
    def body(s: State) -> None:
        forks = s.fork(2)
        forks += esp.gen("x")
        for branch in forks:
            raise ValueError(branch["x"])

    with pytest.raises(ValueError, match="x"):
        run(body, delay=0.01)


def test_branches_of_a_failed_parent_fail() -> None:
    def body(s: State) -> None:
        s += "a" + esp.gen("x")
        forks = s.fork(2)
        forks += esp.gen("y")
        with pytest.raises(
            ProgramError,
            match=r"^gen\('y'\) was not reached, because gen\('x'\) failed: boom \(at ",
        ):
            forks[0]["y"]
        with pytest.raises(ExceptionGroup):
            forks.join()

    run(body, EngineError("boom"))


class RefusesBoom(ByteTokenizer):
    """Raises for texts that hold "BOOM"."""

    def encode(self, text: str, **options: Any) -> list[int]:
        if "BOOM" in text:
            raise ValueError("no token for BOOM")
        return super().encode(text, **options)


@pytest.mark.parametrize("generated", [False, True])
def test_branches_that_cannot_begin_fail_in_their_places(generated: bool) -> None:
    backend = esp.Scripted("x")
    backend.tokenizer = RefusesBoom()
    states: list[State] = []

    @esp.function
    def program(s: State) -> None:
        states.append(s)
        s += "Hello there "
        if generated:  # then the fork waits on the calls' own thread
            s += esp.gen("first")
        s += " and BOOM goes the weasel"
        forks = s.fork(2)
        forks += esp.gen("y")
        forks.join(errors="keep")
        with pytest.raises(ExceptionGroup, match="2 of 2"):
            forks.join()

    thread = threading.Thread(target=lambda: program.run(backend=backend), daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    [state] = states
    assert state.error() is None
    assert state.text().endswith("BOOM goes the weasel")  # the parent keeps its text
    for branch, error in enumerate(state["y"]):
        assert isinstance(error, BranchError)
        assert f"branch {branch} failed: fork(2) failed: ValueError: no token" in str(error)
        assert __file__ in str(error.__cause__)


def test_join_options_are_checked() -> None:
    def body(s: State) -> None:
        forks = s.fork(2)
        for options in (
            {"mode": "other"},
            {"errors": "ignore"},
            {"errors": ["raise"]},
            {"errors": ["raise", "cancel"]},
            {"errors": 3},
            {"first": 0},
            {"first": 3},
            {"first": True},
            {"timeout": 0},
            {"timeout": "1"},
            {"timeout": float("inf")},
        ):
            with pytest.raises(InvalidRequestError, match=f"{next(iter(options))} of join"):
                forks.join(**options)

    run(body)


def test_copy_leaves_the_state_alone() -> None:
    def body(s: State) -> None:
        s += "a"
        with s.copy() as other:
            other += "b" + esp.gen("x")
        s += "c"

    state, _ = run(body)
    assert state.text() == "ac"
    assert state["x"] == ["x"]


def test_an_unread_branch_is_waited_for() -> None:
    def body(s: State) -> None:
        s += "a"
        s.fork(2).__iadd__(esp.gen("x"))

    _, backend = run(body, delay=0.05)
    assert len(backend.asked) == 2


def test_thousands_of_forks_need_no_threads() -> None:
    def body(s: State) -> None:
        s += "word " * 100
        before = threading.active_count()
        forks = s.fork(500)
        forks += lambda i: f"{i}" + esp.gen("x")
        assert threading.active_count() <= before + 1
        forks.join()

    state, _ = run(body)
    assert state["x"] == ["x"] * 500
