"""Who is let in, and how much they may send."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

from espalier.errors import InvalidRequestError
from espalier.runtime.engine import Engine
from espalier.runtime.server.access import ACCESS, GuardedRoute
from espalier.runtime.server.settings import Limits, ServerSettings
from tests.runtime.serving import InProcess, user
from tests.support import ROOT

CHAT = "/v1/chat/completions"
KEY, OTHER, ADMIN = "user-key", "other-key", "admin-key"


@pytest.fixture
def locked(null_engine: Engine) -> InProcess:
    return InProcess(
        null_engine,
        served_model_names=("null",),
        api_keys=(KEY, OTHER),
        admin_key=ADMIN,
        limits=Limits(body_bytes=10_000, header_bytes=5_000),
    )


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def routes(serving: InProcess) -> list[APIRoute]:
    """Every route of the application, as it matches them."""
    found = []
    for route in serving.app.router.routes:
        below = getattr(route, "original_router", None)
        inner = below.routes if below is not None else [route]
        found += inner
    assert found
    assert all(isinstance(route, GuardedRoute) for route in found)
    return [route for route in found if isinstance(route, GuardedRoute)]


def test_no_route_is_open_that_the_table_does_not_open(locked: InProcess) -> None:
    known = {route.path for route in routes(locked)}
    assert set(ACCESS) <= known
    for route in routes(locked):
        access = ACCESS.get(route.path, "admin")
        path = route.path.replace("{name:path}", "null")
        for method in route.methods:
            answers = {
                key: locked.request(method, path, headers=bearer(key) if key else {}).status_code
                for key in ("", "wrong", KEY, ADMIN)
            }
            refused = {key for key, status in answers.items() if status in (401, 403)}
            expected = {
                "open": set(),
                "user": {"", "wrong"},
                "admin": {"", "wrong", KEY},
            }[access]
            assert refused == expected, (method, path, answers)


@pytest.mark.parametrize(
    "path",
    ["//v1/models", "/v1//models", "/V1/models", "/v1/models/", "/v1%2fmodels", "/x/../v1/models",
     "/health/../v1/models", "/health?/v1/models", "/health;/v1/models", "/%2e%2e/v1/models"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST"])
def test_no_spelling_of_a_path_goes_round_the_key(
    locked: InProcess, method: str, path: str
) -> None:
    response = locked.request(method, path)
    told = response.json() if method != "HEAD" else {"status": "ok"}
    assert response.status_code in (401, 404, 405) or told == {"status": "ok"}
    assert method != "HEAD" or response.content == b""
    assert "max_model_len" not in response.text


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", f"bearer {KEY}x", f"Basic {KEY}", KEY, f"Bearer {KEY[:-1]}",
     "Bearer \xff\xfe", f"Bearer {KEY}\xe9"],
)  # fmt: skip
def test_wrong_keys(locked: InProcess, header: str) -> None:
    response = locked.get("/v1/models", headers={"authorization": header.encode("latin-1")})  # type: ignore[dict-item]
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"


def test_an_answer_to_no_key_reads_no_body(locked: InProcess) -> None:
    response = locked.request(
        "POST", CHAT, content=b"{", headers={"content-type": "application/json"}
    )
    assert response.status_code == 401


def test_keys_do_not_share_prefixes(locked: InProcess) -> None:
    """Neither keys nor salts: what one has cached, cached_tokens does not tell another."""
    locked.engine.flush_cache()
    body = {"prompt": [5] * 50, "max_tokens": 1, "ignore_eos": True}

    def cached(key: str, **more: Any) -> int:
        answer = locked.post("/v1/completions", {**body, **more}, headers=bearer(key)).json()
        return int(answer["usage"]["prompt_tokens_details"]["cached_tokens"])

    assert [cached(KEY), cached(KEY), cached(OTHER), cached(OTHER)] == [0, 49, 0, 49]
    assert [cached(KEY, cache_salt="s"), cached(KEY, cache_salt="s")] == [0, 49]
    assert cached(OTHER, cache_salt="s") == 0


def test_other_hosts_and_origins_are_refused(null: InProcess) -> None:
    for host in ("localhost", "localhost:30000", "127.0.0.1:1", "[::1]:30000", "LOCALHOST"):
        assert null.get("/health", headers={"host": host}).status_code == 200, host
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "x:y:z"):
        answer = null.get("/health", headers={"host": host})
        assert answer.status_code == 403, host
        assert answer.json()["error"]["code"] == "host_not_allowed"
    for origin, status in (
        ("http://localhost", 200),
        ("http://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
        ("http://localhost.evil.example", 403),
    ):
        assert null.get("/health", headers={"origin": origin}).status_code == status


def test_bodies_and_heads_are_bounded(locked: InProcess) -> None:
    large = {"messages": [user("x" * 20_000)]}
    assert locked.post(CHAT, large, headers=bearer(KEY)).status_code == 413

    async def pieces() -> Any:
        for _ in range(30):
            yield b" " * 1000

    headers = {**bearer(KEY), "content-type": "application/json"}
    assert locked.request("POST", CHAT, content=pieces(), headers=headers).status_code == 413
    assert locked.get("/health", headers={"x": "y" * 6_000}).status_code == 431


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{", "invalid_json"),
        (b'{"messages": NaN}', "invalid_json"),
        (b'{"n": 1e999}', None),
        (b"\xff", "invalid_json"),
        (b'"\\ud800"', "invalid_json"),
        (b"[" * 5_000, "invalid_json"),
        (b'{"a":' * 1_500, "invalid_json"),
        (b"[]", None),
        (b"", None),
        (b"null", None),
    ],
)
def test_bodies_that_are_no_request(locked: InProcess, content: bytes, code: str | None) -> None:
    headers = {**bearer(KEY), "content-type": "application/json"}
    response = locked.request("POST", CHAT, content=content, headers=headers)
    assert response.status_code == 400, response.text
    assert code in (None, response.json()["error"]["code"])
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        response = locked.request(
            "POST", CHAT, content=b"{}", headers={**bearer(KEY), "content-type": kind}
        )
        assert response.status_code == 415  # a page's form cannot send JSON
        said = response.json()["error"]["message"]
        assert f"application/json, got '{kind}'" in said
        assert "compressed" not in said
    untyped = locked.request("POST", CHAT, content=b"{}", headers=bearer(KEY))
    assert "application/json, got no content-type" in untyped.json()["error"]["message"]
    zipped = {**headers, "content-encoding": "gzip"}
    response = locked.request("POST", CHAT, content=b"{}", headers=zipped)
    assert response.status_code == 415
    assert "not compressed, got content-encoding 'gzip'" in response.json()["error"]["message"]


def test_an_open_port_needs_a_key_or_a_word() -> None:
    with pytest.raises(InvalidRequestError, match="lets other machines in"):
        ServerSettings(host="0.0.0.0").check()
    ServerSettings(host="0.0.0.0", insecure=True).check()
    ServerSettings(host="0.0.0.0", api_keys=("k",)).check()
    for host in ("127.0.0.1", "::1", "localhost"):
        ServerSettings(host=host).check()
    for key in ("", "a b", "é"):
        with pytest.raises(InvalidRequestError, match="visible ASCII"):
            ServerSettings(api_keys=(key,)).check()


def test_without_keys_others_are_no_admins(null_engine: Engine) -> None:
    serving = InProcess(null_engine, host="0.0.0.0", insecure=True)
    assert serving.get("/v1/models").status_code == 200
    assert serving.server.keys.caller(_bare()).admin is False  # type: ignore[union-attr]


def _bare() -> Any:
    from starlette.requests import Request

    return Request({"type": "http", "headers": []})


def test_failures_tell_nothing_of_the_inside(null: InProcess, caplog: Any) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret prompt in /some/where")

    null.server.check_model = broken  # type: ignore[method-assign]
    response = null.post(CHAT, {"messages": [user("x")]})
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert "secret" not in response.text + caplog.text
    assert "RuntimeError at test_guard.py" in caplog.text


def test_the_server_unpickles_and_evaluates_nothing() -> None:
    """House rules hold for it as for all; it starts no program and opens no socket but its own."""
    for path in sorted((ROOT / "runtime" / "server").glob("*.py")):
        names = {
            alias.name.split(".")[0]
            for node in ast.walk(ast.parse(Path(path).read_text()))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in (
                node.names if isinstance(node, ast.Import) else [ast.alias(node.module or "")]
            )
        }
        assert not names & {"pickle", "subprocess", "urllib3", "requests", "httpx", "http"}, path
        assert "socket" not in names or path.name in ("launch.py", "listening.py")
