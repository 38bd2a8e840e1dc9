"""Grammars are parsed beside the engine, not in it: a worker process turns a spec into IR.

Inside the engine's process a hostile schema could hold every request up; in a worker it can only
hold up grammars, and only until its time is over. The IR comes back as msgpack.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

import msgspec

from ..errors import EspalierError, GrammarError, from_wire
from ..grammar import ir
from ..grammar.spec import GrammarSpec
from .protocol import Frames

Parsed = ir.GrammarIR | EspalierError


class Job(msgspec.Struct):
    """To the worker."""

    id: int
    spec: GrammarSpec


class Done(msgspec.Struct):
    """From the worker: encoded IR, or an error's strings."""

    id: int
    ir: bytes | None = None
    error: dict[str, str | None] | None = None


class GrammarService(Protocol):
    """Parses grammars."""

    def start(self, spec: GrammarSpec) -> None:
        """Begin; `poll` will have the outcome."""

    def poll(self) -> list[tuple[GrammarSpec, Parsed]]:
        """Outcomes since the last call. Never waits."""
        ...

    def fileno(self) -> int | None:
        """A file descriptor that becomes readable when `poll` may have something."""

    def close(self) -> None:
        """End it."""


def parse_safely(spec: GrammarSpec) -> Parsed:
    """Parse, with every failure as a typed error."""
    from ..grammar.frontend import parse

    try:
        return parse(spec)
    except EspalierError as error:
        return error
    except RecursionError:
        return GrammarError("the grammar is nested too deeply", where=spec.kind)
    except Exception as error:  # a bug of ours: it fails this grammar, not the engine (P4)
        return GrammarError(
            f"the grammar could not be read: {type(error).__name__}: {error}", where=spec.kind
        )


class InlineGrammars:
    """Parses in the caller's thread (for `Engine(inline=True)`)."""

    def __init__(self) -> None:
        self._done: list[tuple[GrammarSpec, Parsed]] = []

    def start(self, spec: GrammarSpec) -> None:
        self._done.append((spec, parse_safely(spec)))

    def poll(self) -> list[tuple[GrammarSpec, Parsed]]:
        done, self._done = self._done, []
        return done

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        self._done.clear()


class WorkerGrammars:
    """Parses in a worker process, started at the first grammar and again after it had to be killed.

    One job runs at a time; one that takes longer than `limit` seconds, or over which the worker
    dies twice, ends in GrammarError.
    """

    def __init__(self, *, limit: float = 20.0) -> None:
        self._limit = limit
        self._process: subprocess.Popen[bytes] | None = None
        self._frames = Frames()
        self._queue: list[GrammarSpec] = []
        self._since: float | None = None
        self._tried_again = False
        self._number = 0

    def start(self, spec: GrammarSpec) -> None:
        self._queue.append(spec)
        self._send_next()

    def fileno(self) -> int | None:
        if self._process is None or self._process.stdout is None:
            return None
        return self._process.stdout.fileno()

    def poll(self) -> list[tuple[GrammarSpec, Parsed]]:
        done: list[tuple[GrammarSpec, Parsed]] = []
        while self._since is not None:
            outcome = self._read()
            if outcome is None:
                break
            done.append((self._queue.pop(0), outcome))
            self._since, self._tried_again = None, False
            self._send_next()
        return done

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process = None
            self._frames = Frames()

    def _read(self) -> Parsed | None:
        """The outcome of the job in work, None if there is none yet."""
        assert self._process is not None
        assert self._since is not None
        fd = self.fileno()
        if fd is not None and select.select([fd], [], [], 0)[0]:
            data = os.read(fd, 1 << 20)
            if not data:
                self.close()
                if self._tried_again:
                    return GrammarError(
                        "the grammar worker died over this grammar", where="grammar"
                    )
                self._tried_again, self._since = True, None  # it may have died before, of something
                self._send_next()
                return None
            for body in self._frames.feed(data):
                answer = msgspec.msgpack.decode(body, type=Done)
                if answer.id != self._number:
                    continue
                if answer.ir is not None:
                    return ir.decode(answer.ir)
                assert answer.error is not None
                return from_wire(answer.error)
        if time.monotonic() - self._since > self._limit:
            self.close()
            return GrammarError(
                f"the grammar took longer than {self._limit:g} s to compile",
                where="grammar",
                hint="Simplify it, or split it into several calls",
            )
        return None

    def _send_next(self) -> None:
        if self._since is not None or not self._queue:
            return
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "espalier.runtime.grammar_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=child_environment(),
            )
        assert self._process.stdin is not None
        self._number += 1
        body = msgspec.msgpack.encode(Job(self._number, self._queue[0]))
        self._since = time.monotonic()
        try:
            self._process.stdin.write(len(body).to_bytes(4, "big") + body)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # _read sees its end of file and says so


def child_environment() -> dict[str, str]:
    """The environment for a child that must import this very package, installed or not."""
    package = Path(__file__).resolve().parent.parent
    root = package if (package / "pyproject.toml").exists() else package.parent
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
