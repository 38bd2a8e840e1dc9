"""Prompts become token ids beside the event loop that asks, in the order of asking."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from espalier.errors import InvalidRequestError
from espalier.runtime.engine import Engine
from espalier.types import SamplingParams
from tests.tiny_tokenizers import save

SHORT = SamplingParams(max_tokens=2)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine("null", tokenizer=str(save(tmp_path, eos_token="<|end|>"))) as made:
        yield made


def test_a_slow_tokenizer_does_not_hold_an_event_loop(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits here for what only the loop can do; requests keep their order meanwhile."""
    goes_on = threading.Event()
    encode, submit = engine.tokenizer.encode, engine.link.submit
    lengths: list[int] = []

    def slow(text: str, **options: Any) -> list[int]:
        if text.startswith("slow"):
            assert goes_on.wait(60), "the loop is held"
        return encode(text, **options)

    def watched(requests: list[Any]) -> None:
        lengths.extend(len(request.prompt) for request in requests)
        submit(requests)

    monkeypatch.setattr(engine.tokenizer, "encode", slow)
    monkeypatch.setattr(engine.link, "submit", watched)

    async def stream(text: str) -> str:
        return "".join([chunk.text async for chunk in engine.astream(text, SHORT)])

    async def main() -> None:
        texts = ["slow and long", "brief", "a", "slow again, and longer"]
        calls = [asyncio.ensure_future(engine.agenerate(text, SHORT)) for text in texts]
        streamed = asyncio.ensure_future(stream("the last one, longest of all"))
        dropped = asyncio.ensure_future(engine.aembed("never sent"))
        await asyncio.sleep(0.05)
        assert not lengths
        dropped.cancel()
        goes_on.set()
        results = [result for [result] in await asyncio.gather(*calls)]
        await streamed
        assert [result.prompt_tokens for result in results] == lengths[:4]
        with pytest.raises(asyncio.CancelledError):
            await dropped

    asyncio.run(main())
    every = [
        "slow and long",
        "brief",
        "a",
        "slow again, and longer",
        "the last one, longest of all",
    ]
    assert lengths == [len(encode(text)) for text in every]
    assert engine.stats()["running"] == 0


def test_what_is_wrong_with_a_prompt_is_told_all_the_same(engine: Engine) -> None:
    with pytest.raises(InvalidRequestError, match="a string"):
        asyncio.run(engine.agenerate(["a", 3], SHORT))  # type: ignore[list-item]
    with Engine("null") as without, pytest.raises(InvalidRequestError, match="no tokenizer"):
        asyncio.run(without.agenerate("a", SHORT))
