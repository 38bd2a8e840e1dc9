"""Engines that die, are stuck, or cannot be started again."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from espalier.errors import EngineDeadError, EspalierError
from espalier.runtime.server import supervisor as supervisor_module
from espalier.runtime.server.settings import ServerSettings
from espalier.runtime.server.state import Server
from espalier.runtime.server.supervisor import Supervisor


@pytest.mark.parametrize("error", [EngineDeadError("gone"), OSError("no more processes")])
@pytest.mark.parametrize("failures", [2, 3])
def test_a_start_that_fails_counts_as_a_death(
    error: Exception, failures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three may follow the first death, each tried again after a pause; then the server ends."""
    monkeypatch.setattr(supervisor_module, "_PAUSE", 0.01)
    told: list[Any] = []
    engine: Any = SimpleNamespace(
        tokenizer=None,
        info=None,
        link=SimpleNamespace(inline=True),
        when_dead=told.append,
        shutdown=int,
    )
    starts: list[Any] = [engine, *[error] * failures, engine]

    def make() -> Any:
        made = starts.pop(0)
        if isinstance(made, Exception):
            raise made
        return made

    async def die() -> str:
        supervisor = Supervisor(make, ServerSettings(watchdog=0))
        ended = asyncio.Event()
        supervisor.when_failed = ended.set
        supervisor.watch()
        tell: Any = told[0]
        tell(EspalierError("dead"))
        async with asyncio.timeout(5):
            while supervisor.state == "restarting" or supervisor.restarts == 0:
                if ended.is_set():
                    break
                await asyncio.sleep(0.01)
        return supervisor.state

    assert asyncio.run(die()) == ("ready" if failures == 2 else "failed")
    assert len(starts) == failures - 2


def _settings(**more: Any) -> ServerSettings:
    return ServerSettings(**{"watchdog": 0.2, **more})


class Silent:
    """An engine whose process answers nothing until it is killed."""

    tokenizer = None
    info = None

    def __init__(self) -> None:
        self.link: Any = SimpleNamespace(inline=False)
        self.killed = threading.Event()
        self.asked = 0

    def when_dead(self, tell: Any) -> None:
        pass

    def stats(self) -> dict[str, int]:
        self.asked += 1
        self.killed.wait()
        raise EngineDeadError("gone")

    def shutdown(self) -> None:
        self.killed.set()


def test_a_stuck_engine_is_noticed_though_every_thread_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The event loop's own pool is full of those who wait; nobody has a request in work."""
    engine: Any = Silent()
    ended: list[object] = []

    async def kill(self: Supervisor, which: object) -> None:
        ended.append(which)
        engine.killed.set()

    monkeypatch.setattr(Supervisor, "_end_stuck", kill)

    async def stuck() -> None:
        supervisor = Supervisor(lambda: engine, _settings())
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        waiting = [loop.run_in_executor(None, engine.killed.wait) for _ in range(3)]
        supervisor.watch()
        async with asyncio.timeout(5):
            await asyncio.gather(*waiting)
        await supervisor.close()

    asyncio.run(stuck())
    assert set(ended) == {engine}


def test_an_engine_is_not_ended_because_others_ask_it_much() -> None:
    """Nor does its end wait for them."""
    engine: Any = Silent()

    async def asked() -> None:
        server = Server(_settings(), lambda: engine)
        controls = [asyncio.ensure_future(server.control(lambda e: e.stats())) for _ in range(50)]
        await asyncio.sleep(0.05)
        assert engine.asked < 10
        async with asyncio.timeout(5):
            await server.close()
        done = await asyncio.gather(*controls, return_exceptions=True)
        assert all(isinstance(one, EngineDeadError | asyncio.CancelledError) for one in done)

    asyncio.run(asked())
