"""What the sequences that ask for penalties have generated: kept beside the model, so that a step
need not wait for the host to know the last one's tokens."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..kernels.device import put, uses_triton
from ..kernels.sampling import penalise
from .plan import SeatParams

_MOST = 1e20
_NOBODY = np.empty(0, dtype=np.int64)


class PenaltyTable:
    """One row of counts per seat that asks for penalties; V the vocabulary's size.

    Memory is 5 V bytes a row, and none before the first sequence asks.
    """

    def __init__(self, max_running: int, vocab: int, device: torch.device) -> None:
        self._row_of = np.full(max_running, -1, dtype=np.int64)
        self._free: list[int] = []
        self._factors = np.zeros((3, max_running), dtype=np.float32)
        self._counts = torch.zeros((0, vocab), dtype=torch.int32, device=device)
        self._seen = torch.zeros((0, vocab), dtype=torch.bool, device=device)

    def sit(self, params: SeatParams) -> None:
        """A sequence takes a seat; who had it before is gone."""
        seat, asked = params.seat, params.penalties
        if self._row_of[seat] >= 0:
            self._free.append(int(self._row_of[seat]))
            self._row_of[seat] = -1
        if asked is None:
            return
        row = self._row_of[seat] = self._take_row()
        repetition = min(max(asked.repetition, 1 / _MOST), _MOST)  # never infinity times zero
        self._factors[:, seat] = repetition, asked.frequency, asked.presence
        self._seen[row] = False
        self._seen[row, put(asked.prompt, self._seen.device)] = True
        generated = torch.from_numpy(asked.generated)
        counts = torch.bincount(generated, minlength=self._counts.shape[1])
        self._counts[row] = put(counts.int().numpy(), self._counts.device)

    def _take_row(self) -> int:
        if not self._free:
            have = len(self._counts)
            more = max(have, 1)
            self._counts = torch.cat((self._counts, self._counts.new_zeros(more, self._vocab)))
            self._seen = torch.cat((self._seen, self._seen.new_zeros(more, self._vocab)))
            self._free.extend(range(have, have + more))
        return self._free.pop()

    @property
    def _vocab(self) -> int:
        return self._counts.shape[1]

    def apply(self, logits: Tensor, seats: list[int]) -> None:
        """Penalise the rows of the seats that ask for it, in place. logits [S, V]."""
        asking, rows = self._asking(seats)
        if not len(asking):
            return
        device = logits.device
        repetition, frequency, presence = put(self._factors[:, np.array(seats)[asking]], device)
        given = {"repetition": repetition, "frequency": frequency, "presence": presence}
        which, rows_there = put(asking, device), put(rows, device)
        if uses_triton(logits):
            from ..kernels import triton_sampling

            triton_sampling.penalise(logits, which, self._counts, self._seen, rows_there, **given)
            return
        logits[which] = penalise(
            logits[which], self._counts[rows_there], self._seen[rows_there], **given
        )

    def count(self, tokens: Tensor, seats: list[int]) -> None:
        """The seats have got these tokens. tokens [S]."""
        asking, rows = self._asking(seats)
        if not len(asking):
            return
        chosen = tokens[put(asking, tokens.device)]
        self._counts[put(rows, tokens.device), chosen] += 1

    def asked(self, seats: list[int]) -> bool:
        """Whether any of the seats asks for penalties."""
        return len(self._asking(seats)[0]) > 0

    def _asking(self, seats: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Which of the samples ask for penalties, and the rows of their seats."""
        if len(self._free) == len(self._counts):
            return _NOBODY, _NOBODY
        rows = self._row_of[seats]
        asking = np.flatnonzero(rows >= 0)
        return asking, rows[asking]
