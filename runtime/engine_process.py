"""The engine's own process: a socket on one side, the core on the other, no thread between.

Started by `client.ProcessLink` over an inherited socket pair. The first frame from the parent is
the options; the first answer is `Ready` or `Failed`.
"""

from __future__ import annotations

import faulthandler
import gc
import logging
import math
import select
import signal
import socket
import sys
from typing import TYPE_CHECKING

import msgspec

from ..errors import EngineDeadError, EngineError, EspalierError
from ..types import Chunk
from .collecting import QUIET, Collector
from .controls import call
from .lifeline import die_with_parent
from .options import EngineOptions
from .protocol import (
    Call,
    Cancel,
    Failed,
    Frames,
    FromEngine,
    Outputs,
    Ready,
    Release,
    Reply,
    Submit,
    ToEngine,
    frame,
    salvage,
    to_engine,
)

if TYPE_CHECKING:
    from .build import Built

_log = logging.getLogger("espalier.engine")
_LONGEST_WAIT = 3600.0  # seconds; a deadline may be further away than poll(2) can count


class EngineProcess:
    """Moves messages between the socket and the core."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._frames = Frames()
        self._outputs: list[Chunk] = []
        self._open = True
        self._collector = Collector()

    def run(self) -> None:
        """Until the parent closes the socket."""
        from .build import build
        from .grammar_workers import WorkerGrammars

        options = msgspec.msgpack.decode(self._first_frame(), type=EngineOptions)
        try:
            built = build(options, self._outputs.append, WorkerGrammars())
        except Exception as error:
            _log.debug("the engine could not start", exc_info=error)
            known = isinstance(error, EspalierError)
            wrapped = error if known else EngineError(f"{type(error).__name__}: {error}")
            assert isinstance(wrapped, EspalierError)
            self._send(Failed(wrapped))
            return
        self._collector.start()
        self._send(Ready(built.info))
        try:
            self._serve(built)
        finally:
            built.grammars.close()

    def _first_frame(self) -> bytes:
        while True:
            data = self._sock.recv(1 << 16)
            if not data:
                sys.exit(0)
            bodies = self._frames.feed(data)
            if bodies:
                return bodies[0]

    def _serve(self, built: Built) -> None:
        while self._open:
            if self._wait(built):
                self._receive(built)
            built.core.step()
            self._flush()
            self._collector.step()

    def _wait(self, built: Built) -> bool:
        """Wait for something to do; whether the parent has sent something.

        Asks anew each time: a grammar worker that had to be replaced may get the number of the
        pipe it left.
        """
        core = built.core
        seconds: float | None = 0.0
        if core.idle:
            seconds = core.next_deadline()
            if core.compiling:  # the workers' time limits want to be looked at
                seconds = 1.0 if seconds is None else min(1.0, seconds)
            elif self._collector.due:
                seconds = QUIET if seconds is None else min(QUIET, seconds)
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        if core.compiling:  # else nobody would read what a worker says
            built.grammars.register(poll)
        limit = None if seconds is None else math.ceil(min(seconds, _LONGEST_WAIT) * 1000)
        events = poll.poll(limit)
        if not events and core.idle and self._collector.due:
            self._collector.idle()
        return any(fd == self._sock.fileno() for fd, _ in events)

    def _receive(self, built: Built) -> None:
        data = self._sock.recv(1 << 20)
        if not data:
            self._open = False
            return
        for body in self._frames.feed(data):
            try:
                message = to_engine(body)
            except msgspec.MsgspecError as error:
                self._take_unreadable(built, body, error)
            else:
                self._take(built, message)

    def _take(self, built: Built, message: ToEngine) -> None:
        if isinstance(message, Submit):
            for request in message.requests:
                built.core.submit(request)
        elif isinstance(message, Cancel):
            for request_id in message.ids:
                built.core.cancel(request_id)
        elif isinstance(message, Release):
            built.core.pins.release(message.keys)
        else:
            self._send(self._answer(built, message))

    def _take_unreadable(self, built: Built, body: bytes, error: msgspec.MsgspecError) -> None:
        """It harms whoever sent it alone (P4), and nobody waits for ever: where it cannot be told
        who that is, the engine ends, which tells everybody."""
        _log.error("a message that cannot be read", exc_info=error)
        try:
            salvaged = salvage(body)
        except msgspec.MsgspecError:
            self._send(Failed(EngineDeadError(f"the engine got what is no message: {error}")))
            self._open = False
            return
        for item in salvaged:
            if isinstance(item, Chunk):
                self._outputs.append(item)
            elif isinstance(item, Reply):
                self._send(item)
            else:
                built.core.submit(item)

    def _answer(self, built: Built, message: Call) -> Reply:
        try:
            return Reply(message.id, value=call(built.core, message.name, message.args))
        except EspalierError as error:
            return Reply(message.id, error=error)
        except Exception as error:  # a control that fails harms its caller alone (P4)
            _log.error("the control %s failed", message.name, exc_info=error)
            return Reply(message.id, error=EngineError(f"{type(error).__name__}: {error}"))

    def _flush(self) -> None:
        if self._outputs:
            self._send(Outputs(self._outputs))
            self._outputs.clear()

    def _send(self, message: FromEngine) -> None:
        try:
            self._sock.sendall(frame(message))
        except (BrokenPipeError, ConnectionResetError):
            self._open = False


def main() -> None:
    gc.disable()  # until the collector starts: what is imported stays
    faulthandler.register(signal.SIGUSR1)  # a stuck engine is asked where it is
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's ^C is the parent's to handle
    sock = socket.socket(fileno=int(sys.argv[1]))
    die_with_parent(sock.fileno())
    EngineProcess(sock).run()


if __name__ == "__main__":
    main()
