"""Two ways from a client to a core: in the caller's thread, or in a process of its own.

Both give outputs to `on_chunks` and answer controls. `drive` is called by whoever waits: it steps
an inline core, and only waits for the other kind.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import queue
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Protocol

import msgspec

from ..errors import EngineDeadError, EspalierError, InvalidRequestError
from ..types import Chunk
from .children import start
from .grammar_service import InlineGrammars
from .options import EngineOptions
from .protocol import (
    Call,
    Cancel,
    EngineInfo,
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
    framed,
    from_engine,
)
from .request import Request

_log = logging.getLogger("espalier.client")
OnChunks = Callable[[list[Chunk]], None]
OnDeath = Callable[[EspalierError], None]
_SHUT_DOWN = "the engine was shut down"


class Link(Protocol):
    """A way to a core."""

    info: EngineInfo
    inline: bool

    def submit(self, requests: list[Request]) -> None: ...

    def cancel(self, ids: list[int]) -> None: ...

    def release(self, keys: list[int]) -> None: ...

    def call(self, name: str, args: dict[str, Any]) -> Any: ...

    def drive(self) -> None:
        """Do one step's work, if this thread is the one that does it."""

    def close(self) -> None: ...


class InlineLink:
    """The core in the caller's thread. Several threads may call; one steps at a time."""

    inline = True

    def __init__(self, options: EngineOptions, on_chunks: OnChunks) -> None:
        from .build import build

        self._lock = threading.RLock()
        self._built = build(options, lambda chunk: on_chunks([chunk]), InlineGrammars())
        self.info = self._built.info
        self.core = self._built.core
        self._closed = False

    def submit(self, requests: list[Request]) -> None:
        with self._lock, uninterrupted():
            self._require_open()
            for request in requests:
                self.core.submit(request)

    def cancel(self, ids: list[int]) -> None:
        with self._lock, uninterrupted():
            for request_id in ids:
                self.core.cancel(request_id)

    def release(self, keys: list[int]) -> None:
        with self._lock, uninterrupted():
            self.core.pins.release(keys)

    def call(self, name: str, args: dict[str, Any]) -> Any:
        from .controls import call

        with self._lock, uninterrupted():
            self._require_open()
            return call(self.core, name, args)

    def drive(self) -> None:
        with self._lock, uninterrupted():
            self._require_open()
            self.core.step()

    def close(self) -> None:
        with self._lock, uninterrupted():
            self._closed = True
            self._built.grammars.close()

    def _require_open(self) -> None:
        if self._closed:
            raise EngineDeadError(_SHUT_DOWN)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold ^C back until the block is done: a core cut in two would keep its slots, or a request
    that nobody finishes."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    caught: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, where: caught.append((number, where)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if caught:
            handler(*caught[0])


class ProcessLink:
    """The core in a child process, over a socket pair; one thread of ours reads its answers.

    Another one writes: no signal's handler runs in it, so that nothing can cut a message in two
    and leave those after it unreadable; and no caller waits for an engine that is busy.

    It belongs to the process that made it: a forked child has no thread that reads, and must not
    write into its parent's stream.
    """

    inline = False

    def __init__(self, options: EngineOptions, on_chunks: OnChunks, on_death: OnDeath) -> None:
        self._on_chunks = on_chunks
        self._on_death = on_death
        self._calls: dict[int, _Pending] = {}
        self._numbers = itertools.count(1)
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._dead: EspalierError | None = None
        self._closing = False
        self._owner = os.getpid()
        self._frames = Frames()
        self._backlog: list[bytes] = []
        options.check()
        ours, theirs = socket.socketpair()
        self._sock = ours
        with theirs:
            self._process = start("runtime.engine_process", theirs.fileno())
        try:
            ours.sendall(framed(msgspec.msgpack.encode(options)))
            first = self._receive()
        except OSError:
            first = None  # it ended before it read its options
        except BaseException:
            self._process.kill()
            self._process.wait()
            ours.close()
            raise
        if not isinstance(first, Ready):
            self._process.wait()
            ours.close()
            raise first.error if isinstance(first, Failed) else self._death()
        self.info = first.info
        self._reader = threading.Thread(target=self._read, name="espalier-reader", daemon=True)
        self._reader.start()
        self._writer = threading.Thread(target=self._write, name="espalier-writer", daemon=True)
        self._writer.start()

    @property
    def pid(self) -> int:
        """The engine's process."""
        return self._process.pid

    def submit(self, requests: list[Request]) -> None:
        self._send(Submit(requests))

    def cancel(self, ids: list[int]) -> None:
        self._send(Cancel(ids))

    def release(self, keys: list[int]) -> None:
        self._send(Release(keys))

    def call(self, name: str, args: dict[str, Any]) -> Any:
        pending = _Pending()
        number = next(self._numbers)
        self._calls[number] = pending
        try:
            self._send(Call(number, name, args))
            pending.done.wait()
        finally:
            self._calls.pop(number, None)
        if pending.error is not None:
            raise pending.error
        return pending.value

    def drive(self) -> None:
        """The other process steps by itself."""

    def close(self) -> None:
        self._closing = True
        if os.getpid() != self._owner:
            self._sock.close()
            return
        self._outgoing.put(None)
        with contextlib.suppress(OSError):  # it may be gone already
            self._sock.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thread in (self._reader, self._writer):
            if threading.current_thread() is not thread:
                thread.join(timeout=10)
        self._sock.close()

    def _send(self, message: ToEngine) -> None:
        if self._dead is not None or self._closing:
            raise self._dead or EngineDeadError(_SHUT_DOWN)
        if os.getpid() != self._owner:
            raise EngineDeadError(
                "this engine was started by the process that this one was forked from",
                hint="Start an Engine in each process, or use the spawn start method",
            )
        try:
            data = frame(message)
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidRequestError(f"this cannot be sent to the engine: {error}") from error
        self._outgoing.put(data)

    def _write(self) -> None:
        ended = False
        with contextlib.suppress(OSError):  # its end: `_read` sees it too, and tells those who wait
            while not ended:
                frames = [self._outgoing.get()]
                while not self._outgoing.empty():  # one system call for all that has queued up
                    frames.append(self._outgoing.get())
                ended = None in frames
                self._sock.sendall(b"".join(data for data in frames if data is not None))

    def _receive(self) -> FromEngine | None:
        """The next message; None at the end."""
        while not self._backlog:
            data = self._sock.recv(1 << 20)
            if not data:
                return None
            self._backlog.extend(self._frames.feed(data))
        return from_engine(self._backlog.pop(0))

    def _read(self) -> None:
        last_words: EspalierError | None = None
        try:
            while (message := self._receive()) is not None:
                if isinstance(message, Outputs):
                    self._on_chunks(message.chunks)
                elif isinstance(message, Reply):
                    pending = self._calls.pop(message.id, None)
                    if pending is None:
                        continue  # whoever asked was interrupted
                    pending.value, pending.error = message.value, message.error
                    pending.done.set()
                elif isinstance(message, Failed):
                    last_words = message.error
        except Exception as error:  # reported below, as any other end
            _log.debug("the engine's answers end", exc_info=error)
        if self._closing:
            last_words = EngineDeadError(_SHUT_DOWN)
        self._dead = last_words or self._death()
        self._on_death(self._dead)
        for pending in list(self._calls.values()):
            pending.error = self._dead
            pending.done.set()

    def _death(self) -> EngineDeadError:
        try:
            code: int | None = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:  # it lives, and we do not understand each other
            self._process.kill()
            code = None
        return EngineDeadError(
            "the engine's process is gone",
            got=f"exit code {code}",
            hint="Its last words are on standard error; start a new Engine",
        )


class _Pending:
    """A control on its way."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.value: Any = None
        self.error: EspalierError | None = None
