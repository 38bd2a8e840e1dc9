"""What operators need: the cache, counters, and what the server is."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import PlainTextResponse, Response

from ... import __version__
from ..protocol import EngineInfo
from .access import GuardedRoute
from .answering import answered, model_response
from .api_completion import TokenId
from .asked import namespace_of
from .fields import Fields, Many
from .metrics import CONTENT_TYPE
from .state import admitted, server_of

router = APIRouter(route_class=GuardedRoute)


class Flushed(BaseModel):
    """dropped: tokens of prefixes that nobody used."""

    dropped: int


class CacheNode(BaseModel):
    """A run of tokens that are cached together (radix_cache/view.py says what the fields are)."""

    namespace: str
    parent: int | None
    start: int
    end: int
    users: int
    pins: int
    pinned: bool
    residency: Literal["pending", "device"]
    last_use: int
    children: int
    recent: int
    head: list[int]
    text: str | None


class CachedPrefix(BaseModel):
    """A prefix that many of the last sequences share."""

    node: int
    tokens: int
    recent: int
    users: int
    head: list[int]
    tail: list[int]
    text: str | None


class CacheTree(BaseModel):
    """Part of the tree: what is in use, then what is pinned, then what was used last."""

    nodes: list[CacheNode]
    hottest: list[CachedPrefix]
    now: int
    total_nodes: int
    total_tokens: int


class ExplainRequest(Fields):
    """A prompt as text or token ids."""

    prompt: str | Many[TokenId]
    cache_salt: Annotated[str, Field(min_length=1, max_length=1024)] | None = None


class Explained(BaseModel):
    """How much of a prompt is cached in the caller's namespace, and why not more."""

    tokens: int
    explanation: dict[str, Any]


class ServerInfo(BaseModel):
    """engine: what it is. stats: its counters. inflight: requests in work; refused: with 429."""

    version: str
    model: str
    state: str
    started: int
    uptime: float
    restarts: int
    inflight: int
    refused: int
    limits: dict[str, float]
    engine: dict[str, Any]
    stats: dict[str, Any]


@router.post("/flush_cache", response_model=Flushed)
async def flush_cache(request: Request) -> Response:
    """Drop every cached prefix that nobody uses."""
    dropped = await server_of(request).control(lambda engine: engine.flush_cache())
    return model_response(Flushed(dropped=dropped))


@router.get("/cache/tree", response_model=CacheTree)
async def cache_tree(
    request: Request,
    max_nodes: Annotated[int, Query(ge=1, le=10_000)] = 256,
    hottest: Annotated[int, Query(ge=0, le=100)] = 8,
    text_tokens: Annotated[int, Query(ge=1, le=4096)] = 64,
) -> Response:
    """A bounded picture of the cache, of all namespaces, with the text of the hottest prefixes."""
    view = await server_of(request).control(
        lambda e: e.tree(max_nodes=max_nodes, hottest=hottest, text_tokens=text_tokens)
    )
    return model_response(CacheTree.model_validate(msgspec.to_builtins(view)))


@router.post("/cache/explain", response_model=Explained)
async def cache_explain(body: ExplainRequest, request: Request) -> Response:
    """How much of a prompt the caller would find cached, and why not more."""
    return await answered(request, _explained(request, body))


async def _explained(request: Request, body: ExplainRequest) -> Response:
    server, given = server_of(request), body.prompt
    tokenizer = server.tokenizer
    with admitted(request):
        if isinstance(given, str):
            text = given
            ids = await server.beside(
                request, lambda: tokenizer.encode(text, add_bos=tokenizer.adds_bos)
            )
        else:
            ids = given
        server.check_prompt(ids)  # the engine reads it between two steps
        namespace = namespace_of(request, body.cache_salt)
        found = await server.control(lambda engine: engine.explain(ids, namespace))
    found.pop("namespace", None)
    return model_response(Explained(tokens=len(ids), explanation=found))


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    """Prometheus metrics; those of an engine that does not answer as they were last."""
    server = server_of(request)
    stats = await server.supervisor.counters()
    own = {
        "espalier:requests_in_work": server.admission.inflight,
        "vllm:admission_rejections_total": server.admission.refused,
        "espalier:engine_restarts_total": server.supervisor.restarts,
    }
    text = server.metrics.text(stats, own, _cache_setup(server.supervisor.info))
    return Response(text, media_type=CONTENT_TYPE)


def _cache_setup(info: EngineInfo) -> dict[str, str]:
    """By vLLM's labels. kv_cache_max_concurrency: how many sequences of the whole context fit."""
    return {
        "block_size": str(info.page_size),
        "kv_cache_size_tokens": str(info.capacity),
        "kv_cache_max_concurrency": f"{info.capacity / info.max_context:.2f}",
    }


@router.get("/server_info", response_model=ServerInfo)
async def server_info(request: Request) -> Response:
    """What the server is, and what it has done."""
    server = server_of(request)
    stats = await server.control(lambda engine: engine.stats())
    engine = msgspec.structs.asdict(server.engine.info)
    engine.pop("model")  # may be a path of this machine; `model` is what it is called
    return model_response(
        ServerInfo(
            version=__version__,
            model=server.model_name,
            state=server.supervisor.state,
            started=server.started,
            uptime=time.time() - server.started,
            restarts=server.supervisor.restarts,
            inflight=server.admission.inflight,
            refused=server.admission.refused,
            limits=msgspec.structs.asdict(server.settings.limits),
            engine=engine,
            stats=stats,
        )
    )
