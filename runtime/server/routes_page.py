"""GET /: the page, which talks to the server that it comes from and to nothing else.

Its files lie in the folder `page` and are served as they lie there. They are the same for everybody
and hold nothing of the server, so that no key is needed for them: the page asks for one.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from fastapi import APIRouter
from starlette.responses import Response

from .access import GuardedRoute
from .failures import HTTPError

router = APIRouter(route_class=GuardedRoute)

# Nothing from elsewhere, nothing inline, no markup made of text, no frame around it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


class File(NamedTuple):
    """A file of the page."""

    data: bytes
    media_type: str


def _read() -> dict[str, File]:
    folder = Path(__file__).parent / "page"
    return {
        path.name: File(path.read_bytes(), _TYPES[path.suffix.removeprefix(".")])
        for path in folder.iterdir()
    }


FILES = _read()


@router.get("/", include_in_schema=False)
async def page() -> Response:
    """The page."""
    return _told(FILES["index.html"])


@router.get("/page/{name}", include_in_schema=False)
async def page_file(name: str) -> Response:
    """What the page is made of."""
    if name not in FILES:
        raise HTTPError(404, "Not Found", kind="invalid_request_error", code="not_found")
    return _told(FILES[name])


def _told(file: File) -> Response:
    return Response(file.data, media_type=file.media_type, headers=HEADERS)
