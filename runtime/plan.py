"""One step as plain ints: what the scheduler decides and every rank's runner carries out.

A plan names no Python object of the scheduler's; it could be sent to other processes as it is.
Rows are flat: the rows of one sequence are neighbours, sequences follow each other. `T` rows, `B`
sequences with at least one row, `N` logits rows, `S` sampled tokens, `K` scored tokens.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..radix_cache.tier import Move

Ints = NDArray[np.int64]


class Penalties(msgspec.Struct, frozen=True):
    """Penalties on tokens that were there before, as OpenAI (frequency, presence: of generated
    ones) and transformers (repetition: of the prompt's too) define them. prompt, generated: the
    tokens the sequence has when it takes its seat."""

    repetition: float
    frequency: float
    presence: float
    prompt: Ints
    generated: Ints


class SeatParams(msgspec.Struct, frozen=True):
    """How the runner samples for the sequence in a seat, sent once when the seat is taken.

    banned: token ids held back until `min_tokens` have been generated. first: position of the
    first generated token, from which `min_tokens` counts.
    """

    seat: int
    seed: int
    index: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    bias: tuple[tuple[int, float], ...]
    banned: tuple[int, ...]
    min_tokens: int
    first: int
    logprobs: int | None
    penalties: Penalties | None = None
    deterministic: bool = False


class TableDelta(msgspec.Struct, frozen=True):
    """Slots that the table of a seat gets at `start`."""

    seat: int
    start: int
    slots: Ints


class TableGrowth(msgspec.Struct, frozen=True):
    """A page of slots for each of several seats: the table of `seats[i]` gets `slots[i]` (an array
    [n, page_size]) from `starts[i]` on."""

    seats: list[int]
    starts: list[int]
    slots: Ints


class SharedSlots(msgspec.Struct, frozen=True):
    """The sequences `members` (indices into the plan's) have the same slots at positions begin <= p
    < end; their rows all stand at `end` or after."""

    members: tuple[int, ...]
    begin: int
    end: int


class Plan(msgspec.Struct):
    """One step.

    moves: copies of KV to and from the host, made in their order before anything else. deltas,
    growth: what the tables get before the step runs. input_ids [T]: 0 where the input is a
    token not yet read back; such rows are listed in `device_rows`, and `device_seats` tells whose
    last token it is. positions [T]. slot_of [T]: KV slot each row writes; the runner's trash slot
    (its number is the pool's capacity) for rows whose KV is there already. seats [B],
    query_start [B+1], seq_len [B]: keys each sequence's last row sees. logits_at [N]: rows of T.
    sample_from [S]: logits row of each sample (rows repeat: identical prompts); sample_seats [S];
    sample_positions [S]: absolute position of the new token.
    constrained: indices of samples that need a mask. score_rows, score_tokens [K]: logits row and
    token to report the log probability of; score_top: alternatives to report beside it.
    shared: slots that attention may read once for several sequences.
    pool_rows [P], pool_counts: rows of T whose last hidden states are added up, so many neighbours
    each.
    """

    step: int
    input_ids: list[int] = []
    positions: list[int] = []
    slot_of: list[int] = []
    device_rows: list[int] = []
    device_seats: list[int] = []
    seats: list[int] = []
    query_start: list[int] = msgspec.field(default_factory=lambda: [0])
    seq_len: list[int] = []
    moves: list[Move] = []
    deltas: list[TableDelta] = []
    growth: TableGrowth | None = None
    new_seats: list[SeatParams] = []
    logits_at: list[int] = []
    sample_from: list[int] = []
    sample_seats: list[int] = []
    sample_positions: list[int] = []
    constrained: list[int] = []
    score_rows: list[int] = []
    score_tokens: list[int] = []
    score_top: int = 0
    pool_rows: list[int] = []
    pool_counts: list[int] = []
    shared: list[SharedSlots] = []


class StepOutput(msgspec.Struct):
    """What a step came to, on the host.

    tokens [S]; near_ties [S]: True where logits 1e-4 apart might have made it another token.
    logprobs: per sample (token's own, alternatives) where asked. scores: per scored token, alike.
    banned: samples for which a logit_bias of -inf left no token. broken: those whose logits are no
    numbers (NaN).
    pooled: per pool count the sum of its hidden states, in parts [2, hidden size] (pooling.py);
    None from a model that tells none.
    """

    tokens: list[int]
    near_ties: list[bool] = []
    logprobs: dict[int, tuple[float, list[tuple[int, float]]]] = {}
    scores: list[tuple[float, list[tuple[int, float]]]] = []
    banned: list[int] = []
    broken: list[int] = []
    pooled: list[NDArray[np.float64]] | None = None
