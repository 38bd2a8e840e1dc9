"""GET /v1/models, /health and /health_generate."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from .access import GuardedRoute
from .answering import answered, model_response
from .failures import unavailable
from .probe import READY_SECONDS
from .state import Server, server_of

router = APIRouter(route_class=GuardedRoute)


class ModelCard(BaseModel):
    """A model that is served here. max_model_len: tokens that a sequence may have."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    parent: str | None
    max_model_len: int


class ModelList(BaseModel):
    object: Literal["list"]
    data: list[ModelCard]


class Health(BaseModel):
    status: Literal["ok"]


def _card(server: Server, name: str) -> ModelCard:
    info = server.supervisor.info
    return ModelCard(
        id=name,
        object="model",
        created=server.started,
        owned_by="espalier",
        root=server.model_name,
        parent=None,
        max_model_len=info.max_context,
    )


@router.get("/v1/models", response_model=ModelList)
async def models(request: Request) -> Response:
    """The names that `model` may be."""
    server = server_of(request)
    cards = [_card(server, name) for name in server.settings.served_model_names]
    return model_response(ModelList(object="list", data=cards))


@router.get("/v1/models/{name:path}", response_model=ModelCard)
async def model(name: str, request: Request) -> Response:
    """One of them."""
    server = server_of(request)
    server.check_model(name)
    return model_response(_card(server, name))


@router.get("/health", response_model=Health)
async def health(request: Request) -> Response:
    """Whether the server lives: its process answers, and an engine is there or on its way."""
    if server_of(request).supervisor.state in ("failed", "closed"):
        raise unavailable("the engine is gone", "engine_dead")
    return model_response(Health(status="ok"))


@router.get("/health_generate", response_model=Health)
async def health_generate(request: Request) -> Response:
    """Whether it is ready: the model makes one token now."""
    server = server_of(request)
    if server.admission.draining:
        raise unavailable("the server is shutting down", "shutting_down")

    try:
        await answered(request, server.probe.asked(server.engine))
    except TimeoutError:
        raise unavailable(f"no token in {READY_SECONDS} s", "not_ready") from None
    return model_response(Health(status="ok"))
