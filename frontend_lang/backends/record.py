"""Recording a backend: what goes through it is written to a cassette (cassette.py)."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import EspalierError, InvalidRequestError, RequestCancelledError
from ...types import Chunk, Result
from .asked import Asked, asked_by, scored_by
from .base import Call, Forwarding, Scoring, Tokenizer
from .cassette import Line, asks_of, by_of, chat_key, head_of, plain_result, plain_rows
from .default import as_backend

HIDDEN = "***"


class Recording(Forwarding):
    """A backend that passes all on to another one, and writes it down; what it is for is
    `espalier.testing.record`. asked: what programs sent, in order."""

    def __init__(self, path: str | Path, backend: Any, secrets: Sequence[str] = ()) -> None:
        super().__init__(as_backend(backend))
        self.path = Path(path)
        self.asked: list[Asked] = []
        self._tokenizer = _Recorded(self)
        self._secrets = checked_secrets((*getattr(backend, "secrets", ()), *secrets))
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._lines: list[tuple[int, str]] = []
        self._chats: set[str] = set()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("", encoding="utf-8")
        model = str(self.backend.info().get("model", ""))
        self.write(next(self._numbers), head_of(model, self.backend.tokenizer))

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Bring the lines into the order of asking: recorded again, a cassette differs only where
        the program or the model does. The backend stays open."""
        with self._lock:
            text = "".join(f"{line}\n" for _, line in sorted(self._lines))
            self.path.write_text(text, encoding="utf-8")

    def write(self, number: int, line: Line) -> None:
        """Add a line, with its secrets hidden."""
        text = json.dumps(hidden(line, self._secrets), ensure_ascii=False)
        with self._lock:
            self._lines.append((number, text))
            with self.path.open("a", encoding="utf-8") as out:
                out.write(text + "\n")

    def rendered(
        self, messages: Sequence[Mapping[str, Any]], generate: bool, rendered: str
    ) -> None:
        """The chat template was asked for this."""
        key = chat_key(messages, generate)
        with self._lock:
            if key in self._chats:
                return
            self._chats.add(key)
        chat = [[message["role"], message["content"]] for message in messages]
        line = {"chat": chat, "generate": generate, "renders": rendered}
        self.write(next(self._numbers), line)

    # -- the protocol ------------------------------------------------------------------------------

    @property
    def tokenizer(self) -> Tokenizer:
        return self._tokenizer

    async def generate(self, call: Call) -> Result:
        """The other one's answer."""
        number, line = self._begin(asked_by(call, self.tokenizer))
        try:
            result = await self.backend.generate(call)
        except EspalierError as error:
            self._failed(number, line, error)
            raise
        self.write(number, {**line, "gives": plain_result(result, self.tokenizer)})
        return result

    async def stream(self, call: Call) -> AsyncIterator[Chunk]:
        """The other one's answer, in its pieces."""
        number, line = self._begin(asked_by(call, self.tokenizer))
        pieces: list[str] = []
        try:
            async for chunk in self.backend.stream(call):
                if chunk.text:
                    pieces.append(chunk.text)
                if chunk.result is not None:
                    gives = plain_result(chunk.result, self.tokenizer)
                    self.write(number, {**line, "pieces": pieces, "gives": gives})
                yield chunk
        except EspalierError as error:
            self._failed(number, {**line, "pieces": pieces}, error)
            raise

    async def score(self, scoring: Scoring) -> list[Result]:
        """The other one's scores."""
        asked = scored_by(scoring, self.tokenizer)
        number, line = self._begin(asked, scoring.unconditional)
        try:
            results = await self.backend.score(scoring)
        except EspalierError as error:
            self._failed(number, line, error)
            raise
        self.write(number, {**line, "gives": plain_rows(scoring, results, self.tokenizer)})
        return results

    def _begin(self, asked: Asked, unconditional: bool = False) -> tuple[int, Line]:
        self.asked.append(asked)
        return next(self._numbers), {"asks": asks_of(asked, unconditional), "by": by_of(asked)}

    def _failed(self, number: int, line: Line, error: EspalierError) -> None:
        if not isinstance(error, RequestCancelledError):
            told = {name: part for name, part in error.to_wire().items() if part is not None}
            told.pop("where", None)  # a file of this machine; the replay's own is told again
            self.write(number, {**line, "raises": told})


class _Recorded:
    """The other one's tokenizer; what its chat template renders is written down."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._inner = recording.backend.tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property
    def bos_id(self) -> int | None:
        return self._inner.bos_id

    @property
    def adds_bos(self) -> bool:
        return self._inner.adds_bos

    @property
    def eos_ids(self) -> Collection[int]:
        return self._inner.eos_ids

    @property
    def special_ids(self) -> Collection[int]:
        return self._inner.special_ids

    @property
    def chat_template(self) -> object | None:
        return self._inner.chat_template

    def encode(
        self,
        text: str,
        *,
        add_bos: bool = False,
        allow_special: bool = False,
        continues: bool = False,
    ) -> list[int]:
        return self._inner.encode(
            text, add_bos=add_bos, allow_special=allow_special, continues=continues
        )

    def token_bytes(self, id: int, /) -> bytes:
        return self._inner.token_bytes(id)

    def render_chat(
        self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = False
    ) -> str:
        text = self._inner.render_chat(messages, add_generation_prompt=add_generation_prompt)
        self._recording.rendered(messages, add_generation_prompt, text)
        return text


def checked_secrets(secrets: Sequence[str]) -> tuple[str, ...]:
    """Raises InvalidRequestError for what is no secret's text."""
    for secret in secrets:
        if not isinstance(secret, str) or not secret:
            raise InvalidRequestError(
                expected="texts of at least one character",
                got=type(secret).__name__,
                where="secrets",
            )
    return tuple(dict.fromkeys(secrets))


def hidden(value: Any, secrets: Sequence[str]) -> Any:
    """Plain data without the secrets: neither in a text, nor spread over the pieces of one."""
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, HIDDEN)
        return value
    if isinstance(value, dict):
        return {name: hidden(part, secrets) for name, part in value.items()}
    if not isinstance(value, list):
        return value
    words = [part[0] if isinstance(part, list) and part else part for part in value]
    whole = "".join(word for word in words if isinstance(word, str))
    if any(secret in whole for secret in secrets):
        return [[HIDDEN, *part[1:2]] if isinstance(part, list) else HIDDEN for part in value]
    return [hidden(part, secrets) for part in value]
