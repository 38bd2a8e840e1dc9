"""Clients that people use, as they come, against servers of their own.

openai is part of the development environment. langchain-openai and litellm want an older openai;
they lie in a folder of their own, which `make clients` fills, and their tests skip without it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.checks import NAMES, Servers
from tests.support import ROOT
from tools.blackbox.models import save_random
from tools.blackbox.servers import served

APART = ROOT / ".make" / "clients"
CLIENTS = {"openai": "openai", "langchain": "langchain_openai", "litellm": "litellm"}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = save_random(tmp_path_factory.mktemp("model") / "random")
    with served(["sprig"]) as sprig, served([str(folder), "--context-length", "1024"]) as random:
        yield Servers(sprig, random)


@pytest.fixture(scope="module", params=CLIENTS)
def told(request: pytest.FixtureRequest, servers: Servers) -> dict[str, str | None]:
    """What a client's script says of each check: an error, or None."""
    client: str = request.param
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if client != "openai":
        if not (APART / CLIENTS[client]).exists():
            pytest.skip(f"{client} is not installed: make clients")
        env["PYTHONPATH"] = str(APART)
    script = Path(__file__).with_name(f"with_{client}.py")
    command = [sys.executable, "-W", "ignore", str(script), *servers]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=280)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"check"')]
    assert len(lines) == len(NAMES), done.stderr
    return {line["check"]: line["error"] for line in lines}


@pytest.mark.parametrize("check", NAMES)
def test_client(told: dict[str, str | None], check: str) -> None:
    assert told[check] is None, told[check]
