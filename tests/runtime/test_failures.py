"""Steps that fail: exactly the requests they name end in EngineError, and all others go on."""

from __future__ import annotations

import logging
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given, settings, strategies as st

from espalier.errors import EngineError
from espalier.runtime.core import EngineCore
from espalier.runtime.model_runner import DelayedRunner, Masks
from espalier.runtime.sequence import Sequence
from espalier.runtime.step import Step
from tests.cores import Harness
from tests.simulated_runner import FailingRunner, answer

KINDS = ("launch", "sample", "collect")


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "espalier.engine")


def failing(at: dict[str, set[int]], *, late: bool = False) -> Any:
    """A wrapper for `Harness`. late: the failure shows at `collect` alone, as a device's does."""

    def wrap(runner: Any) -> Any:
        if late:
            assert isinstance(runner, DelayedRunner)
            return DelayedRunner(FailingRunner(runner._inner, at))
        return FailingRunner(runner, at)

    return wrap


class Named:
    """Ids of the requests that each failed step named, seen from outside."""

    def __init__(self, harness: Harness) -> None:
        self.ids: list[set[int]] = []
        core = harness.core
        failed = core._step_failed

        def note(step: Step, error: Exception) -> None:
            self.ids.append({i for i, seq in step.named.items() if seq.state == "running"})
            failed(step, error)

        core._step_failed = note  # type: ignore[method-assign]


@pytest.mark.parametrize("mode", ["at once", "overlap", "late"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [0, 1, 2, 5, 9])
def test_a_failed_step_fails_those_it_names(mode: str, kind: str, number: int) -> None:
    harness = Harness(
        capacity=96,
        step_tokens=9,
        headroom=0,
        overlap=mode != "at once",
        wrap=failing({kind: {number}}, late=mode == "late"),
    )
    named = Named(harness)
    base = [0, 1, 0, 1, 1, 0, 0, 1]
    for cut in (8, 8, 5, 3):
        harness.submit([*base[:cut], 2], 12)
        harness.step()
    for cut in (8, 6):
        harness.submit([*base[:cut], 3], 12)
    harness.run()
    assert len(named.ids) == 1
    failed = {i for i, result in harness.results.items() if result.error is not None}
    assert failed == named.ids[0]
    for request in failed:
        error = harness.results[request].error
        assert type(error) is EngineError
        assert f"Broken: {kind} {number}" in str(error)
        assert harness.results[request].finish_reason == "error"
    assert len(harness.results) == 6
    assert all(r.finish_reason == "length" for i, r in harness.results.items() if i not in failed)
    harness.check_results()
    assert harness.scheduler.counters.failed_steps == 1
    harness.check_all_returned()


@pytest.mark.parametrize("overlap", [False, True])
def test_followers_of_a_prefix_that_failed_compute_it_themselves(overlap: bool) -> None:
    """The owner of a pending prefix dies with its step; one that came in the next step and read it
    starts over, and its answer is right."""
    harness = Harness(step_tokens=6, overlap=overlap, wrap=failing({"collect": {0}}))
    prefix = [0, 1, 2, 3, 4, 0]
    owner = harness.submit([*prefix, 1, 2, 3], 4)  # its chunk takes the whole first step
    harness.core.step()
    follower = harness.submit([*prefix, 4], 4)
    harness.run()
    assert harness.results[owner].finish_reason == "error"
    assert harness.results[follower].finish_reason == "length"
    harness.check_results()
    again = harness.submit([*prefix, 1, 2, 3], 4)
    harness.run()
    assert harness.results[again].token_ids == answer([*prefix, 1, 2, 3], 4, vocab=5)
    harness.check_all_returned()


def test_two_steps_in_a_row_fail() -> None:
    """Step n+1 cannot be launched, and then step n cannot be collected: both are over, once."""
    at = {"collect": {3}, "launch": {4}}
    harness = Harness(overlap=True, wrap=failing(at))
    harness.submit([1, 2], 10)
    harness.submit([1, 3], 10)
    harness.run()
    assert {r.finish_reason for r in harness.results.values()} == {"error"}
    harness.check_all_returned()
    survivor = harness.submit([1, 2], 3)
    harness.run()
    assert harness.results[survivor].finish_reason == "length"
    harness.check_results()


def test_one_that_only_the_next_step_named_starts_over() -> None:
    harness = Harness(overlap=True, step_tokens=3, wrap=failing({"collect": {1}}))
    first = harness.submit([1, 2, 3], 8)
    harness.step()
    harness.step()
    late = harness.submit([4, 4], 5)  # enters in step 2, launched before step 1 fails
    harness.run()
    assert harness.results[first].finish_reason == "error"
    assert harness.results[late].finish_reason == "length"
    assert harness.scheduler.counters.retractions == 1
    harness.check_results()
    harness.check_all_returned()


def test_what_was_cached_before_a_failure_stays() -> None:
    harness = Harness(wrap=failing({"collect": {2}}))
    prompt = [1, 2, 3, 4]
    harness.submit(prompt, 1)
    harness.run()
    broken = harness.submit([*prompt, 0], 9)  # computed in step 1; step 2 fails
    harness.run()
    assert harness.results[broken].error is not None
    after = harness.submit([*prompt, 0, 0], 1)
    harness.run()
    # What step 1 made real stays; what step 2 may have written does not.
    assert harness.results[after].cached_tokens == 5
    harness.check_results()


@settings(max_examples=60)
@given(
    data=st.data(),
    at=st.fixed_dictionaries({k: st.sets(st.integers(0, 25), max_size=2) for k in KINDS}),
    mode=st.sampled_from(["at once", "overlap", "late"]),
    capacity=st.sampled_from([32, 48, 200]),
    page=st.sampled_from([1, 4]),
    budget=st.sampled_from([2, 5, 64]),
)
def test_any_failures_at_all(
    data: st.DataObject,
    at: dict[str, set[int]],
    mode: str,
    capacity: int,
    page: int,
    budget: int,
) -> None:
    harness = Harness(
        capacity=capacity,
        page_size=page,
        step_tokens=budget,
        headroom=data.draw(st.sampled_from([0, 16])),
        overlap=mode != "at once",
        wrap=failing(at, late=mode == "late"),
    )
    named = Named(harness)
    texts = data.draw(
        st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=14), min_size=2, max_size=7)
    )
    for text in texts:
        harness.submit(text, data.draw(st.integers(1, 14)))
        for _ in range(data.draw(st.integers(0, 2))):
            harness.step()
        if data.draw(st.integers(0, 9)) == 0:
            harness.core.cancel(data.draw(st.integers(1, len(harness.requests))))
    harness.run()
    assert len(harness.results) == len(texts)
    failed = {i for i, result in harness.results.items() if result.error is not None}
    assert failed == set().union(*named.ids)
    harness.check_results()
    harness.check_all_returned()


def test_a_request_whose_text_fails_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the step's failure: its neighbours' tokens stay."""
    harness = Harness()
    bad, good = harness.submit([1, 2], 6), harness.submit([1, 3], 6)
    progress = harness.core._live[bad]

    def see(token: int) -> bool:
        if progress.seq.generated == 3:
            raise RuntimeError("half a character too many")
        return False

    monkeypatch.setattr(progress, "see", see)
    harness.run()
    error = harness.results[bad].error
    assert type(error) is EngineError
    assert "half a character" in str(error)
    assert harness.results[good].finish_reason == "length"
    harness.check_results()
    harness.check_all_returned()


def test_a_failure_that_is_no_requests_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness()
    harness.submit([1, 2], 1)

    def emit(self: EngineCore, chunk: object) -> None:
        raise RuntimeError("nobody to tell")

    harness.core._emit = emit.__get__(harness.core)  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="nobody to tell"):
        harness.run()


@pytest.mark.parametrize("constrained", [False, True])
def test_a_step_that_follows_a_failed_one_is_over_before_its_slots_are_freed(
    constrained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device runs it all the same, and late: it would write what others were given."""
    harness = Harness(overlap=True, wrap=failing({"collect": {3}}, late=True))
    delayed = harness.runner._inner
    assert isinstance(delayed, DelayedRunner)
    for prompt in ([1, 2], [1, 3, 3]):
        harness.submit(prompt, 10)
    if constrained:  # sampled only once the step before it has been collected
        none = Mock(of=lambda *_: Masks())
        monkeypatch.setattr(harness.core, "_masking", none)
        add = Step.decode

        def decode(self: Step, seqs: list[Sequence]) -> None:
            add(self, seqs)
            self.plan.constrained = [0]

        monkeypatch.setattr(Step, "decode", decode)
    fail = harness.scheduler.fail
    waiting: list[int] = []

    def note(step: Step) -> list[Sequence]:
        waiting.append(len(delayed._todo))
        return fail(step)

    monkeypatch.setattr(harness.scheduler, "fail", note)
    harness.run()
    assert waiting == [0]
    assert {r.finish_reason for r in harness.results.values()} == {"error"}
    harness.check_all_returned()
