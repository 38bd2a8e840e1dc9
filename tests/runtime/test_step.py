"""A plan is flat, and says of every row what it reads, writes and is sampled for."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from espalier.runtime.request import Request
from espalier.runtime.sequence import Sequence
from espalier.runtime.step import Step
from espalier.types import SamplingParams

TRASH = 99


def sequence(number: int, prompt: list[int], **more: Any) -> Sequence:
    params = SamplingParams(**more)
    seq = Sequence(
        Request(id=number, prompt=prompt, params=params, seed=7), max_length=len(prompt) + 8
    )
    seq.seat = number
    seq.set_slots(0, np.arange(10 * number, 10 * number + len(prompt) + 4))
    return seq


def test_rows_of_several_sequences_lie_one_after_the_other() -> None:
    step = Step(5, TRASH)
    assert step.empty
    a, b = sequence(1, [11, 12, 13, 14]), sequence(2, [21, 22, 23])
    assert step.rows(a, 1, 4, 0) == 0
    assert step.rows(b, 0, 3, 2) == 3
    plan = step.plan
    assert plan.step == 5
    assert plan.input_ids == [12, 13, 14, 21, 22, 23]
    assert plan.positions == [1, 2, 3, 0, 1, 2]
    assert plan.slot_of == [11, 12, 13, TRASH, TRASH, 22]  # b's first two are cached
    assert plan.seats == [1, 2]
    assert plan.query_start == [0, 3, 6]
    assert plan.seq_len == [4, 3]
    assert set(step.named) == {1, 2}
    assert not step.empty


def test_a_token_that_is_still_being_sampled_is_taken_from_the_device() -> None:
    step = Step(0, TRASH)
    seq = sequence(1, [11, 12, 13])
    seq.length = 4  # one more is on its way
    assert step.rows(seq, 3, 4, 3) == 0
    other = sequence(2, [21, 22, 23])
    other.length = 4
    assert step.rows(other, 1, 4, 1) == 1
    assert step.plan.input_ids == [0, 22, 23, 0]
    assert step.plan.device_rows == [0, 3]
    assert step.plan.device_seats == [1, 2]
    assert step.plan.slot_of == [13, 21, 22, 23]


def test_one_row_of_logits_serves_many() -> None:
    step = Step(0, TRASH)
    a, b, c = sequence(1, [1, 2]), sequence(2, [1, 2]), sequence(3, [1, 2])
    b.set_slots(0, a.table[:2])  # the tree has one copy
    first = step.rows(a, 0, 2, 0)
    place = step.logits(first + 1)
    assert step.logits(first + 1) == place
    assert step.recall(b, 2) == place
    assert step.recall(c, 2) is None
    step.sample(a, place)
    step.sample(b, place)
    assert step.plan.logits_at == [1]
    assert step.plan.sample_from == [0, 0]
    assert step.plan.sample_seats == [1, 2]
    assert step.plan.sample_positions == [2, 2]
    assert step.samples == [a, b]
    assert step.recall(b, 1) == 1  # one within a chunk: its logits are asked for now
    assert step.plan.logits_at == [1, 0]


def test_scores_name_their_rows_and_tokens() -> None:
    step = Step(0, TRASH)
    seq = sequence(1, [5, 6, 7, 8], prompt_logprobs=3)
    first = step.rows(seq, 0, 4, 0)
    places = [step.logits(first + at) for at in range(1, 3)]
    step.score(seq, places[0], 2, 2)
    assert step.plan.logits_at == [1, 2]
    assert (step.plan.score_rows, step.plan.score_tokens) == ([0, 1], [7, 8])
    assert step.plan.score_top == 3
    assert step.scored == [(seq, 2)]


def test_constrained_samples_and_new_seats_are_listed() -> None:
    step = Step(0, TRASH)
    free, bound = sequence(1, [1]), sequence(2, [2], temperature=0.5, logit_bias={3: 1.5})
    bound.constrained = True
    for seq in (free, bound):
        step.seat(seq)
        step.sample(seq, step.logits(step.rows(seq, 0, 1, 0)))
    assert step.plan.constrained == [1]
    told = step.plan.new_seats[1]
    assert (told.seat, told.seed, told.temperature, told.bias) == (2, 7, 0.5, ((3, 1.5),))
    assert (told.first, told.min_tokens, told.banned) == (1, 0, ())


def test_end_tokens_are_banned_only_for_min_tokens() -> None:
    seq = sequence(1, [1, 2], min_tokens=3)
    seq.stop_ids = frozenset({9, 4})
    told = seq.seat_params()
    assert (told.banned, told.min_tokens, told.first) == ((4, 9), 3, 2)


def test_a_changed_table_is_a_delta_and_names_its_sequence() -> None:
    step = Step(0, TRASH)
    seq = sequence(3, [1, 2])
    step.slots(seq, 2, np.array([40, 41]))
    [delta] = step.plan.deltas
    assert (delta.seat, delta.start, delta.slots.tolist()) == (3, 2, [40, 41])
    assert set(step.named) == {3}


def _decoding(number: int, known: int, page: int) -> Sequence:
    seq = sequence(number, list(range(10 * number, 10 * number + 5 + number)))
    seq.constrained = number % 2 == 0
    seq.pos = seq.kv_len = seq.length = seq.prompt_len
    seq.length += 1
    if known:
        seq.append(70 + number)
    seq.room = -(-seq.pos // page) * page
    return seq


@pytest.mark.parametrize("page", [1, 4])
def test_many_decode_rows_at_once_are_what_they_are_one_by_one(page: int) -> None:
    """Beside a prefill's rows, that come first here."""
    plans, states = [], []
    for at_once in (False, True):
        step = Step(3, TRASH)
        other = sequence(9, [1, 2, 3])
        step.sample(other, step.logits(step.rows(other, 0, 3, 0) + 2))
        seqs = [_decoding(number, known=number != 2, page=page) for number in range(1, 5)]
        full = [seq for seq in seqs if seq.pos == seq.room]
        assert 0 < len(full) <= len(seqs)
        slots = 100 + np.arange(len(full) * page).reshape(-1, page)
        if at_once:
            step.grow(full, slots)
            assert step.plan.growth is not None
            growth = step.plan.growth
            told = zip(growth.seats, growth.starts, growth.slots.tolist(), strict=True)
            step.decode(seqs)
        else:
            for seq, given in zip(full, slots, strict=True):
                seq.set_slots(seq.room, given)
                step.slots(seq, seq.room, given)
                seq.room += page
            told = [(d.seat, d.start, d.slots.tolist()) for d in step.plan.deltas]
            for seq in seqs:
                at = seq.pos
                seq.kv_len = seq.pos = at + 1
                step.sample(seq, step.logits(step.rows(seq, at, at + 1, at)))
                seq.length += 1
        plans.append(msgspec.structs.replace(step.plan, deltas=[], growth=None))
        states.append(
            (
                list(told),
                sorted(step.named),
                [seq.id for seq in step.samples],
                [(s.pos, s.kv_len, s.length, s.room, s.last_step) for s in seqs],
                [s.table[: s.room].tolist() for s in seqs],
            )
        )
    assert plans[0] == plans[1]
    assert states[0] == states[1]


def test_what_a_failed_step_was_to_write_is_not_there() -> None:
    step = Step(0, TRASH)
    fresh, cached = sequence(1, [1, 2, 3, 4]), sequence(2, [1, 2, 3, 4])
    step.rows(fresh, 1, 4, 1)
    step.rows(cached, 2, 4, 2)
    fresh.kv_len = cached.kv_len = 4
    cached.tree_len = 3
    step.unwrite()
    assert (fresh.kv_len, cached.kv_len) == (1, 3)  # the tree answers for what it holds
