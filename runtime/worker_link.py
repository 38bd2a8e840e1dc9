"""One grammar worker, and the socket to it: nothing here waits for the other end."""

from __future__ import annotations

import contextlib
import select
import socket

import msgspec

from ..grammar.spec import GrammarSpec
from .children import start
from .protocol import Frames, framed


class Done(msgspec.Struct):
    """From the worker: encoded IR, or an error's strings; neither once it has started."""

    ir: bytes | None = None
    error: dict[str, str | None] | None = None


class WorkerLink:
    """Starts a worker. ready: it has started, and reads. Raises OSError where it cannot be."""

    def __init__(self, memory: int) -> None:
        self._sock, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = start("runtime.grammar_worker", theirs.fileno(), str(memory))
            except BaseException:
                self._sock.close()
                raise
        self._sock.setblocking(False)
        self._frames = Frames()
        self._unsent = bytearray()
        self.ready = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, spec: GrammarSpec) -> None:
        """Give it a job; what does not fit now, `exchange` sends later."""
        self._unsent += framed(msgspec.msgpack.encode(spec))
        self._push()

    def exchange(self) -> list[Done | None] | None:
        """What it has answered (None: it is ready); None at its end."""
        self._push()
        try:
            data = self._sock.recv(1 << 20)
        except BlockingIOError:
            return []
        except ConnectionError:
            return None
        if not data:
            return None
        answers: list[Done | None] = []
        for body in self._frames.feed(data):
            answers.append(msgspec.msgpack.decode(body, type=Done) if self.ready else None)
            self.ready = True
        return answers

    def register(self, poll: select.poll) -> None:
        """Have `poll` return when `exchange` has something to do."""
        poll.register(self._sock, select.POLLIN | (select.POLLOUT if self._unsent else 0))

    def kill(self) -> None:
        """End it; `gone` and `wait` tell when it has."""
        self._sock.close()
        self._process.kill()

    def gone(self) -> bool:
        """Whether its process has ended; the socket is closed then."""
        if self._process.poll() is None:
            return False
        self._sock.close()
        return True

    def wait(self) -> None:
        self._process.wait()

    def _push(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):  # `exchange` sees its end
            while self._unsent:
                del self._unsent[: self._sock.send(self._unsent)]
