"""What schemathesis does around each call.

Its bodies have nearly every field, and one that is refused ends a request: most are made instead of
parts that a server takes (fuzz_bodies.py), others thinned out to a few fields, so that more than
the first check is reached. How requests were answered is counted.
"""

from __future__ import annotations

import atexit
import json
import random
from collections import Counter
from typing import Any

import jsonschema
import schemathesis

from .fuzz_bodies import PARTS, near

ALTERNATIVES = (("text", "input_ids"), ("prompt", "messages", "content"))
NEEDED = (
    "text",
    "input_ids",
    "prompt",
    "messages",
    "content",
    "input",
    "tokens",
    "program",
    "kind",
    "grammar",
)
EVENTS = "text/event-stream"
_LONG = 50  # elements of an array; bounds above come down to it
_answers: Counter[int] = Counter()


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: Any) -> None:  # noqa: ARG001
    """A body beyond an array's bound has a copy of an element for each place in it. Where elements
    have such arrays too, bounds of 10,000 took all memory that there was."""
    todo = [raw_schema]
    while todo:
        each = todo.pop()
        todo += each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
        if isinstance(each, dict) and isinstance(most := each.get("maxItems"), int):
            each["maxItems"] = min(most, _LONG)


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    if not isinstance(body, dict):
        return body
    rng = random.Random(repr(body))  # one body gives one body: a failure is made smaller by that
    way = rng.random()
    if context.operation.path in PARTS and way < 0.8:
        return near(context.operation.path, body, rng)
    return body if way > 0.95 else _thinned(body, rng)


def _thinned(body: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    kept = set(body) - {"model"}
    for names in ALTERNATIVES:
        kept -= set(names) - {rng.choice([n for n in names if n in body] or [""])}
    optional = sorted(kept.difference(NEEDED))
    kept -= set(rng.sample(optional, max(0, len(optional) - rng.randint(0, 3))))
    body = {name: value for name, value in body.items() if name in kept}
    if isinstance(body.get("messages"), list):
        body["messages"] = [_brief(message, rng) for message in body["messages"]]
    return body


def _brief(message: Any, rng: random.Random) -> Any:
    """A message of its role and content, where it has them."""
    if not isinstance(message, dict) or not message.get("content") or rng.random() < 0.3:
        return message
    return {name: message[name] for name in ("role", "content") if name in message}


@schemathesis.hook
def map_path_parameters(context: Any, parameters: Any) -> Any:  # noqa: ARG001
    """Half the time of the model that there is."""
    known = isinstance(parameters, dict) and "name" in parameters and len(repr(parameters)) % 2
    return parameters | {"name": "sprig"} if known else parameters


@schemathesis.check
def events_conform(ctx: Any, response: Any, case: Any) -> None:  # noqa: ARG001
    """What is in the data of a stream's events: to schemathesis that is text."""
    document = case.operation.schema.raw_schema
    told = case.operation.definition.raw["responses"].get(str(response.status_code), {})
    described = told.get("content", {}).get(EVENTS, {}).get("itemSchema")
    if not response.headers["content-type"][0].startswith(EVENTS) or described is None:
        return
    *events, rest = response.text.split("\n\n")
    ended = not rest and events[-1:] == ["data: [DONE]"]
    if not ended and not response.stream_cut_short:  # schemathesis leaves after some events
        raise AssertionError(f"a stream ends in {response.text[-500:]!r}")
    schema = described["properties"]["data"]["anyOf"][1]["contentSchema"]
    whole = {**schema, "components": document["components"]}
    validator = jsonschema.Draft202012Validator(whole)
    for event in events[: -1 if ended else None]:
        if (error := next(validator.iter_errors(json.loads(event[6:])), None)) is not None:
            raise AssertionError(f"{error.message[:500]} in {event[:500]}")


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:  # noqa: ARG001
    _answers[response.status_code] += 1


@atexit.register
def _tell() -> None:
    told = ", ".join(f"{n} of {status}" for status, n in sorted(_answers.items()))
    taken = _answers[200] / max(1, _answers.total())
    print(f"answers: {told}; taken: {taken:.0%} of {_answers.total()}")
