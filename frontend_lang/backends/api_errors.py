"""What a remote API's client raises, as Espalier's errors; and when to ask again.

The packages `openai` and `anthropic` are built alike: a refused request has a status, a body and
headers; what never reached the API, or broke off, has none.
"""

from __future__ import annotations

import email.utils
import json
import random
import re
import time
from collections.abc import Mapping
from typing import Any

from ...errors import (
    APIError,
    APITimeoutError,
    AuthenticationError,
    ContextLengthError,
    EspalierError,
    InvalidRequestError,
    RateLimitError,
    ServerError,
)

LONGEST_WAIT = 120.0
"""Seconds: an API that asks to wait longer is not asked again."""
_FIRST_WAIT, _MOST_WAIT = 0.5, 8.0
_TOO_LONG = re.compile(
    r"context.{0,3}length|context window|prompt is too long|maximum.{0,20}tokens|too many tokens",
    re.I,
)
_KINDS = {  # an error that comes inside a stream has a type, and no status
    "rate_limit_error": 429,
    "authentication_error": 401,
    "permission_error": 403,
    "invalid_request_error": 400,
    "overloaded_error": 529,
}


def typed(error: Exception, api: str, where: str) -> EspalierError:
    """The error of ours that a client's one is."""
    if isinstance(error, EspalierError):
        return error
    status, body = getattr(error, "status_code", None), _body(error)
    kind = str(body.get("type") or "")
    status = _KINDS.get(kind, status) if status in (None, 200) else status
    said = str(body.get("message") or error or type(error).__name__)
    made = _made(status, str(body.get("code") or ""), said, api)
    if made is None and _named(error, "APITimeoutError"):
        made = APITimeoutError(f"{api} did not answer in time: {said}")
    if made is None and (_named(error, "APIConnectionError") or _named(error, "TransportError")):
        made = ServerError(f"{api} cannot be reached, or broke off: {_chain(error)}")
    if made is None:
        made = ServerError(f"what {api} answered cannot be read: {_chain(error)}")
    made.where = where or None
    if isinstance(made, APIError):
        made.status = status
        made.retry_after = _retry_after(getattr(error, "response", None))
    return made


def _made(status: int | None, code: str, said: str, api: str) -> EspalierError | None:
    told = f"{api} answered {status}: {said}"
    if status is None:
        return None
    if status in (401, 403):
        return AuthenticationError(told, hint="Is the key right, and allowed to use the model?")
    if status == 429:
        return RateLimitError(told)
    if code == "context_length_exceeded" or (status in (400, 413, 422) and _TOO_LONG.search(said)):
        return ContextLengthError(told, hint="Shorten the prompt, or lower max_tokens.")
    if status >= 500 or status in (408, 409):
        return ServerError(told)
    return InvalidRequestError(told) if 400 <= status < 500 else None


def worth_repeating(error: EspalierError, cause: Exception) -> bool:
    """Whether the same request may fare better a little later."""
    told = _headers(getattr(cause, "response", None)).get("x-should-retry")
    if told in ("true", "false"):
        return told == "true"
    if isinstance(error, RateLimitError):
        return str(_body(cause).get("code") or "") != "insufficient_quota"
    return isinstance(error, ServerError | APITimeoutError)


def back_off(attempt: int, error: EspalierError, seed: int | None) -> float:
    """Seconds to wait after the attempt of this number (from 1): what the API asks for, or twice as
    long each time, a little less by chance so that callers spread (the same for the same seed)."""
    asked = getattr(error, "retry_after", None)
    if asked is not None:
        return float(asked)
    wait = min(_FIRST_WAIT * 2.0 ** (attempt - 1), _MOST_WAIT)
    return wait * random.Random(f"{seed},{attempt}").uniform(0.75, 1.0)


def _body(error: Exception) -> Mapping[str, Any]:
    body = getattr(error, "body", None)
    if isinstance(body, Mapping) and isinstance(body.get("error"), Mapping):
        body = body["error"]
    return body if isinstance(body, Mapping) else {}


def _named(error: Exception, name: str) -> bool:
    return any(kind.__name__ == name for kind in type(error).__mro__)


def _chain(error: BaseException) -> str:
    """The error and what caused it, in a line."""
    cause = error.__cause__
    said = (
        f"{type(error).__name__}: {error}"
        if not isinstance(error, json.JSONDecodeError)
        else (f"no JSON: {error.msg} at character {error.pos}")
    )
    if cause is None or str(cause) in said:
        return said
    return f"{said} ({type(cause).__name__}: {cause})"


def _headers(response: Any) -> Mapping[str, str]:
    return getattr(response, "headers", None) or {}


def _retry_after(response: Any) -> float | None:
    """Seconds, from any of the three spellings."""
    headers = _headers(response)
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers.get(name, "")) * unit)
        except ValueError:
            continue
    date = email.utils.parsedate_tz(headers.get("retry-after", ""))
    return None if date is None else max(0.0, email.utils.mktime_tz(date) - time.time())
