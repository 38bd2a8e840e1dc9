"""The worker process of `WorkerGrammars`: specs in, IR out, over an inherited socket."""

from __future__ import annotations

import contextlib
import resource
import socket
import sys

import msgspec

from ..errors import EspalierError
from ..grammar import ir
from ..grammar.frontend import make_ready
from ..grammar.spec import GrammarSpec
from .grammar_service import parse_safely
from .lifeline import die_with_parent
from .protocol import Frames, framed
from .worker_link import Done


def main() -> None:
    sock = socket.socket(fileno=int(sys.argv[1]))
    die_with_parent(sock.fileno())
    _limit_memory(int(sys.argv[2]))
    frames = Frames()
    sock.sendall(framed(msgspec.msgpack.encode(Done())))
    make_ready()
    while data := sock.recv(1 << 20):
        for body in frames.feed(data):
            sock.sendall(framed(_answer(body)))


def _limit_memory(most: int) -> None:
    """Data beyond `most` bytes is a MemoryError. RLIMIT_DATA counts what is written to, and not
    what libraries map; where a system has no such limit, the time limit has to do."""
    with contextlib.suppress(ValueError, OSError):
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def _answer(body: bytes) -> bytes:
    parsed = parse_safely(msgspec.msgpack.decode(body, type=GrammarSpec))
    if isinstance(parsed, EspalierError):
        return msgspec.msgpack.encode(Done(error=parsed.to_wire()))
    return msgspec.msgpack.encode(Done(ir=ir.encode(parsed)))


if __name__ == "__main__":
    main()
