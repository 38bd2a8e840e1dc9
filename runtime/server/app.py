"""The application: routes, what stands before them, and how failures are told."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response

from ... import __version__
from ...errors import EspalierError
from . import (
    routes_cache,
    routes_chat,
    routes_completions,
    routes_generate,
    routes_grammar,
    routes_models,
    routes_native,
    routes_page,
    routes_programs,
    routes_tokens,
)
from .access import GuardedRoute
from .api_chat import ChatChunk
from .api_programs import ProgramEvent
from .failures import ErrorResponse, HTTPError
from .fields import validation_failure
from .guard import Guard
from .state import Server, server_of

ROUTERS = (
    routes_models.router,
    routes_chat.router,
    routes_completions.router,
    routes_generate.router,
    routes_programs.router,
    routes_tokens.router,
    routes_cache.router,
    routes_native.router,
    routes_grammar.router,
    routes_page.router,
)
_ERRORS = (400, 401, 403, 404, 408, 413, 415, 429, 431, 499, 500, 503)
_LINES = 10_000  # of that, about
_openapi = APIRouter(route_class=GuardedRoute)


@_openapi.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> Response:
    """This API, as OpenAPI."""
    app = request.app
    return await server_of(request).made(request, _LINES, lambda: JSONResponse(app.openapi()))


def make_app(server: Server) -> FastAPI:
    """The application around a server, whose engine it ends when it ends."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        server.supervisor.watch()
        try:
            yield
        finally:
            await server.close()

    app = FastAPI(
        title="Espalier",
        version=__version__,
        lifespan=lifespan,
        openapi_url=None,  # it is a route like the others, behind the same guard
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses={status: {"model": ErrorResponse} for status in _ERRORS},
    )
    app.router.route_class = GuardedRoute
    app.state.server = server
    for router in (*ROUTERS, _openapi):
        app.include_router(router)
    app.add_exception_handler(HTTPError, _told)
    app.add_exception_handler(EspalierError, _told)
    app.add_exception_handler(HTTPException, _not_ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_middleware(Guard, server=server)
    origins = server.settings.cors_origins
    if origins:  # outside the guard: its refusals, too, are told to a page that may call
        app.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"]
        )
    _describe_events(app)
    return app


async def _told(request: Request, error: Exception) -> Response:
    return server_of(request).refusal(error)


async def _not_ours(request: Request, error: Exception) -> Response:
    """No such path, or no such method of one."""
    assert isinstance(error, HTTPException)
    codes = {404: "not_found", 405: "method_not_allowed"}
    told = str(error.detail)
    if error.status_code in codes:
        told += f": {near(request.method, request.url.path)}"
    return server_of(request).refusal(
        HTTPError(
            error.status_code,
            told,
            kind="invalid_request_error",
            code=codes.get(error.status_code, "http_error"),
            headers=error.headers,
        )
    )


def near(method: str, path: str) -> str:
    """Which routes are like the one that is not there."""
    known: dict[str, list[str]] = {}
    for router in (*ROUTERS, _openapi):
        for route in router.routes:
            if isinstance(route, APIRoute):
                known.setdefault(route.path, []).extend(sorted(route.methods or ()))
    found = difflib.get_close_matches(path[:200].lower(), known, n=3, cutoff=0.6)
    wanted = ", ".join(f"{'/'.join(known[each])} {each}" for each in found)
    asked = f"{method[:20]} {path[:200]!r}"
    if not found:
        return f"there is no {asked} here; GET /openapi.json tells all routes"
    return f"there is no {asked} here, but {wanted}"


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    known: list[str] = []
    body_field = getattr(request.scope.get("route"), "body_field", None)
    if body_field is not None:
        known = list(getattr(body_field.field_info.annotation, "model_fields", {}))
    return server_of(request).refusal(validation_failure(error, known))


def _describe_events(app: FastAPI) -> None:
    """Have the schema tell what the events of a stream hold."""
    make = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = make()
            schemas = schema["components"]["schemas"]
            for kind in (ChatChunk, ProgramEvent):  # which no route gives whole
                chunk = kind.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas.update(chunk.pop("$defs", {}))
                schemas[kind.__name__] = chunk
            for path, name in _STREAMED.items():
                answers = schema["paths"][path]["post"]["responses"]
                answers["200"]["content"]["text/event-stream"] = {"itemSchema": _event_of(name)}
            for methods in schema["paths"].values():
                for told in methods.values():
                    told["responses"].pop("422", None)  # what is wrong is told with 400
            schemas.pop("HTTPValidationError", None)
            schemas.pop("ValidationError", None)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]


def _event_of(name: str) -> dict[str, Any]:
    """The schema of a server-sent event, as OpenAPI 3.2 has it: its data is a text that holds a
    JSON value, or ends the stream."""
    kinds = [{"$ref": f"#/components/schemas/{kind}"} for kind in (name, _FAILED)]
    told = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"anyOf": kinds},
    }
    return {
        "type": "object",
        "properties": {"data": {"anyOf": [{"const": "[DONE]"}, told]}},
        "required": ["data"],
    }


_FAILED = ErrorResponse.__name__  # what a stream that fails on its way ends with, before `[DONE]`
_STREAMED = {
    "/v1/chat/completions": "ChatChunk",
    "/v1/completions": "Completion",
    "/generate": "Generated",
    "/v1/programs": "ProgramEvent",
}
