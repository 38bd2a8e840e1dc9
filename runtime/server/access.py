"""Who may call what: keys, and a route that lets nobody in whom the table does not name.

A check belongs to the route that was matched, not to a path as it was spelled, so that no spelling
of a path goes round it. A path that the table lacks is the admin's alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, Literal, NamedTuple

import pydantic_core
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from ...errors import EspalierError
from .failures import HTTPError
from .metrics import CLIENT_GONE
from .settings import ServerSettings

_log = logging.getLogger("espalier.server")

Access = Literal["open", "user", "admin"]
ACCESS: dict[str, Access] = {
    "/": "open",
    "/page/{name}": "open",
    "/health": "open",
    "/health_generate": "user",
    "/v1/models": "user",
    "/v1/models/{name:path}": "user",
    "/v1/chat/completions": "user",
    "/v1/completions": "user",
    "/v1/embeddings": "user",
    "/generate": "user",
    "/v1/programs": "user",
    "/abort_request": "user",
    "/tokenize": "user",
    "/detokenize": "user",
    "/cache/explain": "user",
    "/grammar/check": "user",
    "/native": "user",
    "/native/tokenizer": "user",
    "/openapi.json": "user",
}
"""Everything else needs the admin key."""


class Caller(NamedTuple):
    """Who asks: the namespace of what they have cached, and whether they are the admin."""

    namespace: str
    admin: bool


class Keys:
    """The keys that a server knows, hashed; compared in constant time."""

    def __init__(self, settings: ServerSettings) -> None:
        self._users = [_digest(key.encode()) for key in settings.api_keys]
        self._admin = None if settings.admin_key is None else _digest(settings.admin_key.encode())
        self._open_admin = settings.loopback and not self._users and self._admin is None

    @property
    def count(self) -> int:
        """How many there are; without any, all callers are one."""
        return len({*self._users, self._admin} - {None}) if self._users else 1

    def caller(self, request: Request) -> Caller | None:
        """Who sends the request; None for an unknown or a missing key, where one is needed."""
        sent = request.headers.get("authorization", "")
        scheme, _, key = sent.partition(" ")
        # Headers are bytes, which the server shows as latin-1: a key that is no ASCII is none.
        digest = _digest(key.strip().encode()) if scheme.lower() == "bearer" else None
        if digest is not None:
            is_admin = self._admin is not None and hmac.compare_digest(digest, self._admin)
            known = [hmac.compare_digest(digest, user) for user in self._users]
            if is_admin or any(known):
                return Caller(digest.hex()[:32] if self._users else "", is_admin)
        return None if self._users else Caller("", self._open_admin)

    def owner(self, request: Request) -> str:
        """The namespace of who sends the request: nobody's, where they are unknown."""
        caller = self.caller(request)
        return "" if caller is None else caller.namespace

    def require(self, request: Request, access: Access) -> Caller:
        """Who sends the request. Raises HTTPError for whom it is not."""
        caller = self.caller(request)
        if access == "open":
            return caller or Caller("", False)
        if caller is None:
            raise HTTPError(
                401,
                "no valid API key: send it as `Authorization: Bearer KEY`",
                kind="authentication_error",
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer"},
            )
        if access == "admin" and not caller.admin:
            raise HTTPError(
                403,
                "this needs the admin key, which the server is started with (--admin-key-file)",
                kind="permission_error",
                code="admin_key_needed",
            )
        return caller


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(b"espalier key\0" + key).digest()


def salted(namespace: str, salt: str | None) -> str:
    """The namespace of a caller's requests with this `cache_salt`. What stands before the `+` says
    whose share of the engine they have: many salts are no more than one."""
    if salt is None:
        return namespace
    return f"{namespace}+{hashlib.sha256(salt.encode()).hexdigest()[:32]}"


def _unsupported(what: str) -> HTTPError:
    return HTTPError(415, what, kind="invalid_request_error", code="unsupported_media_type")


class ParsedRequest(Request):
    """A request whose body was read and parsed before the route's own code runs."""

    parsed: Any = None

    async def json(self) -> Any:
        return self.parsed

    async def parse(self, seconds: float) -> None:
        """Read a JSON body. Raises HTTPError; nesting is bounded by the parser."""
        try:
            async with asyncio.timeout(seconds):
                body = await self.body()
        except TimeoutError:
            raise HTTPError(
                408, f"no whole body in {seconds} s", kind="timeout_error", code="slow_body"
            ) from None
        if not body:
            return
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            given = repr(kind[:80]) if kind else "no content-type"
            raise _unsupported(
                f"expected a body of type application/json, got {given}. "
                "Send the header `content-type: application/json`"
            )
        encoding = self.headers.get("content-encoding", "identity")
        if encoding not in ("", "identity"):
            raise _unsupported(
                f"expected a body that is not compressed, got content-encoding {encoding[:80]!r}"
            )
        try:
            self.parsed = pydantic_core.from_json(body, allow_inf_nan=False)
        except ValueError as error:
            raise HTTPError(
                400,
                f"the body is no JSON: {error}",
                kind="invalid_request_error",
                code="invalid_json",
            ) from None


class GuardedRoute(APIRoute):
    """A route behind the table above. What fails is answered in OpenAI's shape."""

    @property
    def access(self) -> Access:
        return ACCESS.get(self.path, "admin")

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return super().matches(_as_get(scope))

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """HEAD is GET without the body, which the connection leaves out."""
        await super().handle(_as_get(scope), receive, send)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = super().get_route_handler()
        access = self.access
        takes_body = self.body_field is not None

        async def handle(request: Request) -> Response:
            server = request.app.state.server
            try:
                request.state.caller = server.keys.require(request, access)
                if not takes_body:
                    return await inner(request)
                parsed = ParsedRequest(request.scope, request.receive)
                await parsed.parse(server.settings.limits.body_seconds)
                return await inner(parsed)
            except (HTTPException, RequestValidationError):
                raise  # the application's handlers know them
            except ClientDisconnect:
                server.metrics.failed(CLIENT_GONE)
                return Response(status_code=499)
            except Exception as error:
                if not isinstance(error, EspalierError | HTTPError):
                    log_failure(error, self.path)
                answer: Response = server.refusal(error)
                return answer

        return handle


def _as_get(scope: Scope) -> Scope:
    return {**scope, "method": "GET"} if scope.get("method") == "HEAD" else scope


def log_failure(error: Exception, path: str) -> None:
    """What failed and where, without its message: that may quote a prompt. Debug logs have all."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else "?"
    _log.error("%s failed: %s at %s", path, type(error).__name__, place)
    _log.debug("%s failed", path, exc_info=error)
