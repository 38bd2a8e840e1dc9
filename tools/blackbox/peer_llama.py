"""A pytest plugin: llama-server's unit tests against a server that runs already.

The tests themselves know an external server (DEBUG_EXTERNAL, PORT). What is added: no model is
fetched, and the chat route, which they call by llama-server's short path, has the one of OpenAI.
"""

from __future__ import annotations

import sys
import types
from typing import Any


def _no_download(*_: Any, **__: Any) -> None:
    raise RuntimeError("nothing is downloaded here")


_wget = types.ModuleType("wget")
_wget.download = _no_download  # type: ignore[attr-defined]
sys.modules["wget"] = _wget


def pytest_collection_finish() -> None:
    utils: Any = sys.modules["utils"]
    spelled = utils.ServerProcess.make_url

    def make_url(self: Any, path: str, host: str | None = None) -> str:
        if path.startswith("/chat/"):
            path = f"/v1{path}"
        url: str = spelled(self, path, host)
        return url

    utils.ServerProcess.make_url = make_url
