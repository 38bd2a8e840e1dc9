"""A process that may open few files has as many connections as it may."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from tests.runtime.served import served

RUN = """
import logging, resource, sys
from espalier.runtime.server.open_files import within_open_files
from espalier.runtime.server.settings import Limits
logging.basicConfig(stream=sys.stdout, format="%(message)s")
soft, hard = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
found = within_open_files(Limits(connections=300)).connections
print(found, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "said"),
    [
        (400, 400, "300 400"),
        (100, 400, "300 396"),
        (100, 200, "104 200"),
        (50, 60, "1 60"),
    ],
)
def test_it_takes_what_it_may_have(soft: int, hard: int, said: str) -> None:
    command = [sys.executable, "-c", RUN, str(soft), str(hard)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    *warned, last = told.splitlines()
    assert last == said
    few = int(said.split()[0])
    assert warned == ([] if few == 300 else [WARNING.format(few, said.split()[1])])


WARNING = "at most {} connections instead of 300: this process may have {} files open (ulimit -n)"


def test_a_burst_takes_no_more_files_than_there_are(text_folder: Path) -> None:
    """Who is one too many is ended, where nobody would be accepted for a second else."""
    flags = ("null", "--tokenizer", str(text_folder), "--max-connections", "8")
    with served(*flags) as made, contextlib.ExitStack() as stack:
        process = psutil.Process(made.process.pid)
        process.rlimit(psutil.RLIMIT_NOFILE, (104, 104))  # for 8 connections: see above
        process.send_signal(signal.SIGSTOP)
        came = [socket.create_connection(made.address, timeout=20) for _ in range(300)]
        for each in came:
            stack.enter_context(each)
        process.send_signal(signal.SIGCONT)
        for each in came[8:]:
            with contextlib.suppress(ConnectionResetError):
                assert each.recv(1) == b""
        stack.close()
        assert httpx.get(f"{made.url}/health", timeout=20).status_code == 200
    assert not [line for line in made.said if "out of system resource" in line]
