"""The peers' test suites: where they come from, what they need, and how they are run.

Sources are fetched as source distributions when they are needed, and lie in a folder that git
ignores; nothing of them is copied into this repo.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from .servers import ROOT, install, served

PACKAGES = (
    "pytest-asyncio", "requests", "urllib3", "charset-normalizer", "filelock",
    "prometheus_client", "pybase64", "httpx-aiohttp", "aiohttp", "aiohappyeyeballs", "aiosignal",
    "attrs", "frozenlist", "multidict", "propcache", "yarl",
)  # fmt: skip
# What tests call the models that they ask for.
NAMES = (
    "gpt-6-astra", "gpt-3.5-turbo-instruct", "text-embedding-3-small", "codellama70b",
)  # fmt: skip
MOST_SECONDS = 300  # of one test


class Suite(NamedTuple):
    """requirement: the source distribution. members: what of it is unpacked. rootdir: of the
    tests. files: those that are run."""

    name: str
    requirement: str
    members: tuple[str, ...]
    rootdir: str
    files: tuple[str, ...]
    plugins: tuple[str, ...] = ()


_LLAMA = "vendor/llama.cpp/tools/server/tests"
SUITES = (
    Suite(
        "openai",
        f"openai=={importlib.metadata.version('openai')}",
        ("tests/",),
        ".",
        tuple(
            f"tests/api_resources/{name}"
            for name in ("test_models.py", "test_completions.py", "test_embeddings.py", "chat")
        ),
    ),
    Suite(
        "llama.cpp",
        "llama-cpp-python==0.3.36",
        (f"{_LLAMA}/", "vendor/llama.cpp/models/templates/"),
        _LLAMA,
        tuple(
            f"unit/test_{name}.py"
            for name in ("chat_completion", "stream", "tool_call", "tokenize")
        ),
        ("blackbox.peer_llama",),
    ),
    Suite(
        "vllm",
        "vllm==0.33.0",
        ("tests/",),
        ".",
        (
            *(
                f"tests/entrypoints/openai/chat_completion/test_{name}.py"
                for name in (
                    "chat",
                    "chat_completion",
                    "chat_echo",
                    "chat_logit_bias_validation",
                    "completion_with_function_calling",
                    "enable_force_include_usage",
                )
            ),
            "tests/entrypoints/openai/completion/test_completion.py",
            "tests/entrypoints/openai/completion/test_prompt_validation.py",
            "tests/entrypoints/serve/instrumentator/test_metrics.py",
            "tests/entrypoints/serve/instrumentator/test_basic.py",
            "tests/entrypoints/serve/tokenize/test_tokenization.py",
        ),
        ("blackbox.peer_vllm",),
    ),
)


class Model(NamedTuple):
    """A model that is served: its folder, and the context that it has."""

    name: str
    folder: Path
    context: int


def unpacked(suite: Suite, work: Path) -> Path:
    """The folder of a suite's tests, fetched if it is not there yet."""
    name = suite.requirement.replace("==", "-").replace("llama-cpp-python", "llama_cpp_python")
    folder = work / name
    if not folder.exists():
        archive = work / f"{name}.tar.gz"
        if not archive.exists():
            tool = install(work / "unearth", "unearth")
            command = [sys.executable, "-m", "unearth", "--no-binary", "--download", str(work)]
            env = {**os.environ, "PYTHONPATH": str(tool)}
            subprocess.run([*command, suite.requirement], check=True, env=env, stdout=sys.stderr)
        with tarfile.open(archive) as file:
            begins = tuple(f"{name}/{part}" for part in suite.members)
            wanted = [member for member in file if member.name.startswith(begins)]
            file.extractall(work, members=wanted, filter="data")
    return folder / suite.rootdir


def run(suite: Suite, model: Model, work: Path, only: str | None) -> None:
    """Write down how each test ended (plugin.py), in a file of the suite and the model."""
    tests = unpacked(suite, work)
    packages = install(work / "packages", *PACKAGES)
    record = work / f"{suite.name}-{model.name}.jsonl"
    record.unlink(missing_ok=True)
    env = {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'tools'}:{packages}",
        "BLACKBOX_RECORD": str(record),
        "BLACKBOX_SUITE": suite.name,
        "BLACKBOX_MODEL": model.name,
        "BLACKBOX_FOLDER": str(model.folder),
        "BLACKBOX_CONTEXT": str(model.context),
    }
    if suite.name == "vllm":  # its fixture starts servers as each test wants them
        _pytest(suite, tests, env, only)
    else:
        flags = [str(model.folder), "--served-model-name", model.name, *NAMES]
        with served([*flags, "--context-length", "1024"]) as url:
            port = str(urlsplit(url).port)
            own = {"TEST_API_BASE_URL": f"{url}/v1", "DEBUG_EXTERNAL": "1", "PORT": port}
            _pytest(suite, tests, env | own, only)


def _pytest(suite: Suite, tests: Path, env: dict[str, str], only: str | None) -> None:
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "blackbox.plugin",
        *(word for plugin in suite.plugins for word in ("-p", plugin)),
        "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly", "-c", os.devnull,
        "-o", "asyncio_mode=auto", "--rootdir", ".", "--timeout", str(MOST_SECONDS),
        *_confined(suite), *suite.files, *(("-k", only) if only else ()),
    ]  # fmt: skip
    subprocess.run(command, cwd=tests, env=env, check=False)


def _confined(suite: Suite) -> Sequence[str]:
    """vLLM's outer conftest.py needs vLLM; the one of its servers' tests does not."""
    return ("--confcutdir", "tests/entrypoints") if suite.name == "vllm" else ()
