"""`async def` programs: what they await, what cancelling them ends, and who may run them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import espalier as esp
from espalier.errors import EngineError, InvalidRequestError, ProgramError, RequestCancelledError

LONG = 60.0


@esp.function
async def tips(s: esp.AsyncState, topic: str, count: int = 3) -> str:
    s += f"Tips for {topic}:"
    plan = await s.gen("plan", stop="\n")

    async def expand(branch: esp.AsyncState, number: int) -> str:
        branch += f"({number})"
        text = await branch.gen("tip")
        choice = await branch.select("kind", ["good", "bad"])
        return f"{text}-{choice}"

    forks = s.fork(count)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(expand(b, n)) for n, b in enumerate(forks)]
    await forks.join()
    s += " ".join(task.result() for task in tasks)
    return plan


def answer(asked: Any) -> Any:
    return "good" if asked.choices else f"{asked.name}{asked.path[1:]}"


def test_a_program_from_a_thread() -> None:
    backend = esp.Scripted(answer)
    state = tips.run(topic="tea", backend=backend)
    assert state.ret_value == state["plan"] == "plan()"
    assert state["tip"] == ["tip(0,)", "tip(1,)", "tip(2,)"]
    assert state["kind"] == ["good"] * 3
    assert state.text().endswith("tip(0,)-good tip(1,)-good tip(2,)-good")
    assert tips.bind(count=1).run(topic="x", backend=backend)["tip"] == ["tip(0,)"]
    assert state.report().totals()["calls"] == 7


def test_branches_run_at_once() -> None:
    started = time.perf_counter()
    tips.run(topic="tea", count=20, backend=esp.Scripted(answer, delay=0.1))
    assert time.perf_counter() - started < 20 * 0.2


def test_a_batch() -> None:
    states = tips.run_batch(
        [{"topic": str(n), "count": 2} for n in range(5)], backend=esp.Scripted(answer)
    )
    assert [len(state["tip"]) for state in states] == [2] * 5


def test_streaming_from_outside() -> None:
    state = tips.run(topic="tea", backend=esp.Scripted(answer, chunk=1), stream=True)
    assert "".join(state.text_iter("plan")) == "plan()"
    assert state.ret_value == "plan()"


def test_awaited_on_the_callers_loop() -> None:
    async def main() -> None:
        loops: list[Any] = []

        @esp.function
        async def body(s: esp.AsyncState) -> None:
            loops.append(asyncio.get_running_loop())
            s += "a" + esp.gen("x")

        state = await body.arun(backend=esp.Scripted("b"))
        assert state["x"] == "b"
        assert loops == [asyncio.get_running_loop()]
        both = await asyncio.gather(
            tips.arun("tea", backend=esp.Scripted(answer)), plain.arun(backend=esp.Scripted("c"))
        )
        assert both[0].ret_value == "plan()"
        assert both[1]["x"] == "c"
        with pytest.raises(ProgramError, match=r"await program\.arun"):
            tips.run(topic="tea", backend=esp.Scripted(answer))
        with pytest.raises(InvalidRequestError, match="does not stream"):
            await tips.arun("tea", backend=esp.Scripted(answer), stream=True)

    @esp.function
    def plain(s: esp.ProgramState) -> None:
        s += "b" + esp.gen("x")
        assert s["x"] == "c"

    asyncio.run(main())


def test_a_state_is_a_collection_of_its_names() -> None:
    @esp.function
    async def body(s: esp.AsyncState) -> list[str]:
        assert s
        assert not len(s)
        s += "a" + esp.gen("x") + esp.gen("y")
        return [*s]

    assert body.run(backend=esp.Scripted("x")).ret_value == ["x", "y"]


def test_a_timeout_ends_the_call() -> None:
    @esp.function
    async def body(s: esp.AsyncState) -> str:
        s += "a"
        [branch] = s.fork()
        try:
            async with asyncio.timeout(0.1):
                return await branch.gen("slow")
        except TimeoutError:
            error = await branch.error()
        assert isinstance(error, ProgramError)
        assert isinstance(error.__cause__, RequestCancelledError)
        return await s.gen("fast")

    def slow(asked: Any) -> esp.Reply:
        return esp.Reply(asked.name, delay=LONG if asked.name == "slow" else None)

    started = time.perf_counter()
    assert body.run(backend=esp.Scripted(slow)).ret_value == "fast"
    assert time.perf_counter() - started < LONG / 2


def test_a_failing_task_cancels_its_siblings() -> None:
    ended: list[esp.AsyncForks] = []

    @esp.function
    async def body(s: esp.AsyncState) -> None:
        s += "a"
        forks = s.fork(3)
        ended.append(forks)
        async with asyncio.TaskGroup() as group:
            for branch in forks:
                group.create_task(branch.gen("x"))

    def fail(asked: Any) -> Any:
        return EngineError("gone") if asked.path[1] == 1 else esp.Reply("x", delay=LONG)

    started = time.perf_counter()
    with pytest.raises(ExceptionGroup) as caught:
        body.run(backend=esp.Scripted(fail))
    assert time.perf_counter() - started < LONG / 2
    [error] = caught.value.exceptions
    assert "gone" in str(error)
    assert __file__ in str(error)
    errors = [branch.state.error() for branch in ended[0]]
    causes = [error.__cause__ for error in errors if error]
    assert [type(c) for c in causes] == [RequestCancelledError, EngineError, RequestCancelledError]


def test_cancelling_the_caller_ends_everything(engine: esp.Engine) -> None:
    @esp.function
    async def body(s: esp.AsyncState) -> None:
        s += "The quick brown"
        forks = s.fork(3)
        forks += esp.gen("x", 900, ignore_eos=True)
        await forks.join()

    async def main() -> None:
        async with asyncio.timeout(0.3):
            await body.arun(backend=engine)

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    stats = engine.stats()
    assert (stats["running"], stats["waiting"]) == (0, 0)
    assert stats["free_slots"] + stats["evictable_slots"] == stats["capacity"]
    engine.check_invariants()


def test_join_of_the_first() -> None:
    @esp.function
    async def body(s: esp.AsyncState) -> None:
        s += "a"
        forks = s.fork(3)
        forks += esp.gen("x")
        await forks.join(first=1)
        assert forks.finished == [2]
        assert len(forks) == 3

    def one(asked: Any) -> esp.Reply:
        return esp.Reply("x", delay=None if asked.path[1] == 2 else LONG)

    assert body.run(backend=esp.Scripted(one))["x"] == [None, None, "x"]


def test_reading() -> None:
    @esp.function
    async def body(s: esp.AsyncState) -> None:
        with s.system():
            s += "S"
        s.user("U")
        with s.assistant(), s.var_scope("both"):
            s += esp.gen("x") + esp.gen()
        with pytest.raises(ProgramError, match=r"await s\.get\('x'\)"):
            s["x"]
        assert await s.get("x") == s["x"] == "A"
        assert "x" in s
        assert (await s.get_meta_info("x"))["text"] == "A"
        assert await s.unnamed() == ["A"]
        assert await s.get("both") == "AA"
        assert [m["content"] for m in await s.messages()] == ["S", "U", "AA"]
        assert (await s.text()).endswith("AA<|end|>")
        assert len(await s.token_ids()) > 3
        assert await s.error() is None
        assert "".join([piece async for piece in s.stream("x")]) == "A"
        s["y"] = 3
        assert s["y"] == 3
        assert await s.gen("n", n=2) == ["A", "A"]
        with s.loop():
            s += "again"
        assert s.report().totals()["calls"] == 3
        assert s.session.seed == s.seed
        assert "Async" in repr(s)
        with pytest.raises(esp.VariableError):
            await s.get("nothing")

    body.run(backend=esp.Scripted(default="A", delay=0.05))


def test_errors() -> None:
    @esp.function
    async def body(s: esp.AsyncState) -> None:
        s += "a"
        with pytest.raises(ProgramError, match="gone"):
            await s.gen("x")
        assert isinstance(await s.error(), ProgramError)
        s.cancel()
        raise ValueError("own")

    backend = esp.Scripted(EngineError("gone"))
    with pytest.raises(ValueError, match="own"):
        body.run(backend=backend)
    [state] = body.run_batch([{}], backend=backend)
    assert "own" in str(state.error())
    assert __file__ in str(state.error())


def test_a_state_that_is_given_to_a_program() -> None:
    with pytest.raises(InvalidRequestError, match="first argument is the state"):

        @esp.function
        async def none() -> None: ...  # type: ignore[arg-type]


def test_what_awaits_is_not_compiled() -> None:
    with pytest.raises(esp.NotSupportedError, match="cannot be compiled"):
        tips.compile()


def test_asking_for_a_value_compiles() -> None:
    @esp.function
    def body(s: esp.ProgramState) -> None:
        s += "n=" + esp.gen("n", int)
        text = s.gen("text", stop=".")
        s += "again: " + text + s.select("kind", ["good", "bad"])

    script = {"n": "3", "text": "abc", "kind": "bad"}
    compiled = body.compile().run(backend=esp.Scripted(script))
    assert compiled.text() == body.run(backend=esp.Scripted(script)).text()
