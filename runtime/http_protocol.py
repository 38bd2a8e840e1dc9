"""Messages between a program and a server: msgpack bodies that say exactly what an engine's call
says. `HTTPBackend` sends them to /native; other clients use the JSON routes.

An answer is one `Told`; a stream is frames (protocol.py), each a `Piece`, or a `Told` with what
went wrong.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from ..errors import EspalierError
from ..grammar.spec import GrammarSpec
from ..types import Chunk, Result, SamplingParams
from .protocol import from_wire_hook, to_wire_hook

CONTENT_TYPE = "application/msgpack"
MOST_PROMPTS = 10_000


class Ask(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, tag=True):
    """A call of an engine. start: the prompts are only scored, each from there on; then `params`
    say `deterministic` alone. stream: of one prompt."""

    prompts: Annotated[list[list[int]], msgspec.Meta(max_length=MOST_PROMPTS)]
    params: SamplingParams
    grammar: GrammarSpec | None = None
    namespace: str = ""
    priority: int = 0
    deadline: float | None = None
    start: list[int] | None = None
    stream: bool = False


class Told(msgspec.Struct, kw_only=True, tag=True):
    """What it came to."""

    results: list[Result] = []
    error: EspalierError | None = None


class Piece(msgspec.Struct, tag=True):
    """A piece of a stream."""

    chunk: Chunk


class TokenizerFiles(msgspec.Struct):
    """The files of a model's tokenizer, by name."""

    files: dict[str, str]


_encoder = msgspec.msgpack.Encoder(enc_hook=to_wire_hook)
_ask = msgspec.msgpack.Decoder(Ask, dec_hook=from_wire_hook)
_answer = msgspec.msgpack.Decoder(Told | Piece, dec_hook=from_wire_hook)
_files = msgspec.msgpack.Decoder(TokenizerFiles)


def encode(message: Ask | Told | Piece | TokenizerFiles) -> bytes:
    return _encoder.encode(message)


def read_ask(body: bytes) -> Ask:
    """Raises msgspec.MsgspecError, or what `SamplingParams` and `GrammarSpec` raise."""
    ask: Ask = _ask.decode(body)
    return ask


def read_answer(body: bytes) -> Told | Piece:
    answer: Told | Piece = _answer.decode(body)
    return answer


def read_files(body: bytes) -> dict[str, str]:
    return _files.decode(body).files
