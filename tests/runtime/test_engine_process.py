"""Processes die: the engine's, its parent, its grammar worker. Nobody waits for the dead."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from espalier.errors import (
    EngineDeadError,
    EngineError,
    EspalierError,
    GrammarError,
    InvalidRequestError,
    ModelLoadError,
)
from espalier.grammar import GrammarSpec
from espalier.runtime.client import ProcessLink
from espalier.runtime.engine import Engine
from espalier.types import SamplingParams
from tests.support import ROOT
from tests.tiny_tokenizers import save

SHORT = SamplingParams(max_tokens=2)
LONG = SamplingParams(max_tokens=1_000_000)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save(tmp_path_factory.mktemp("tokenizer"), eos_token="<|end|>"))


@pytest.fixture
def engine(text_folder: str) -> Iterator[Engine]:
    with Engine("null", tokenizer=text_folder) as made:
        yield made


def _process(engine: Engine) -> psutil.Process:
    assert isinstance(engine.link, ProcessLink)
    return psutil.Process(engine.link.pid)


# -- the engine's process is killed ----------------------------------------------------------------


def test_those_who_wait_are_told_at_once(engine: Engine) -> None:
    caught: list[EspalierError] = []

    def wait() -> None:
        try:
            engine.generate(input_ids=[[3]] * 4, sampling_params=LONG)
        except EspalierError as error:
            caught.append(error)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    stream = engine.stream(input_ids=[3], sampling_params=LONG)
    next(stream)
    _process(engine).kill()
    started = time.monotonic()
    with pytest.raises(EngineDeadError, match="exit code -9"):
        list(stream)
    for thread in threads:
        thread.join(timeout=10)
    assert time.monotonic() - started < 5
    assert [type(error) for error in caught] == [EngineDeadError] * 3
    for ask in (engine.stats, lambda: engine.generate(input_ids=[3])):
        with pytest.raises(EngineDeadError):
            ask()


def test_async_waiters_are_told_too(engine: Engine) -> None:
    async def wait() -> None:
        task = asyncio.create_task(engine.agenerate(input_ids=[[3]], sampling_params=LONG))
        await asyncio.sleep(0.05)
        _process(engine).kill()
        with pytest.raises(EngineDeadError):
            await asyncio.wait_for(task, timeout=10)

    asyncio.run(wait())


def test_a_call_that_waits_is_told(engine: Engine) -> None:
    process = _process(engine)
    process.suspend()
    timer = threading.Timer(0.1, process.kill)
    timer.start()
    with pytest.raises(EngineDeadError):
        engine.stats()


def test_results_that_are_returned_carry_the_error(engine: Engine) -> None:
    threading.Timer(0.05, _process(engine).kill).start()
    results = engine.generate(input_ids=[[3]] * 2, sampling_params=LONG, on_error="return")
    assert [type(result.error) for result in results] == [EngineDeadError] * 2
    assert [result.finish_reason for result in results] == ["error"] * 2


# -- the parent is killed --------------------------------------------------------------------------

_PARENT = """
import sys, time
import espalier as esp
engine = esp.Engine("null", tokenizer=sys.argv[1])
engine.generate("x", esp.SamplingParams(max_tokens=2), grammar=esp.GrammarSpec.regex("ab"))
if sys.argv[2] == "busy":
    stream = engine.stream("x", esp.SamplingParams(max_tokens=10**6))
    next(stream)
print(engine.link.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_the_engine_and_its_worker_die_with_their_parent(text_folder: str, state: str) -> None:
    command = [sys.executable, "-c", _PARENT, text_folder, state]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        family = [child, *child.children(recursive=True)]
        assert len(family) == 2  # the engine, and its grammar worker
        parent.kill()
        gone, alive = psutil.wait_procs(family, timeout=15)
    assert not alive
    assert len(gone) == 2


def test_the_worker_dies_with_the_engine(engine: Engine) -> None:
    engine.generate("x", SHORT, grammar=GrammarSpec.regex("ab"), on_error="return")
    process = _process(engine)
    [worker] = process.children()
    process.kill()
    worker.wait(timeout=10)


def test_an_interrupt_is_the_parents_to_handle(engine: Engine) -> None:
    """A terminal's ^C goes to every process of the group."""
    engine.generate("x", SHORT, grammar=GrammarSpec.regex("ab"))
    process = _process(engine)
    for each in (process, *process.children()):
        each.send_signal(signal.SIGINT)
    time.sleep(0.1)
    assert engine.generate("x", SHORT, grammar=GrammarSpec.regex("cd"))[0].text == "cd"


# -- it does not start -----------------------------------------------------------------------------


def test_what_cannot_start_says_why() -> None:
    with pytest.raises(ModelLoadError):
        Engine("/nonexistent/folder")
    with pytest.raises(InvalidRequestError, match="page_size"):
        Engine("null", page_size=0)
    with pytest.raises(ModelLoadError, match="no such model folder"):
        Engine("null", tokenizer="/nonexistent/folder")


def test_a_child_that_ends_before_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(EngineDeadError, match="exit code 1"):
        Engine("null")


def test_modules_in_the_current_directory_stand_in_for_none(tmp_path: Path) -> None:
    for name in ("queue", "selectors", "msgspec", "tokenizers"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not the real one')")
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text("raise RuntimeError('nor this')")
    script = tmp_path / "elsewhere" / "program.py"
    script.parent.mkdir()
    script.write_text(
        "import espalier as esp\n"
        "with esp.Engine('null') as engine:\n"
        "    print(engine.generate(input_ids=[3], sampling_params={'max_tokens': 2})[0].token_ids)"
    )
    told = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert told.stdout == "[1, 1]\n"


# -- controls --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args", "kind"),
    [
        ("bogus", {}, InvalidRequestError),
        ("explain", {"input_ids": ["x"], "namespace": ""}, EngineError),
        ("explain", {}, EngineError),
        ("pin", {"input_ids": [1], "namespace": "", "ttl": "soon"}, EngineError),
        ("pin", {"input_ids": [1], "namespace": "", "ttl": -1.0}, InvalidRequestError),
        ("explain", {"input_ids": [2**64], "namespace": ""}, EspalierError),
    ],
)
def test_a_bad_control_harms_its_caller_alone(
    engine: Engine, name: str, args: dict[str, Any], kind: type[EspalierError]
) -> None:
    with pytest.raises(kind):
        engine.link.call(name, args)
    assert engine.generate(input_ids=[3], sampling_params=SHORT)[0].token_ids == [1, 1]


# -- the grammar worker ----------------------------------------------------------------------------


def test_the_engine_replaces_its_worker(engine: Engine) -> None:
    """Twice, so that the new one's pipe may get the old one's number. Dead, it costs nothing."""
    process = _process(engine)
    for text in ("one", "two", "three"):
        [result] = engine.generate("x", SHORT, grammar=GrammarSpec.choices([text]))
        assert text.startswith(result.text)
        [worker] = process.children()
        worker.kill()
    before = process.cpu_times()
    time.sleep(0.3)
    after = process.cpu_times()
    assert after.user + after.system - before.user - before.system < 0.1
    with pytest.raises(GrammarError, match="column"):
        engine.generate("x", SHORT, grammar=GrammarSpec.regex("("))


def test_a_bad_grammar_harms_its_request_alone(engine: Engine) -> None:
    results = engine.generate(
        ["x"] * 3,
        SHORT,
        grammar=[None, GrammarSpec.json_schema({"type": "bogus"}), GrammarSpec.choices(["a"])],
        on_error="return",
    )
    assert [type(result.error) for result in results] == [type(None), GrammarError, type(None)]
    assert results[2].text == "a"


def test_who_waits_no_longer_takes_its_grammar_along(engine: Engine) -> None:
    """A deadline that passes while the worker is at it: nothing is parsed for nobody."""
    engine.generate("x", SHORT, grammar=GrammarSpec.regex("ab"))
    [worker] = _process(engine).children()
    worker.suspend()
    results = engine.generate(
        ["x"] * 2, SHORT, grammar=[GrammarSpec.regex("cd"), GrammarSpec.regex("ef")],
        deadline=0.1, on_error="return",
    )  # fmt: skip
    assert [result.finish_reason for result in results] == ["deadline"] * 2
    worker.resume()
    assert engine.generate("x", SHORT, grammar=GrammarSpec.regex("gh"))[0].text == "gh"
    engine.check_invariants()


_SHADOWS = """
import sys
raise RuntimeError("not the standard library's")
"""


def test_nothing_beside_the_package_hides_the_standard_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a folder of installed packages, with a module of the name of one of Python's."""
    from espalier.runtime import children

    (tmp_path / "espalier").mkdir()
    (tmp_path / "queue.py").write_text(_SHADOWS)
    init = (ROOT / "espalier" / "__init__.py").read_text()
    (tmp_path / "espalier" / "__init__.py").write_text(init)
    for part in (*(ROOT / "espalier").glob("*.py"), ROOT / "runtime", ROOT / "grammar",
                 ROOT / "radix_cache", ROOT / "kernels"):  # fmt: skip
        if part.name != "__init__.py":
            (tmp_path / "espalier" / part.name).symlink_to(part)
    package = sys.modules[children._PACKAGE]
    monkeypatch.setattr(package, "__file__", str(tmp_path / "espalier" / "__init__.py"))
    with Engine("null") as engine:
        assert engine.generate(input_ids=[3], sampling_params=SHORT)[0].token_ids == [1, 1]
        command = _process(engine).cmdline()
    assert str(tmp_path / "espalier" / "__init__.py") in command
