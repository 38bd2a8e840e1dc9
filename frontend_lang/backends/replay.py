"""Replaying a cassette (cassette.py): the recorded answers, and no model."""

from __future__ import annotations

import asyncio
import difflib
import json
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import EspalierError, InvalidRequestError, from_wire
from ...types import Chunk, Result
from ..clock import SYSTEM, Clock
from .asked import Asked, asked_by, scored_by
from .base import Call, Scoring
from .cassette import VERSION, Line, TapeTokenizer, asks_of, by_of, chat_key, result_of
from .record import checked_secrets, hidden

_AROUND = 24  # characters shown beside the first difference of two prompts


@dataclass
class _Recorded:
    """One call on the cassette."""

    number: int
    line: Line
    used: bool = False


class Replay:
    """A backend that answers as a cassette does; `espalier.testing.replay` makes one. Each recorded
    answer is given once. asked: what programs sent, in order."""

    def __init__(
        self, path: str | Path, secrets: Sequence[str] = (), clock: Clock | None = None
    ) -> None:
        self.path = Path(path)
        self.clock: Clock = clock or SYSTEM
        self.asked: list[Asked] = []
        self._secrets = checked_secrets(secrets)
        self._lock = threading.Lock()
        self._calls: list[_Recorded] = []
        self._by_key: dict[str, list[_Recorded]] = {}
        chats: dict[str, str] = {}
        self._head = self._read(chats)
        self.tokenizer = TapeTokenizer(self._head, chats, str(path))

    def unused(self) -> list[str]:
        """The recorded calls that nobody asked for, each as its line's number and its name."""
        return [f"line {call.number}, {_label(call.line)}" for call in self._calls if not call.used]

    def _read(self, chats: dict[str, str]) -> Line:
        lines = self.path.read_text(encoding="utf-8").splitlines()
        told: list[Any] = []
        for number, text in enumerate(lines, 1):
            try:
                told.append(json.loads(text))
            except ValueError as error:
                raise InvalidRequestError(
                    f"no line of a cassette: {error}", where=f"{self.path}:{number}"
                ) from None
        if not told or not isinstance(told[0], dict) or told[0].get("cassette") != VERSION:
            raise InvalidRequestError(
                expected=f"a cassette of version {VERSION}", where=f"{self.path}:1"
            )
        for number, line in enumerate(told[1:], 2):
            if "renders" in line:
                messages = [{"role": role, "content": content} for role, content in line["chat"]]
                chats[chat_key(messages, line["generate"])] = line["renders"]
            else:
                call = _Recorded(number, line)
                self._calls.append(call)
                self._by_key.setdefault(_key(line["asks"]), []).append(call)
        head: Line = told[0]
        return head

    # -- the protocol ------------------------------------------------------------------------------

    async def generate(self, call: Call) -> Result:
        """The recorded answer."""
        line = self._find(asked_by(call, self.tokenizer))
        await asyncio.sleep(0)
        return result_of(_gives(line), self.tokenizer)

    async def stream(self, call: Call) -> AsyncIterator[Chunk]:
        """The recorded answer, in its pieces; one that was not streamed comes in one."""
        line = self._find(asked_by(call, self.tokenizer))
        whole = line.get("gives", {}).get("text", "")
        for text in line.get("pieces", [whole] if whole else []):
            yield Chunk(request_id=0, text=text, token_ids=self.tokenizer.encode(text))
            await asyncio.sleep(0)
        yield Chunk(request_id=0, result=result_of(_gives(line), self.tokenizer))

    async def score(self, scoring: Scoring) -> list[Result]:
        """The recorded scores."""
        line = self._find(scored_by(scoring, self.tokenizer), scoring.unconditional)
        await asyncio.sleep(0)
        return [result_of(row, self.tokenizer) for row in _gives(line)]

    def pin(self, input_ids: Sequence[int], namespace: str, ttl: float | None) -> int:  # noqa: ARG002
        """Nothing is cached."""
        return 0

    def unpin(self, pin: int) -> None:
        """Nothing is cached."""

    def release(self, holds: Sequence[int]) -> None:
        """Nothing is cached."""

    def flush_cache(self) -> int:
        """Nothing is cached."""
        return 0

    def info(self) -> dict[str, Any]:
        return {"model": self._head["model"], "cassette": str(self.path)}

    def stats(self) -> dict[str, Any]:
        return {"requests": len(self.asked), "unused": len(self.unused())}

    # -- finding -----------------------------------------------------------------------------------

    def _find(self, asked: Asked, unconditional: bool = False) -> Line:
        """The recorded call that asks the same: of several the one of the same seed, or else of the
        same place in the program, or else the first that is left."""
        asks, by = hidden(asks_of(asked, unconditional), self._secrets), by_of(asked)
        with self._lock:
            self.asked.append(asked)
            same = self._by_key.get(_key(asks), [])
            left = [call for call in same if not call.used]
            if left:
                found = min(left, key=lambda call: _distance(call.line["by"], by))
                found.used = True
                return found.line
        if same:
            raise InvalidRequestError(
                f"the cassette {self.path} answers {asked.label} {len(same)} times, and is asked "
                "once more",
                got=repr(asked.prompt[-200:]),
                where=asked.where or None,
                hint="Record the program as it is now.",
            )
        raise self._unknown(asked, asks)

    def _unknown(self, asked: Asked, asks: Line) -> EspalierError:
        told = f"the cassette {self.path} has no answer for {asked.label}"
        hint = "Record the program as it is now."
        if not self._calls:
            return InvalidRequestError(f"{told}: it is empty", where=asked.where or None, hint=hint)
        nearest = max(self._calls, key=lambda call: _likeness(call.line["asks"], asks))
        differences = "; ".join(_differences(nearest.line["asks"], asks))
        where = f"line {nearest.number}, {_label(nearest.line)}"
        return InvalidRequestError(
            f"{told}. The nearest is {where}: {differences}", where=asked.where or None, hint=hint
        )


def _gives(line: Line) -> Any:
    """The recorded answer. Raises the recorded error."""
    if "raises" in line:
        parts = dict.fromkeys(("type", "message", "expected", "got", "where", "hint"))
        raise from_wire({**parts, **line["raises"]})
    return line["gives"]


def _key(asks: Line) -> str:
    return json.dumps(asks, sort_keys=True)


def _distance(recorded: Line, by: Line) -> tuple[bool, bool]:
    place = ("path", "index", "name")
    return recorded.get("seed") != by.get("seed"), any(recorded[n] != by[n] for n in place)


def _label(line: Line) -> str:
    kind = "gen" if "gen" in line["asks"] else "select"
    return f"{kind}({line['by']['name']!r})"


def _prompt(asks: Line) -> str:
    return str(asks.get("gen", asks.get("select", "")))


def _likeness(recorded: Line, asks: Line) -> float:
    one, other = (_prompt(side)[-2000:] for side in (recorded, asks))
    same = difflib.SequenceMatcher(None, one, other, autojunk=False).quick_ratio()
    names = ("params", "grammar", "choices")
    rest = sum(1 for name in names if recorded.get(name) == asks.get(name))
    return same + (("gen" in recorded) == ("gen" in asks)) + rest / 10


def _differences(recorded: Line, asks: Line) -> list[str]:
    """What was recorded, and what is asked now, where they differ."""
    found = []
    one, other = _prompt(recorded), _prompt(asks)
    if one != other:
        at = next(
            (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
            min(len(one), len(other)),
        )
        said = [repr(text[max(0, at - _AROUND) : at + _AROUND]) for text in (one, other)]
        found.append(f"the prompt differs at character {at}, recorded {said[0]}, asked {said[1]}")
    for name in ("params", "grammar", "choices"):
        old, new = recorded.get(name), asks.get(name)
        if isinstance(old, dict | None) and isinstance(new, dict | None):
            old, new = old or {}, new or {}
            for key in sorted({*old, *new}):
                if old.get(key) != new.get(key):
                    found.append(
                        f"{name}.{key} differs, recorded {old.get(key)!r}, asked {new.get(key)!r}"
                    )
        elif old != new:
            found.append(f"{name} differ, recorded {old!r}, asked {new!r}")
    return found
