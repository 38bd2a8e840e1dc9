"""What tests of programs need: scripted and recorded answers, what each branch sent, and a clock
that does not wait. docs/testing.md shows each at work."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import InvalidRequestError
from .frontend_lang.backends.asked import Asked
from .frontend_lang.backends.record import Recording
from .frontend_lang.backends.replay import Replay
from .frontend_lang.backends.scripted import Reply, Scripted
from .frontend_lang.clock import Clock as AnyClock
from .frontend_lang.manual_clock import ManualClock as Clock

__all__ = [
    "Asked",
    "Clock",
    "Recording",
    "Replay",
    "Reply",
    "Scripted",
    "assert_not_sent",
    "assert_sent",
    "calls",
    "record",
    "replay",
]


def record(path: str | Path, backend: Any, *, secrets: Sequence[str] = ()) -> Recording:
    """The backend, with all that goes through it written to a new cassette at `path`.

    Close it, or use it in a `with`: that puts its lines into the order of asking. secrets: texts
    that are written as ***, beside the backend's own key.
    """
    return Recording(path, backend, secrets)


def replay(
    path: str | Path, *, secrets: Sequence[str] = (), clock: AnyClock | None = None
) -> Replay:
    """A backend that answers as the cassette at `path` does, each recorded answer once.

    What is not on it raises InvalidRequestError, with the nearest recorded call and the difference.
    secrets: those that it was recorded with, as far as prompts have them.
    """
    return Replay(path, secrets, clock)


def calls(
    backend: Any, name: str | None = None, *, path: Sequence[int] | None = None
) -> list[Asked]:
    """What programs sent to a backend of this module, in order.

    name: of the variable. path: of the branch, as (number of the fork, branch) per level; () is the
    program itself.
    """
    asked = getattr(backend, "asked", None)
    if not isinstance(asked, list):
        raise InvalidRequestError(
            expected="a backend that keeps what it is asked: Scripted, record(...), replay(...)",
            got=type(backend).__name__,
            where="calls",
        )
    found = [each for each in asked if name is None or each.name == name]
    return [each for each in found if path is None or each.path == tuple(path)]


def assert_sent(
    backend: Any,
    text: str | re.Pattern[str],
    name: str | None = None,
    *,
    path: Sequence[int] | None = None,
    times: int | None = None,
) -> None:
    """A prompt with this text (or with a match) was sent: at least once, or so many times. name,
    path: as of `calls`. Raises AssertionError that tells what was sent."""
    sent = calls(backend, name, path=path)
    hits = sum(_has(each.prompt, text) for each in sent)
    if (times is None and hits) or hits == times:
        return
    wanted = "once or more" if times is None else f"{times} times"
    listed = "\n".join(f"  {each.label} at {each.path}: {each.prompt!r}" for each in sent)
    said = text.pattern if isinstance(text, re.Pattern) else text
    raise AssertionError(f"{said!r} was sent {hits} times, not {wanted}, in:\n{listed or '  none'}")


def assert_not_sent(
    backend: Any,
    text: str | re.Pattern[str],
    name: str | None = None,
    *,
    path: Sequence[int] | None = None,
) -> None:
    """No prompt with this text was sent."""
    assert_sent(backend, text, name, path=path, times=0)


def _has(prompt: str, text: str | re.Pattern[str]) -> bool:
    return bool(text.search(prompt)) if isinstance(text, re.Pattern) else text in prompt
