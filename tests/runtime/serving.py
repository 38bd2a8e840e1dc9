"""A server in the test's own process: its application, called without a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx

from espalier.runtime.engine import Engine
from espalier.runtime.server.app import make_app
from espalier.runtime.server.settings import ServerSettings
from espalier.runtime.server.state import Server


class InProcess:
    """Calls the application of a server around `engine`, which is left running."""

    def __init__(self, engine: Engine, **settings: Any) -> None:
        settings.setdefault("watchdog", 0)
        self.engine = engine
        self.server = Server(ServerSettings(**settings), lambda: engine)
        self.app = make_app(self.server)

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)  # type: ignore[arg-type]
            async with httpx.AsyncClient(
                transport=transport, base_url="http://localhost"
            ) as client:
                return await client.request(method, path, **more)

        return asyncio.run(ask())

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.request("GET", path, **more)

    def post(self, path: str, body: Any, **more: Any) -> httpx.Response:
        return self.request("POST", path, json=body, **more)

    def ok(self, path: str, **body: Any) -> dict[str, Any]:
        """The answer to a request that must succeed."""
        response = self.post(path, body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def refused(self, path: str, status: int = 400, **body: Any) -> dict[str, Any]:
        """The error of a request that must fail."""
        response = self.post(path, body)
        assert response.status_code == status, response.text
        error: dict[str, Any] = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error

    def chat(self, text: str, **body: Any) -> dict[str, Any]:
        return self.ok("/v1/chat/completions", messages=[user(text)], **body)

    def events(self, path: str, **body: Any) -> list[dict[str, Any]]:
        """The events of a stream, without the last, which is `[DONE]`."""
        response = self.post(path, {**body, "stream": True})
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/event-stream")
        return events_of(response.text)

    def left_over(self) -> tuple[int, int, int]:
        """Requests running and waiting in the engine, and in work in the server."""
        stats = self.engine.stats()
        self.engine.check_invariants()
        return stats["running"], stats["waiting"], self.server.admission.inflight


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def events_of(text: str) -> list[dict[str, Any]]:
    """The data of server-sent events, the last of which must be `[DONE]`."""
    *events, last, rest = text.split("\n\n")
    assert (last, rest) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


def joined(events: list[dict[str, Any]], index: int = 0) -> dict[str, Any]:
    """The message that a chat's events make, with its finish_reason."""
    content, calls, reason = None, [], None
    reasoning = None
    for event in events:
        for choice in event["choices"]:
            if choice["index"] != index:
                continue
            delta = choice["delta"]
            if delta.get("content"):
                content = (content or "") + delta["content"]
            if delta.get("reasoning"):
                assert delta["reasoning_content"] == delta["reasoning"]
                reasoning = (reasoning or "") + delta["reasoning"]
            for call in delta.get("tool_calls", []):
                if call["index"] == len(calls):
                    assert call["id"]
                    assert call["type"] == "function"
                    calls.append([call["function"]["name"], ""])
                calls[call["index"]][1] += call["function"].get("arguments", "")
            reason = choice["finish_reason"] or reason
    told = {"content": content, "calls": [tuple(call) for call in calls], "finish_reason": reason}
    return told if reasoning is None else {**told, "reasoning": reasoning}


def message_of(answer: dict[str, Any], index: int = 0) -> dict[str, Any]:
    """The same of an answer that is no stream."""
    choice = answer["choices"][index]
    calls = [
        (call["function"]["name"], call["function"]["arguments"])
        for call in choice["message"].get("tool_calls", [])
    ]
    told = {
        "content": choice["message"]["content"] or None,
        "calls": calls,
        "finish_reason": choice["finish_reason"],
    }
    reasoning = choice["message"].get("reasoning")
    assert choice["message"].get("reasoning_content") == reasoning
    return told if reasoning is None else {**told, "reasoning": reasoning}


async def call_until(
    app: Any,
    path: str,
    body: dict[str, Any],
    leave: Callable[[list[dict[str, Any]]], bool],
    method: str = "POST",
) -> list[dict[str, Any]]:
    """Sends a request whose client vanishes once `leave(messages sent to it)`; what it got."""
    sent: list[dict[str, Any]] = []
    asked = False

    async def receive() -> dict[str, Any]:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}
        while not leave(sent):
            await asyncio.sleep(0)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        await asyncio.sleep(0)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }
    await app(scope, receive, send)
    return sent
