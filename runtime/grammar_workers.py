"""Grammars are parsed beside the engine, not in it: worker processes turn specs into IR.

Inside the engine's process a hostile schema could hold every request up. In a worker it can hold up
grammars alone, and those not for long: namespaces take turns, and a job that is not done within a
second goes on in a second lane, whose jobs have more time and hold up each other only. Nothing here
waits for a worker: not for its start, not for it to read a large spec.
"""

from __future__ import annotations

import select
import time

import msgspec

from ..errors import EngineError, EspalierError, GrammarError, from_wire
from ..grammar import ir
from ..grammar.spec import GrammarSpec
from .grammar_service import Parsed
from .turns import Turns
from .worker_link import Done, WorkerLink


class _Job:
    """deaths: workers that died over it. wanted: somebody still waits for it."""

    __slots__ = ("deaths", "namespace", "spec", "wanted")

    def __init__(self, spec: GrammarSpec, namespace: str) -> None:
        self.spec = spec
        self.namespace = namespace
        self.deaths = 0
        self.wanted = True


class _Lane:
    """A worker, if one was needed yet, its job in work, and those that wait. since: when the job
    was given to it, or it was ready to read it."""

    def __init__(self) -> None:
        self.queue: Turns[_Job] = Turns()
        self.worker: WorkerLink | None = None
        self.job: _Job | None = None
        self.since = 0.0


class WorkerGrammars:
    """limit: seconds a job may take. patience: seconds after which it leaves the first lane.
    memory: bytes of data a worker may have. A job beyond these, or over which a worker dies twice,
    ends in GrammarError; one that no worker can be started for, or not within `limit`, in
    EngineError.
    """

    def __init__(
        self, *, limit: float = 20.0, patience: float = 1.0, memory: int = 2 << 30
    ) -> None:
        self._limit = limit
        self._patience = min(patience, limit)
        self._memory = memory
        self._quick, self._slow = _Lane(), _Lane()
        self._jobs: dict[GrammarSpec, _Job] = {}
        self._done: list[tuple[GrammarSpec, Parsed]] = []
        self._leaving: list[WorkerLink] = []  # killed, and not gone yet

    def start(self, spec: GrammarSpec, namespace: str = "") -> None:
        job = self._jobs.get(spec)
        if job is not None:
            job.wanted = True
            return
        job = self._jobs[spec] = _Job(spec, namespace)
        self._quick.queue.push(namespace, job)
        self._begin(self._quick)

    def drop(self, spec: GrammarSpec) -> None:
        job = self._jobs.get(spec)
        if job is None:
            return
        job.wanted = False
        if all(lane.job is not job for lane in (self._quick, self._slow)):
            del self._jobs[spec]
            for lane in (self._quick, self._slow):
                lane.queue.remove(job.namespace, job)

    @property
    def busy(self) -> bool:
        return bool(self._jobs or self._done)

    def poll(self) -> list[tuple[GrammarSpec, Parsed]]:
        self._leaving = [worker for worker in self._leaving if not worker.gone()]
        for lane in (self._quick, self._slow):
            while self._begin(lane) and (self._answered(lane) or self._overdue(lane)):
                pass
        if self._slow.job is None:
            self._dismiss(self._slow)  # it is seldom needed, and may be large
        done, self._done = self._done, []
        return done

    def register(self, poll: select.poll) -> None:
        for lane in (self._quick, self._slow):
            if lane.worker is not None and lane.job is not None:
                lane.worker.register(poll)

    def close(self) -> None:
        for lane in (self._quick, self._slow):
            self._dismiss(lane)
        for worker in self._leaving:
            worker.wait()
        self._leaving.clear()

    # -- lanes -------------------------------------------------------------------------------------

    def _begin(self, lane: _Lane) -> bool:
        """Whether a job is in work; the next one, if none was."""
        while lane.job is None and (job := lane.queue.pop()) is not None:
            self._give(lane, job)
        return lane.job is not None

    def _give(self, lane: _Lane, job: _Job) -> None:
        if lane.worker is not None and lane.worker.gone():
            lane.worker = None
        if lane.worker is None:
            try:
                lane.worker = WorkerLink(self._memory)
            except OSError as error:
                message = f"no process could be started to read the grammar: {error}"
                self._end(job, EngineError(message, hint="Free memory, processes or open files"))
                return
        lane.job, lane.since = job, time.monotonic()
        lane.worker.send(job.spec)

    def _answered(self, lane: _Lane) -> bool:
        """Whether the job in work has come to an end, or its worker has."""
        worker, job = lane.worker, lane.job
        assert worker is not None
        assert job is not None
        answers = worker.exchange()
        if answers is None:
            self._dismiss(lane)
            job.deaths += 1  # it may have died before, of something else
            if job.deaths == 1:
                self._give(lane, job)
            else:
                died = GrammarError("the grammar worker died over this grammar", where="grammar")
                self._end(job, died)
            return True
        for answer in answers:
            if answer is None:
                lane.since = time.monotonic()
            else:
                lane.job = None
                self._end(job, _outcome(answer))
        return lane.job is None

    def _overdue(self, lane: _Lane) -> bool:
        """Whether the job in work has had its time in this lane."""
        worker, job = lane.worker, lane.job
        assert worker is not None
        assert job is not None
        first = lane is self._quick
        in_short = worker.ready and (first or not job.wanted)
        if time.monotonic() - lane.since <= (self._patience if in_short else self._limit):
            return False
        if first and worker.ready and job.wanted:
            if self._begin(self._slow):
                self._dismiss(lane)
                self._slow.queue.push(job.namespace, job)
            else:  # it goes on where it is
                self._slow, self._quick = lane, self._slow
                self._quick.queue, self._slow.queue = self._slow.queue, self._quick.queue
            return True
        if not worker.ready:
            self._dismiss(lane)
            late = f"the process that reads grammars did not start within {self._limit:g} s"
            self._end(
                job, EngineError(late, where="grammar", hint="The machine is busy: try again")
            )
            return True
        self._dismiss(lane)
        error = GrammarError(
            f"the grammar took longer than {self._limit:g} s to compile",
            where="grammar",
            hint="Simplify it, or split it into several calls",
        )
        self._end(job, error)
        return True

    def _dismiss(self, lane: _Lane) -> None:
        lane.job = None
        if lane.worker is not None:
            lane.worker.kill()
            self._leaving.append(lane.worker)
            lane.worker = None

    def _end(self, job: _Job, outcome: Parsed) -> None:
        del self._jobs[job.spec]
        self._done.append((job.spec, outcome))


def _outcome(answer: Done) -> Parsed:
    if answer.ir is not None:
        try:
            return ir.decode(answer.ir)
        except msgspec.MsgspecError as why:  # a bug of ours fails this grammar, not the engine
            return GrammarError(f"what was read of the grammar could not be passed on: {why}")
    assert answer.error is not None
    error: EspalierError = from_wire(answer.error)
    return error
