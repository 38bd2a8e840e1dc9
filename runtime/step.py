"""A step being planned: the plan (plain ints) and which sequences it speaks of."""

from __future__ import annotations

import msgspec

from .plan import Ints, Plan, TableDelta, TableGrowth
from .sequence import Sequence


class Draft(msgspec.Struct):
    """Tokens guessed to follow a sequence's last one, which stands at `start`; each is the input of
    a row of its own. first: number of the sample after the last token, which those after the
    guesses follow; rows: how many these samples are in all. right: guesses that turned out so."""

    seq: Sequence
    tokens: tuple[int, ...]
    start: int
    first: int
    rows: int
    right: int = 0


class Step:
    """Builds one `Plan`.

    named: sequences whose slots, KV, tokens or scores depend on this step, by id. samples: the
    sequence of each sampled token, in the plan's order. scored: sequence and count, in the plan's
    order. computed: prompt tokens that it computes for the first time.
    """

    def __init__(self, number: int, trash_slot: int) -> None:
        self.plan = Plan(step=number)
        self.named: dict[int, Sequence] = {}
        self.samples: list[Sequence] = []
        self.scored: list[tuple[Sequence, int]] = []
        self.pooled: list[tuple[Sequence, int]] = []
        self.drafts: list[Draft] = []
        self.computed = 0
        self._trash_slot = trash_slot
        self._chunks: list[tuple[Sequence, int, int, int]] = []  # sequence, positions, first row
        self._row_of_slot: dict[int, int] = {}  # of the chunks that were looked for so far
        self._logits_row: dict[int, int] = {}

    @property
    def empty(self) -> bool:
        return not self.named

    def seat(self, seq: Sequence) -> None:
        """The sequence has taken its seat, which this step's plan alone says."""
        self.name(seq)
        self.plan.new_seats.append(seq.seat_params())

    def slots(self, seq: Sequence, start: int, slots: Ints) -> None:
        """The table of the sequence's seat changes: by this step's plan alone, so the step is run
        and names it even if no row of it can."""
        self.name(seq)
        self.plan.deltas.append(TableDelta(seat=seq.seat, start=start, slots=slots))

    def rows(self, seq: Sequence, start: int, stop: int, write_from: int) -> int:
        """Run positions [start, stop); those below `write_from` have their KV already. Returns the
        number of the first row."""
        plan = self.plan
        first = len(plan.positions)
        host = min(stop, seq.known)
        if stop - start == 1:
            plan.positions.append(start)
            plan.slot_of.append(int(seq.table[start]) if start >= write_from else self._trash_slot)
            plan.input_ids.append(int(seq.ids[start]) if start < host else 0)
        else:
            plan.positions.extend(range(start, stop))
            held = max(0, min(write_from, stop) - start)
            plan.slot_of.extend([self._trash_slot] * held)
            plan.slot_of.extend(seq.table[start + held : stop].tolist())
            plan.input_ids.extend(seq.ids[start:host].tolist())
            plan.input_ids.extend([0] * (stop - max(host, start)))
        if stop > seq.known:
            plan.device_rows.append(first + stop - 1 - start)
            plan.device_seats.append(seq.seat)
        plan.seats.append(seq.seat)
        plan.query_start.append(first + stop - start)
        plan.seq_len.append(stop)
        self._chunks.append((seq, start, stop, first))
        self.name(seq)
        return first

    def grow(self, seqs: list[Sequence], slots: Ints) -> None:
        """Each sequence's table is full and gets a page: a row of `slots` [n, page_size]."""
        seats, starts = [], []
        page = slots.shape[1]
        pages = slots.ravel().tolist() if page == 1 else slots
        for seq, given in zip(seqs, pages, strict=True):
            room = seq.room
            stop = seq.room = room + page
            if stop > len(seq.table):
                seq.enlarge(stop)
            if page == 1:
                seq.table[room] = given
            else:
                seq.table[room:stop] = given
            seats.append(seq.seat)
            starts.append(room)
        self.plan.growth = TableGrowth(seats=seats, starts=starts, slots=slots)

    def decode(self, seqs: list[Sequence]) -> None:
        """One row of each sequence, which has a slot for it, and a sample from that row.

        Does what `rows`, `logits` and `sample` do, for many at once: it runs for every sequence at
        every step.
        """
        plan = self.plan
        number, first, place = plan.step, len(plan.positions), len(plan.logits_at)
        stop = first + len(seqs)
        seats, ends = [], []
        for row, seq in enumerate(seqs, first):
            at = seq.pos
            if at < seq.known:
                plan.input_ids.append(seq.last_token)
            else:
                plan.input_ids.append(0)
                plan.device_rows.append(row)
                plan.device_seats.append(seq.seat)
            plan.positions.append(at)
            plan.slot_of.append(seq.table.item(at))
            end = seq.pos = seq.kv_len = at + 1
            seq.length = end + 1
            seq.last_step = number
            seats.append(seq.seat)
            ends.append(end)
            self.named[seq.id] = seq
        plan.constrained.extend(
            [i for i, seq in enumerate(seqs, len(self.samples)) if seq.constrained]
        )
        self.samples.extend(seqs)
        plan.seats.extend(seats)
        plan.sample_seats.extend(seats)
        plan.seq_len.extend(ends)
        plan.sample_positions.extend(ends)
        plan.query_start.extend(range(first + 1, stop + 1))
        plan.logits_at.extend(range(first, stop))
        plan.sample_from.extend(range(place, place + len(seqs)))

    def draft(self, seq: Sequence, tokens: tuple[int, ...]) -> None:
        """Rows of the sequence's last token and of those guessed to follow it, which have slots,
        and a sample from each row."""
        plan, first, start = self.plan, len(self.plan.positions), seq.pos
        stop = start + 1 + len(tokens)
        if start < seq.known:
            plan.input_ids.append(seq.last_token)
        else:
            plan.input_ids.append(0)
            plan.device_rows.append(first)
            plan.device_seats.append(seq.seat)
        plan.input_ids.extend(tokens)
        plan.positions.extend(range(start, stop))
        plan.slot_of.extend(seq.table[start:stop].tolist())
        plan.seats.append(seq.seat)
        plan.query_start.append(first + stop - start)
        plan.seq_len.append(stop)
        self.drafts.append(Draft(seq, tokens, start, len(self.samples), stop - start))
        for row in range(first, first + stop - start):
            self.sample(seq, self.logits(row))
            seq.length += 1
        seq.pos = seq.kv_len = seq.length = stop  # nothing more before it is verified

    def verify(self, tokens: list[int]) -> set[int]:
        """The samples behind a wrong guess, which are none. tokens: of all samples. The sequences
        of drafts keep the KV of what was guessed right."""
        wrong: set[int] = set()
        for draft in self.drafts:
            for guess, token in zip(draft.tokens, tokens[draft.first :], strict=False):
                if guess != token:
                    break
                draft.right += 1
            draft.seq.kv_len = draft.start + 1 + draft.right
            wrong.update(range(draft.first + draft.right + 1, draft.first + draft.rows))
        return wrong

    def unwrite(self) -> None:
        """The step failed: the KV its rows were to write is not there."""
        plan = self.plan
        by_seat = {seq.seat: seq for seq in self.named.values()}
        for i, seat in enumerate(plan.seats):
            seq = by_seat[seat]
            first = plan.seq_len[i] - (plan.query_start[i + 1] - plan.query_start[i])
            seq.kv_len = max(seq.tree_len, min(seq.kv_len, first))

    def name(self, seq: Sequence) -> None:
        self.named[seq.id] = seq
        seq.last_step = self.plan.step

    def logits(self, row: int) -> int:
        """Ask for the logits of a row; returns their place among the step's logits."""
        place = self._logits_row.get(row)
        if place is None:
            place = self._logits_row[row] = len(self.plan.logits_at)
            self.plan.logits_at.append(row)
        return place

    def sample(self, seq: Sequence, place: int) -> None:
        """Sample the sequence's next token from the logits at `place`."""
        plan = self.plan
        if seq.constrained:
            plan.constrained.append(len(self.samples))
        self.samples.append(seq)
        plan.sample_from.append(place)
        plan.sample_seats.append(seq.seat)
        plan.sample_positions.append(seq.length)
        self.name(seq)

    def score(self, seq: Sequence, first_place: int, position: int, count: int) -> None:
        """Report the log probabilities of `count` prompt tokens from `position` on, the first of
        them under the logits at `first_place`, the others under those that follow."""
        plan = self.plan
        plan.score_rows.extend(range(first_place, first_place + count))
        plan.score_tokens.extend(seq.ids[position : position + count].tolist())
        plan.score_top = max(plan.score_top, seq.request.params.prompt_logprobs or 0)
        self.scored.append((seq, count))
        self.name(seq)

    def end_of_scores(self, seq: Sequence, start: int, stop: int, most: int) -> int:
        """Where rows [start, stop) of the sequence have to end, lest the step scores more than
        `most` rows."""
        begin = seq.request.score_from
        if begin is None or not seq.wants_scores:
            return stop
        full = max(start, begin - 1) + max(0, most - len(self.plan.score_rows))
        return stop if full >= seq.prompt_len - 1 else min(stop, full)

    def score_rows(self, seq: Sequence, start: int, stop: int, first: int) -> None:
        """Report the log probabilities of the prompt tokens that follow rows [start, stop), the
        first of which is row `first`."""
        begin = seq.request.score_from
        if begin is None or not seq.wants_scores:
            return
        low, high = max(start, begin - 1), min(stop, seq.prompt_len - 1)
        if low >= high:
            return
        places = [self.logits(first + at - start) for at in range(low, high)]
        self.score(seq, places[0], low + 1, high - low)

    def pool_rows(self, seq: Sequence, start: int, stop: int, first: int) -> None:
        """Rows [start, stop) are part of an embedding, from `must_run_from` on: add up their last
        hidden states."""
        low = max(start, seq.must_run_from)
        if seq.pooling is None or low >= stop:
            return
        row, count = first + low - start, stop - low
        self.plan.pool_rows.extend(range(row, row + count))
        self.plan.pool_counts.append(count)
        self.pooled.append((seq, count))
        self.name(seq)

    def recall(self, seq: Sequence, stop: int) -> int | None:
        """The place of the logits after the sequence's first `stop` tokens, which have slots, if
        another chunk of this step has a row for the last of them: where two have a slot in common,
        all tokens up to it are the same."""
        while self._chunks:
            other, start, end, first = self._chunks.pop()
            slots = other.table[start:end].tolist()
            self._row_of_slot.update(zip(slots, range(first, first + end - start), strict=True))
        row = self._row_of_slot.get(int(seq.table[stop - 1]))
        return None if row is None else self.logits(row)
