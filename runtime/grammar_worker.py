"""The worker process of `WorkerGrammars`: specs in on standard input, IR out on standard output."""

from __future__ import annotations

import os
import sys

import msgspec

from ..errors import EspalierError
from ..grammar import ir
from .grammar_service import Done, Job, parse_safely
from .lifeline import die_with_parent
from .protocol import Frames


def main() -> None:
    die_with_parent(0)
    frames = Frames()
    while data := os.read(0, 1 << 20):
        for body in frames.feed(data):
            job = msgspec.msgpack.decode(body, type=Job)
            parsed = parse_safely(job.spec)
            done = Done(job.id)
            if isinstance(parsed, EspalierError):
                done.error = parsed.to_wire()
            else:
                done.ir = ir.encode(parsed)
            answer = msgspec.msgpack.encode(done)
            sys.stdout.buffer.write(len(answer).to_bytes(4, "big") + answer)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
