"""Grammar workers: they die, hang, eat memory and cannot be started; good grammars get through."""

from __future__ import annotations

import select
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from espalier.errors import EngineError, EspalierError, GrammarError
from espalier.grammar import GrammarCompiler, GrammarSpec
from espalier.runtime import grammar_workers
from espalier.runtime.grammar_service import InlineGrammars
from espalier.runtime.grammar_workers import WorkerGrammars
from espalier.runtime.grammars import Grammars
from espalier.runtime.turns import Turns
from espalier.runtime.worker_link import Done, WorkerLink
from tests.grammar.machine_tools import vocabulary

BAD = [GrammarSpec.regex(c) for c in "xyz"]


class Stuck(WorkerLink):
    """A worker that never answers over the grammars of BAD."""

    stuck = False

    def send(self, spec: GrammarSpec) -> None:
        self.stuck = spec in BAD
        super().send(spec)

    def exchange(self) -> list[Done | None] | None:
        answers = super().exchange()
        return [a for a in answers if a is None] if answers and self.stuck else answers


@pytest.fixture
def service() -> Iterator[WorkerGrammars]:
    made = WorkerGrammars()
    yield made
    made.close()


def _worker(service: WorkerGrammars) -> psutil.Process:
    assert service._quick.worker is not None
    return psutil.Process(service._quick.worker.pid)


def _wait(service: WorkerGrammars, count: int, seconds: float = 240.0) -> list[Any]:
    done: list[Any] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done += service.poll()
        if len(done) >= count:
            return done
        poll = select.poll()
        service.register(poll)
        poll.poll(50)
    raise AssertionError(f"{len(done)} of {count} answers")


def _started(service: WorkerGrammars) -> None:
    """Its first worker is there, and reads."""
    service.start(GrammarSpec.regex("begin"))
    _wait(service, 1)


def test_grammars_are_parsed_in_order_and_errors_cross(service: WorkerGrammars) -> None:
    specs = [GrammarSpec.regex("a+"), GrammarSpec.regex("("), GrammarSpec.choices(["x"])]
    assert not service.busy
    assert service.poll() == []
    for spec in specs:
        service.start(spec)
    assert service.busy
    done = _wait(service, 3)
    assert not service.busy
    assert [spec for spec, _ in done] == specs
    assert [isinstance(parsed, GrammarError) for _, parsed in done] == [False, True, False]
    inline = InlineGrammars()
    for spec in specs:
        inline.start(spec)
    assert inline.busy
    inline.drop(specs[1])
    assert [(s, type(p)) for s, p in inline.poll()] == [(s, type(p)) for s, p in done[::2]]
    inline.register(select.poll())
    inline.close()
    service.close()


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_worker_that_dies_twice_takes_one_grammar_with_it(
    service: WorkerGrammars, deaths: int
) -> None:
    """Once may be an accident of something else."""
    service.start(GrammarSpec.regex("a"))
    service.start(GrammarSpec.regex("b"))
    done: list[Any] = []
    for _ in range(deaths):
        process = _worker(service)
        process.kill()
        process.wait()
        done += service.poll()
    done += _wait(service, 2 - len(done))
    if deaths == 2:
        assert isinstance(done[0][1], GrammarError)
        assert "died over this grammar" in str(done[0][1])
    assert [isinstance(outcome, GrammarError) for _, outcome in done] == [deaths == 2, False]


def test_a_grammar_that_takes_too_long_is_given_up() -> None:
    service = WorkerGrammars()
    _started(service)
    _worker(service).suspend()
    service._limit = service._patience = 0.05
    service.start(GrammarSpec.regex("a"))
    [(_, outcome)] = _wait(service, 1)
    assert isinstance(outcome, GrammarError)
    assert "longer than 0.05 s" in str(outcome)
    assert service._quick.worker is None
    service._limit = service._patience = 60.0
    service.start(GrammarSpec.regex("b"))
    assert not isinstance(_wait(service, 1)[0][1], EspalierError)
    service.close()


def test_a_worker_that_is_slow_to_start_is_not_the_grammars_fault() -> None:
    service = WorkerGrammars(limit=0.05)
    service.start(GrammarSpec.regex("a"))
    _worker(service).suspend()
    [(_, outcome)] = _wait(service, 1)
    assert type(outcome) is EngineError
    assert "did not start within 0.05 s" in str(outcome)
    assert service._quick.worker is None
    service.close()


def test_good_grammars_pass_bad_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three that never end come first; the fourth is done before them."""
    monkeypatch.setattr("espalier.runtime.grammar_workers.WorkerLink", Stuck)
    service = WorkerGrammars(limit=600.0, patience=0.2)
    _started(service)
    for spec in BAD:
        service.start(spec)
    service.start(GrammarSpec.regex("a"))
    [(spec, outcome)] = _wait(service, 1)
    assert spec == GrammarSpec.regex("a")
    assert not isinstance(outcome, EspalierError)
    assert service.busy
    for bad in BAD:
        service.drop(bad)
    end = time.monotonic() + 240  # the one in work has its second before it is ended
    while service.busy and time.monotonic() < end:
        service.poll()
        time.sleep(0.01)
    assert not service.busy
    service.start(BAD[0])
    service.drop(BAD[0])
    service.start(BAD[0])  # somebody else wants it
    assert service._quick.job is not None
    assert service._quick.job.wanted
    service.close()


def test_namespaces_take_turns() -> None:
    turns: Turns[str] = Turns()
    assert turns.pop() is None
    for item in ("a1", "a2", "a3", "b1", "c1", "b2"):
        turns.push(item[0], item)
    turns.remove("c", "c1")
    turns.remove("c", "c1")
    assert len(turns) == 5
    assert [turns.pop() for _ in range(6)] == ["a1", "b1", "a2", "b2", "a3", None]


def test_what_is_dropped_is_not_parsed(service: WorkerGrammars) -> None:
    first, dropped, last = (GrammarSpec.regex(c) for c in "abc")
    for spec in (first, dropped, last):
        service.start(spec)
    service.drop(dropped)
    service.drop(GrammarSpec.regex("unknown"))
    assert [spec for spec, _ in _wait(service, 2)] == [first, last]
    assert not service.busy


def test_memory_is_bounded() -> None:
    service = WorkerGrammars(memory=192 << 20)
    large = GrammarSpec.choices([f"{n:07d}" for n in range(1_000_000)])
    service.start(large)
    [(_, outcome)] = _wait(service, 1)
    assert isinstance(outcome, GrammarError)
    assert "memory" in str(outcome)
    service.start(GrammarSpec.regex("a"))
    assert not isinstance(_wait(service, 1)[0][1], EspalierError)
    service.close()


def test_a_large_spec_waits_for_nobody(service: WorkerGrammars) -> None:
    """The worker reads nothing; whoever started it goes on."""
    _started(service)
    process = _worker(service)
    process.suspend()
    large = GrammarSpec.choices([f"{n:07d}" for n in range(200_000)])
    before = time.thread_time()
    service.start(large)
    assert service.poll() == []
    assert time.thread_time() - before < 5
    assert service._quick.worker is not None
    assert service._quick.worker._unsent
    process.resume()
    [(spec, outcome)] = _wait(service, 1)
    assert spec == large
    assert not isinstance(outcome, EspalierError)


def test_a_worker_that_cannot_be_started_fails_its_grammar_alone(
    service: WorkerGrammars, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", none)
    service.start(GrammarSpec.regex("a"))
    [(_, outcome)] = service.poll()
    assert isinstance(outcome, EngineError)
    assert "temporarily unavailable" in str(outcome)
    monkeypatch.undo()
    service.start(GrammarSpec.regex("a"))
    assert not isinstance(_wait(service, 1)[0][1], EspalierError)


def test_a_grammar_nobody_waits_for_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    service = InlineGrammars()
    dropped: list[GrammarSpec] = []
    monkeypatch.setattr(service, "drop", dropped.append)
    grammars: Grammars[str] = Grammars(GrammarCompiler(vocabulary("ab")), service)
    one, other = GrammarSpec.regex("a"), GrammarSpec.regex("b")
    for spec, who in ((one, "x"), (one, "y"), (other, "z")):
        assert grammars.get(spec, who) is None
    grammars.leave(one, "x")
    grammars.leave(one, "x")
    assert dropped == []
    grammars.leave(one, "y")
    assert dropped == [one]
    assert grammars.waiting == ["z"]
    assert [who for who, _ in grammars.poll()] == ["z"]
    assert not grammars.busy
    assert grammars.get(other, "z") is not None


@pytest.mark.parametrize(
    ("bug", "message"), [(KeyError("a bug"), "KeyError"), (MemoryError(), "memory")]
)
def test_a_bug_in_a_parser_fails_its_grammar_alone(
    monkeypatch: pytest.MonkeyPatch, bug: Exception, message: str
) -> None:
    def parse(spec: GrammarSpec) -> None:
        raise bug

    monkeypatch.setattr("espalier.grammar.frontend.parse", parse)
    service = InlineGrammars()
    service.start(GrammarSpec.regex("a"))
    [(_, outcome)] = service.poll()
    assert isinstance(outcome, GrammarError)
    assert message in str(outcome)


def test_an_answer_that_cannot_be_read_fails_its_own_grammar(
    service: WorkerGrammars, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Garbled(WorkerLink):
        def exchange(self) -> list[Done | None] | None:
            return [a and Done(ir=a.ir and b"\xc1") for a in super().exchange() or []]

    monkeypatch.setattr(grammar_workers, "WorkerLink", Garbled)
    service.start(GrammarSpec.regex("a"))
    [(_, outcome)] = _wait(service, 1)
    assert isinstance(outcome, GrammarError)
    assert "could not be passed on" in str(outcome)
