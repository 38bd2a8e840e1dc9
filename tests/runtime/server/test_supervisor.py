"""What becomes of a server whose engine cannot be started again."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from espalier.errors import EngineDeadError, EspalierError
from espalier.runtime.server.settings import ServerSettings
from espalier.runtime.server.supervisor import Supervisor


@pytest.mark.parametrize("error", [EngineDeadError("gone"), OSError("no more processes")])
def test_an_engine_that_cannot_be_started_again_ends_the_server(error: Exception) -> None:
    told: list[Any] = []
    engine: Any = SimpleNamespace(
        tokenizer=None, link=SimpleNamespace(inline=True), when_dead=told.append, shutdown=int
    )
    starts: list[Any] = [engine]

    def make() -> Any:
        if starts:
            return starts.pop()
        raise error

    async def die() -> str:
        supervisor = Supervisor(make, ServerSettings(watchdog=0), lambda: False)
        ended = asyncio.Event()
        supervisor.when_failed = ended.set
        supervisor.watch()
        tell: Any = told[0]
        tell(EspalierError("dead"))
        async with asyncio.timeout(5):
            await ended.wait()
        return supervisor.state

    assert asyncio.run(die()) == "failed"
