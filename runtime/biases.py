"""Logit biases, bans, and end tokens held back: tensors made once, when a sequence takes its seat.
A bias on each token of a vocabulary would cost every step a quarter of a second in Python.

Three ranks of unwanted tokens, all finite so that their order holds: by the strongest bias, by
min_tokens (taken still where a grammar leaves no other), by a bias of -inf (never taken).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..kernels.device import put, put_ints, uses_triton
from .plan import SeatParams

_MOST = 1e28
_HELD = -1e30
_BANNED = -1e33


class _Changes(NamedTuple):
    """Added to the logits of `tokens`: `values`. before: the position up to which it holds."""

    tokens: Tensor
    values: Tensor
    before: int | None = None


class BiasTable:
    """What each seat adds to its logits; nothing for the seats that ask for nothing."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._biases: dict[int, _Changes] = {}
        self._bans: dict[int, _Changes] = {}
        self._held: dict[int, _Changes] = {}

    def sit(self, params: SeatParams) -> None:
        """A sequence takes a seat; who had it before is gone."""
        seat, bias = params.seat, params.bias
        for table in (self._biases, self._bans, self._held):
            table.pop(seat, None)
        wanted = [(token, value) for token, value in bias if value != -math.inf]
        if wanted:
            values = [min(max(value, -_MOST), _MOST) for _, value in wanted]
            self._biases[seat] = self._changes([token for token, _ in wanted], values)
        if len(wanted) < len(bias):
            banned = [token for token, value in bias if value == -math.inf]
            self._bans[seat] = self._changes(banned, [_BANNED] * len(banned))
        if params.banned:
            tokens = list(dict.fromkeys(params.banned))
            held = self._changes(tokens, [_HELD] * len(tokens))
            self._held[seat] = held._replace(before=params.first + params.min_tokens)

    def _changes(self, tokens: list[int], values: list[float]) -> _Changes:
        given = np.array(values, dtype=np.float32)
        return _Changes(put_ints(tokens, self._device), put(given, self._device))

    def asked(self, seats: list[int]) -> bool:
        """Whether any of the seats has a bias, a ban or tokens held back."""
        tables = self._biases, self._bans, self._held
        return any(seat in table for table in tables if table for seat in seats)

    def bias(self, logits: Tensor, seats: list[int]) -> None:
        """Add the seats' biases, in place. logits [S, V]."""
        self._add(self._biases, logits, seats, None)

    def ban(self, logits: Tensor, seats: list[int], positions: list[int]) -> bool:
        """Put down what must not come, in place: bans, and end tokens before `min_tokens`. True if
        any token is banned. positions [S]: of the new tokens."""
        self._add(self._held, logits, seats, positions)
        return self._add(self._bans, logits, seats, None)

    @staticmethod
    def refused(chosen: Tensor) -> Tensor:
        """Which of the logits of chosen tokens are of banned ones: nothing else was left."""
        return chosen < 10 * _HELD

    @staticmethod
    def _add(
        table: dict[int, _Changes], logits: Tensor, seats: list[int], positions: list[int] | None
    ) -> bool:
        """Whether any seat is in the table."""
        if not table:
            return False
        found = [(i, table[seat]) for i, seat in enumerate(seats) if seat in table]
        holding = [
            (i, change)
            for i, change in found
            if change.before is None or positions is None or positions[i] < change.before
        ]
        if holding and uses_triton(logits):  # one kernel, however many rows
            from ..kernels import triton_sampling

            rows = np.repeat([i for i, _ in holding], [len(c.tokens) for _, c in holding])
            tokens = torch.cat([change.tokens for _, change in holding])
            values = torch.cat([change.values for _, change in holding])
            triton_sampling.add(logits, put(rows, logits.device), tokens, values)
        else:
            for i, change in holding:
                logits[i].index_add_(0, change.tokens, change.values)
        return bool(found)
