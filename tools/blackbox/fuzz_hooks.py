"""What schemathesis does around each call.

Its bodies have nearly every field, and one that is refused ends a request: most are thinned out to
a few, so that others than the first check are reached, and answers are made. How requests were
answered is counted.
"""

from __future__ import annotations

import atexit
import random
from collections import Counter
from typing import Any

import schemathesis

ALTERNATIVES = (("text", "input_ids"), ("prompt", "messages", "content"))
NEEDED = (
    "text",
    "input_ids",
    "prompt",
    "messages",
    "content",
    "input",
    "tokens",
    "kind",
    "grammar",
)
_rng = random.Random(0)
_answers: Counter[int] = Counter()


@schemathesis.hook
def map_body(_: Any, body: Any) -> Any:
    if not isinstance(body, dict) or _rng.random() < 0.3:
        return body
    kept = set(body) - {"model"}
    for names in ALTERNATIVES:
        kept -= set(names) - {_rng.choice([n for n in names if n in body] or [""])}
    optional = sorted(kept.difference(NEEDED))
    kept -= set(_rng.sample(optional, max(0, len(optional) - _rng.randint(0, 3))))
    body = {name: value for name, value in body.items() if name in kept}
    if isinstance(body.get("messages"), list):
        body["messages"] = [_thinned(message) for message in body["messages"]]
    return body


def _thinned(message: Any) -> Any:
    """A message of its role and content, where it has them."""
    if not isinstance(message, dict) or not message.get("content") or _rng.random() < 0.3:
        return message
    return {name: message[name] for name in ("role", "content") if name in message}


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:  # noqa: ARG001
    _answers[response.status_code] += 1


@atexit.register
def _tell() -> None:
    print("answers:", ", ".join(f"{n} of {status}" for status, n in sorted(_answers.items())))
