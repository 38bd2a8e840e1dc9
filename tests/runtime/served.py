"""A server as a process of its own, called over a socket."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO, Any

import httpx
import openai
import psutil

from tests.support import ROOT

LONG: dict[str, Any] = {"prompt": [3], "max_tokens": 500_000, "ignore_eos": True}
READY = re.compile(r"ready on (http://\S+) in [\d.]+ s \(imports .*first token")


def start(
    *flags: str,
    port: int = 0,
    stderr: int | IO[Any] = subprocess.PIPE,
    limits: dict[str, float] | None = None,
) -> subprocess.Popen[str]:
    """`espalier serve`, by default on a free port. limits: those that no flag sets."""
    code = (
        "import sys\n"
        "import espalier.runtime.server.settings as settings\n"
        "make = settings.Limits\n"
        f"settings.Limits = lambda **given: make(**{{**given, **{limits!r}}})\n"
        "from espalier.runtime.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    how = ("-c", code) if limits else ("-m", "espalier.runtime.cli")
    command = [sys.executable, *how, "serve", "--port", str(port), *flags]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stderr=stderr, text=True, env=env)


class Served:
    """A server's process, once it is ready."""

    def __init__(self, *flags: str, **limits: float) -> None:
        self.process = start(*flags, limits=limits)
        self.said: list[str] = []
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if (found := READY.search(line)) is not None:
                self.url = found[1]
                break
        else:
            raise AssertionError("".join(self.said))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.said += self.process.stderr

    @property
    def engine(self) -> psutil.Process:
        [child] = [
            child
            for child in psutil.Process(self.process.pid).children()
            if "engine_process" in _line(child)
        ]
        return child

    def client(self, **options: Any) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key="x", max_retries=0, timeout=60, **options
        )

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host, int(port)

    def workers(self) -> list[psutil.Process]:
        """The engine's processes that read grammars."""
        return [child for child in self.engine.children() if "grammar_worker" in _line(child)]

    def fine(self) -> None:
        """Nothing runs or waits, every slot is free or in the tree, and it makes tokens."""

        def idle() -> bool:
            told = httpx.get(f"{self.url}/server_info", timeout=10).json()
            stats = told["stats"]
            left = (told["inflight"], stats["running"], stats["waiting"], stats["pinned_slots"])
            unused = stats["free_slots"] + stats["evictable_slots"]
            return left == (0, 0, 0, 0) and unused == stats["capacity"]

        until(idle)
        assert httpx.get(f"{self.url}/health_generate", timeout=30).status_code == 200

    def close(self) -> None:
        """Once it has ended."""
        self._reader.join(timeout=20)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def end(self) -> None:
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        _, left = psutil.wait_procs(children, timeout=15)
        assert left == [], "orphans"


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # it has ended since, or nobody has looked at its end yet
        return ""


@contextlib.contextmanager
def served(*flags: str, **limits: float) -> Iterator[Served]:
    made = Served(*flags, **limits)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.end()
        made.close()


def until(true: Callable[[], object], seconds: float = 100) -> None:
    """Wait for it; no longer than that."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)
