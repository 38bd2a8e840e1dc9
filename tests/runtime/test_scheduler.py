"""The scheduler against a runner that knows what every slot holds (tests/simulated_runner.py)."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from espalier.errors import InvariantError, OutOfSlotsError
from espalier.radix_cache import RadixCache
from espalier.runtime.options import SchedulerConfig
from espalier.runtime.plan import Plan
from espalier.runtime.request import Request
from espalier.runtime.scheduler import Scheduler
from espalier.runtime.sequence import Sequence
from espalier.runtime.step import Step
from espalier.types import SamplingParams
from tests.cores import Harness
from tests.simulated_runner import answer, chain, scored

# -- anything at all -------------------------------------------------------------------------------

_TOKENS = st.integers(0, 1)


@st.composite
def prompts(draw: st.DrawFn) -> list[list[int]]:
    """Prompts that share prefixes: each continues a cut of an earlier one, some by what the model
    itself answers to it."""
    made: list[list[int]] = []
    for _ in range(draw(st.integers(2, 10))):
        start: list[int] = []
        if made and draw(st.integers(0, 3)):
            base = made[draw(st.integers(0, len(made) - 1))]
            start = base[: draw(st.integers(0, len(base)))]
        if start and draw(st.booleans()):
            start = start + answer(start, draw(st.integers(1, 12)), vocab=5)
        tail = draw(st.lists(_TOKENS, min_size=0 if start else 1, max_size=12))
        made.append((start + tail)[:40])
    return made


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "page_size": draw(st.sampled_from([1, 1, 2, 4, 8])),
        "capacity": draw(st.sampled_from([48, 48, 64, 400])),
        "max_running": draw(st.integers(1, 8)),
        "step_tokens": draw(st.sampled_from([1, 2, 3, 7, 64])),
        "use_cache": draw(st.sampled_from([True, True, True, True, False])),
        "headroom": draw(st.sampled_from([0, 0, 4, 16])),
        "age_bound": draw(st.sampled_from([0, 2, 256])),
        "overlap": draw(st.booleans()),
        "host": draw(st.sampled_from([0, 0, 24, 400])),
        "scored_rows": draw(st.sampled_from([1, 3, 64])),
    }


def submit_some_kind(harness: Harness, data: st.DataObject, prompt: list[int]) -> None:
    kind = data.draw(st.sampled_from(["plain", "plain", "plain", "sampled", "scored", "both"]))
    more: dict[str, Any] = {}
    if kind == "sampled":
        more["seed"] = data.draw(st.integers(1, 2))
    if kind in ("scored", "both") and len(prompt) > 1:
        more["score_from"] = data.draw(st.integers(1, len(prompt) - 1))
        more["generate"] = kind == "both"
    more["priority"] = data.draw(st.sampled_from([0, 0, 0, 1]))
    more["namespace"] = data.draw(st.sampled_from(["", "", "", "b"]))
    harness.submit(prompt, data.draw(st.integers(1, 40)), **more)


@settings(max_examples=120)
@given(data=st.data(), config=configs(), texts=prompts())
def test_every_row_reads_what_its_prompt_says(
    data: st.DataObject, config: dict[str, Any], texts: list[list[int]]
) -> None:
    harness = Harness(**config)
    for text in texts:
        submit_some_kind(harness, data, text)
        for _ in range(data.draw(st.integers(0, 3))):
            harness.step()
        if data.draw(st.integers(0, 7)) == 0:
            harness.core.cancel(data.draw(st.integers(1, len(harness.requests))))
        if data.draw(st.integers(0, 9)) == 0:
            harness.scheduler.cache.reset()
    harness.run()
    assert len(harness.results) == len(texts)
    harness.check_results()
    check_scores(harness)
    counters = harness.scheduler.counters
    told = [harness.results[i] for i in harness.requests]
    assert counters.computed_tokens == sum(result.computed_tokens for result in told)
    assert counters.cached_tokens == sum(result.cached_tokens for result in told)
    assert counters.shared_tokens == sum(result.shared_tokens for result in told)
    assert harness.simulated.written <= counters.rows
    harness.check_all_returned()


def check_scores(harness: Harness) -> None:
    for request_id, result in harness.results.items():
        request = harness.requests[request_id]
        if request.score_from is None or result.finish_reason in ("abort", "error"):
            continue
        prompt = request.prompt
        assert result.prompt_logprobs is not None
        assert [(s.token_id, s.logprob) for s in result.prompt_logprobs if s is not None] == [
            (prompt[at], scored(chain(prompt[:at]), prompt[at]))
            for at in range(request.score_from, len(prompt))
        ]


def test_a_waiting_prompt_is_kept_once() -> None:
    """As an array; the list it came in takes five times the memory."""
    harness = Harness(capacity=4096, max_running=1)
    for _ in range(3):
        harness.submit([1, 2, 3] * 1000, 2)
    harness.step()
    [seq, _] = harness.scheduler.waiting
    assert seq.request.prompt == []
    assert seq.ids[: seq.prompt_len].tolist() == [1, 2, 3] * 1000
    harness.run()
    harness.check_results()


# -- what is computed, and how often ---------------------------------------------------------------


def _nodes(texts: list[list[int]]) -> int:
    """Nodes of the token trie: every distinct prefix once."""
    return len({tuple(text[:end]) for text in texts for end in range(1, len(text) + 1)})


def _covered(texts: list[list[int]]) -> int:
    """Distinct prompts that are the beginning of another one."""
    distinct = {tuple(text) for text in texts}
    return sum(any(a != b and b[: len(a)] == a for b in distinct) for a in distinct)


@settings(max_examples=60)
@given(texts=prompts(), overlap=st.booleans())
def test_one_step_computes_the_trie(texts: list[list[int]], overlap: bool) -> None:
    """All at once, unbounded: each distinct prefix once; exact repeats share even their last row.
    A prompt inside another may cost its last token again, if the longer one came first."""
    harness = Harness(capacity=4096, max_running=64, step_tokens=4096, vocab=5, overlap=overlap)
    for text in texts:
        harness.submit(text, 1)
    harness.run()
    harness.check_results()
    computed = harness.scheduler.counters.computed_tokens
    assert _nodes(texts) <= computed <= _nodes(texts) + _covered(texts)
    assert harness.simulated.steps == 1


@settings(max_examples=60)
@given(texts=prompts(), budget=st.sampled_from([1, 3, 8]), overlap=st.booleans())
def test_chunks_compute_the_trie(texts: list[list[int]], budget: int, overlap: bool) -> None:
    """In chunks of a few rows, over many steps: only the last token of a repeat may run again."""
    harness = Harness(
        capacity=4096, max_running=64, step_tokens=budget, vocab=5, overlap=overlap, headroom=0
    )
    for text in texts:
        harness.submit(text, 1)
    harness.run()
    harness.check_results()
    repeats = len(texts) - len({tuple(text) for text in texts})
    computed = harness.scheduler.counters.computed_tokens
    assert _nodes(texts) <= computed <= _nodes(texts) + _covered(texts) + repeats
    assert harness.scheduler.counters.recomputed_tokens == 0


@settings(max_examples=60)
@given(texts=prompts(), page=st.sampled_from([1, 4]))
def test_one_after_another_each_prompt_costs_what_is_new(texts: list[list[int]], page: int) -> None:
    harness = Harness(capacity=4096, page_size=page, vocab=5)
    for number, text in enumerate(texts):
        known = max((_common(text, other) for other in texts[:number]), default=0)
        wanted = len(text) - min(known // page * page, len(text) - 1)
        request = harness.submit(text, 1)
        harness.run()
        result = harness.results[request]
        assert result.computed_tokens == wanted
        assert result.cached_tokens == len(text) - wanted


def _common(a: list[int], b: list[int]) -> int:
    length = 0
    while length < min(len(a), len(b)) and a[length] == b[length]:
        length += 1
    return length


def test_decoded_tokens_are_shared_too() -> None:
    """A conversation's next turn finds its own answer in the cache."""
    harness = Harness(vocab=50)
    first = harness.submit([1, 2, 3, 4], 10)
    harness.run()
    turn = [1, 2, 3, 4, *harness.results[first].token_ids, 7, 8]
    second = harness.submit(turn, 3)
    harness.run()
    # The last generated token was never an input, so its KV is not there.
    assert harness.results[second].cached_tokens == 4 + 9
    assert harness.results[second].computed_tokens == 3
    harness.check_results()


def test_namespaces_share_nothing() -> None:
    harness = Harness()
    ids = [harness.submit([1, 2, 3], namespace=name) for name in ("a", "b", "a")]
    harness.run()
    assert [harness.results[i].computed_tokens for i in ids] == [3, 3, 0]


def test_samples_of_one_prompt_compute_it_once() -> None:
    harness = Harness(capacity=400, vocab=50)
    ids = [harness.submit(list(range(20)), 5, seed=9, index=i) for i in range(4)]
    results = harness.run()
    assert sum(results[i].computed_tokens for i in ids) == 20
    assert len({tuple(results[i].token_ids) for i in ids}) > 1
    harness.check_results()


def test_retracted_twins_count_their_prompt_once() -> None:
    """Two equal requests, retracted together, share rows again: those are not prompt tokens
    anymore (their sum was 26 of 12 before)."""
    harness = Harness(capacity=48, headroom=0, step_tokens=64, max_running=8)
    for _ in range(6):
        harness.submit([0] * 12, 30)
    harness.run()
    assert harness.scheduler.counters.retractions > 0
    assert harness.scheduler.counters.recomputed_tokens > 0
    harness.check_results()


# -- order, room and retract -----------------------------------------------------------------------


def test_a_prompt_longer_than_the_pool_is_refused() -> None:
    scheduler = Scheduler(SchedulerConfig(capacity=8))
    with pytest.raises(OutOfSlotsError, match="max_total_tokens=9"):
        scheduler.add(_sequence(1, [1] * 9))
    scheduler.add(_sequence(2, [1] * 8))
    scheduler.add(_sequence(3, [1] * 8, score_from=4, generate=False))


def _sequence(number: int, prompt: list[int], max_tokens: int = 4, **more: Any) -> Sequence:
    request = Request(id=number, prompt=prompt, params=SamplingParams(), seed=0, **more)
    length = len(prompt) + (max_tokens if request.generate else 0)
    return Sequence(request, max_length=length)


def test_decode_rows_go_first_then_the_oldest_prefill() -> None:
    scheduler = Scheduler(SchedulerConfig(capacity=256, step_tokens=6, use_cache=False))
    old, young = _sequence(1, [1] * 4), _sequence(2, [2] * 9)
    scheduler.add(old)
    scheduler.add(young)
    first = scheduler.plan()
    assert first is not None
    assert first.plan.query_start == [0, 4, 6]
    old.append(5)
    scheduler.retire(first)
    second = scheduler.plan()
    assert second is not None
    assert second.plan.seats == [old.seat, young.seat]
    assert second.plan.query_start == [0, 1, 6]
    assert second.plan.seq_len == [5, 7]
    assert second.plan.sample_seats == [old.seat]


def test_a_newcomer_leaves_room_for_those_who_run() -> None:
    """With headroom the second request waits; without it both run and one is retracted."""
    wide = Harness(capacity=40, headroom=16)
    narrow = Harness(capacity=40, headroom=0)
    for harness in (wide, narrow):
        for token in (1, 2):
            harness.submit([token] * 16, 16)
        harness.run()
        harness.check_results()
    assert wide.scheduler.counters.retractions == 0
    assert narrow.scheduler.counters.retractions > 0


def test_the_youngest_is_retracted_and_comes_back_first() -> None:
    harness = Harness(capacity=40, headroom=0)
    ids = [harness.submit([token] * 12, 14) for token in (1, 2, 3)]
    waiting = harness.submit([4] * 12, 2, priority=5)
    harness.run()
    ends = [chunk.request_id for chunk in harness.chunks]
    assert ends.index(ids[0]) < ends.index(ids[1])
    assert harness.scheduler.counters.retractions > 0
    assert waiting in ends
    harness.check_results()


def test_a_retracted_request_scores_from_the_start_again() -> None:
    """Retracted in the middle of its prompt, before all its scores were told."""
    harness = Harness(capacity=40, headroom=0, step_tokens=4)
    hog = harness.submit([1] * 4, 30)
    for _ in range(20):
        harness.step()
    scored_one = harness.submit([2] * 12, 2, score_from=1)
    harness.run()
    assert harness.results[hog].finish_reason == "length"
    assert len(harness.results[scored_one].prompt_logprobs or []) == 11
    harness.check_results()
    check_scores(harness)


@pytest.mark.parametrize("overlap", [False, True])
def test_a_step_scores_a_bounded_number_of_rows(overlap: bool) -> None:
    """Of all requests together; what is not scored goes on at full speed."""
    harness = Harness(step_tokens=64, scored_rows=5, overlap=overlap)
    seen: list[tuple[int, int]] = []
    launch = harness.simulated.launch

    def watch(plan: Plan) -> Any:
        seen.append((len(plan.score_rows), len(plan.positions)))
        return launch(plan)

    harness.simulated.launch = watch  # type: ignore[method-assign]
    harness.submit([1, 2] * 20, 2, score_from=1)
    harness.submit([2, 3] * 10, 1, score_from=15, generate=False)
    harness.submit([3] * 30, 2)
    harness.run()
    harness.check_results()
    check_scores(harness)
    assert max(scored for scored, _ in seen) == 5
    assert max(rows for _, rows in seen) > 30


@pytest.mark.parametrize("overlap", [False, True])
def test_who_scores_finds_what_others_computed_far_ahead(overlap: bool) -> None:
    """More than a step and a glance lies between what is scored and what is cached."""
    harness = Harness(capacity=8192, step_tokens=700, scored_rows=64, overlap=overlap)
    prompt = [number * number % 5 for number in range(1_500)]
    scored_one = harness.submit(prompt, 2, score_from=1)
    for number in range(3):
        harness.submit([*prompt, number], 2)
    harness.run(check=False)
    harness.core.check_invariants()
    harness.check_results()
    assert len(harness.results[scored_one].prompt_logprobs or []) == 1_499


def test_a_table_change_is_told_even_if_no_row_can_run() -> None:
    """A sequence adopts what another computed, and then cannot grow: the step has no rows, but the
    change of its table must reach the runner, and its failure must reach the sequence."""
    scheduler, seq, rest = _stuck_after_adopting()
    step = scheduler.plan()
    assert step is not None
    assert step.plan.positions == []
    assert [(delta.start, len(delta.slots)) for delta in step.plan.deltas] == [(4, 2)]
    assert seq.id in step.named
    scheduler.retire(scheduler.in_flight[0])
    scheduler.allocator.free(rest)
    scheduler.retire(step)
    last = scheduler.plan()
    assert last is not None
    assert last.plan.positions == [6, 7]
    scheduler.check_invariants()


def test_a_failed_table_change_fails_its_sequence() -> None:
    scheduler, seq, rest = _stuck_after_adopting()
    step = scheduler.plan()
    assert step is not None
    scheduler.retire(scheduler.in_flight[0])
    scheduler.allocator.free(rest)
    assert scheduler.fail(step) == [seq]
    scheduler.finish(seq)
    scheduler.check_invariants()
    assert scheduler.idle


def _stuck_after_adopting() -> tuple[Scheduler, Sequence, Any]:
    """A chunked prompt, in flight with positions 0..4, whose positions 4..6 somebody else has just
    put into the tree, and no slot is left."""
    scheduler = Scheduler(SchedulerConfig(capacity=16, step_tokens=4))
    seq = _sequence(1, [1, 2, 3, 4, 5, 6, 7, 8])
    scheduler.add(seq)
    assert scheduler.plan() is not None
    own = scheduler.allocator.alloc(2)
    assert own is not None
    assert seq.node is not None
    scheduler.cache.insert(seq.key(6), own, after=seq.node)
    rest = scheduler.allocator.alloc(scheduler.allocator.available)
    return scheduler, seq, rest


def test_slots_that_a_launched_step_uses_are_freed_when_it_retires() -> None:
    """A page half written, in flight, when the tree gets the whole page from somebody else."""
    scheduler = Scheduler(SchedulerConfig(capacity=16, page_size=4, step_tokens=2))
    seq = _sequence(1, [1, 2, 3, 4, 5, 6])
    scheduler.add(seq)
    first = scheduler.plan()
    assert first is not None
    page = scheduler.allocator.alloc(4)
    assert page is not None
    scheduler.cache.insert(seq.key(4), page)
    second = scheduler.plan()
    assert second is not None
    assert second.plan.positions == [4, 5]
    assert seq.table[:4].tolist() == page.tolist()
    scheduler.check_invariants()
    assert scheduler.allocator.available == 16 - 12
    scheduler.retire(first)
    scheduler.check_invariants()
    assert scheduler.allocator.available == 16 - 8


def test_a_step_counts_what_it_holds() -> None:
    harness = Harness()
    harness.submit([1, 2, 3], 2)
    harness.run()
    counters = harness.scheduler.counters
    assert (counters.steps, counters.rows, counters.generated_tokens) == (2, 4, 2)


# -- the oracle and the invariants notice ----------------------------------------------------------


def _running(**config: Any) -> Harness:
    """Three requests in the middle of their answers; one step launched and not collected."""
    harness = Harness(overlap=True, **config)
    for prompt in ([1, 2, 3, 4], [1, 2, 3, 9 % 5, 1], [0, 0]):
        harness.submit(prompt, 20)
    for _ in range(4):
        harness.step()
    assert len(harness.scheduler.running) == 3
    assert harness.scheduler.in_flight
    return harness


def _break_s1(scheduler: Scheduler) -> None:
    next(iter(scheduler.running.values())).room -= 1


def _break_s1_deferred(scheduler: Scheduler) -> None:
    scheduler.deferred[99] = []


def _break_s2_slots(scheduler: Scheduler) -> None:
    table = next(iter(scheduler.running.values())).table
    table[[0, 1]] = table[[1, 0]]


def _break_s2_tokens(scheduler: Scheduler) -> None:
    next(iter(scheduler.running.values())).ids[0] += 1


def _break_s2_end(scheduler: Scheduler) -> None:
    seq = next(iter(scheduler.running.values()))
    slots = scheduler.allocator.alloc(1)
    assert slots is not None
    scheduler.cache.insert(seq.key(seq.tree_len), seq.table[: seq.tree_len].copy())
    scheduler.allocator.free(slots)
    assert seq.node is not None
    seq.node = seq.node.parent


def _break_s2_dead(scheduler: Scheduler) -> None:
    scheduler.add(_sequence(50, [3, 3, 3]))
    step = scheduler.plan()
    assert step is not None
    for lost in scheduler.cache.discard(step.plan.step):
        scheduler.allocator.free(lost.slots)


def _break_s3(scheduler: Scheduler) -> None:
    scheduler.free_seats.append(next(iter(scheduler.running.values())).seat)


def _break_s4(scheduler: Scheduler) -> None:
    seq = next(iter(scheduler.running.values()))
    seq.pos = seq.length + 1


def _break_s5(scheduler: Scheduler) -> None:
    next(iter(scheduler.running.values())).last_step -= 1


def _break_s5_stranger(scheduler: Scheduler) -> None:
    step = next(iter(scheduler.in_flight.values()))
    step.named[77] = _sequence(77, [1])


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("S1", _break_s1),
        ("S1", _break_s1_deferred),
        ("S2", _break_s2_slots),
        ("S2", _break_s2_tokens),
        ("S2", _break_s2_end),
        ("S2", _break_s2_dead),
        ("S3", _break_s3),
        ("S4", _break_s4),
        ("S5", _break_s5),
        ("S5", _break_s5_stranger),
    ],
)
def test_a_broken_invariant_is_named(name: str, harm: Callable[[Scheduler], None]) -> None:
    scheduler = _running().scheduler
    scheduler.check_invariants()
    harm(scheduler)
    with pytest.raises(InvariantError, match=f"^{name}:"):
        scheduler.check_invariants()


def test_invariants_of_the_tree_keep_their_names() -> None:
    scheduler = _running().scheduler
    scheduler.cache._structure.evictable += 1
    with pytest.raises(InvariantError, match=r"^I5:"):
        scheduler.check_invariants()


def test_checking_changes_nothing() -> None:
    """Not even the ages of what is cached, which decide what is evicted."""
    scheduler = _running().scheduler
    before = [view.last_use for view in scheduler.cache.walk()]
    nodes = scheduler.cache.stats().nodes
    scheduler.check_invariants()
    assert [view.last_use for view in scheduler.cache.walk()] == before
    assert scheduler.cache.stats().nodes == nodes


def _no_deltas(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Step, "slots", lambda self, seq, start, slots: self.name(seq))


def _no_waiting_for_retirement(patch: pytest.MonkeyPatch) -> None:
    def let_go(self: Scheduler, seq: Sequence) -> None:
        if self.leaving.pop(seq.id, None) is not None:
            self._release(seq)

    patch.setattr(Scheduler, "_let_go", let_go)


def _unwritten_row(patch: pytest.MonkeyPatch) -> None:
    rows = Step.rows

    def claim(self: Step, seq: Sequence, start: int, stop: int, write_from: int) -> int:
        return rows(self, seq, start, stop, write_from + 1)

    patch.setattr(Step, "rows", claim)


def _shuffled_match(patch: pytest.MonkeyPatch) -> None:
    match = RadixCache.match

    def reverse(self: RadixCache, *args: Any, **more: Any) -> Any:
        found = match(self, *args, **more)
        return msgspec.structs.replace(found, slots=found.slots[::-1].copy())

    patch.setattr(RadixCache, "match", reverse)


@pytest.mark.parametrize(
    "harm",
    [_no_deltas, _no_waiting_for_retirement, _unwritten_row, _shuffled_match],
)
def test_the_oracle_sees_a_wrong_slot(
    harm: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The simulated runner is worth something only if it fails when it should."""
    _crowd()
    harm(monkeypatch)
    with pytest.raises(AssertionError):
        _crowd()


def _crowd() -> None:
    """Requests that share, end early, follow each other's answers and push each other out."""
    for seed in range(12):
        rng = random.Random(seed)
        page = 4 if seed % 2 else 1
        harness = Harness(overlap=True, capacity=48, headroom=0, step_tokens=7, page_size=page)
        for number in range(8):
            prompt = [rng.randint(0, 1) for _ in range(rng.randint(1, 4))]
            request = harness.submit(prompt + answer(prompt, 6, vocab=5), 20)
            for _ in range(rng.randint(0, 4)):
                harness.step(check=False)
            if number % 3 == 0:
                harness.core.cancel(request)
        harness.run(check=False)
        harness.check_results()


def test_the_table_grows_with_its_sequence() -> None:
    seq = _sequence(1, [1, 2])
    seq.set_slots(0, np.arange(3))
    seq.set_slots(3, np.arange(100, 170))
    assert seq.table[:73].tolist() == [0, 1, 2, *range(100, 170)]
    for token in range(200):
        seq.append(token)
    assert seq.ids[: seq.known].tolist() == [1, 2, *range(200)]
    assert seq.generated == 200
