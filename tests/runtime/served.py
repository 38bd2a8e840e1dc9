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
from typing import Any

import openai
import psutil

from tests.support import ROOT

LONG: dict[str, Any] = {"prompt": [3], "max_tokens": 500_000, "ignore_eos": True}
READY = re.compile(r"ready on (http://\S+) in [\d.]+ s \(imports .*first token")


class Served:
    """A server's process, once it is ready."""

    def __init__(
        self, *flags: str, start: tuple[str, ...] = ("-m", "espalier.runtime.cli")
    ) -> None:
        command = [sys.executable, *start, "serve", "--port", "0", *flags]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
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
            if any("engine_process" in part for part in child.cmdline())
        ]
        return child

    def client(self, **options: Any) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key="x", max_retries=0, timeout=60, **options
        )

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


@contextlib.contextmanager
def served(*flags: str, **more: Any) -> Iterator[Served]:
    made = Served(*flags, **more)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.end()
        made.close()


def until(true: Callable[[], object], seconds: float = 30) -> None:
    """Wait for it; no longer than that."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)
