"""Sums of hidden states that are the same however a prompt is cut: exact, so that no order counts.

Each number is rounded once, by itself, to a multiple of 2^-52, and told as two integers: how many
2^-20, and how many 2^-52 beside them. Sums of integers in float64 are exact below 2^53: here, while
a state's numbers sum to less than 2^33 over at most 2^22 rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

COARSE = 2.0**20
FINE = 2.0**32


def sum_rows(states: Tensor) -> Tensor:
    """The sum of `states` [T, hidden size] in two parts [2, hidden size], float64."""
    scaled = states.double() * COARSE
    coarse = scaled.round()
    fine = ((scaled - coarse) * FINE).round()
    parts = coarse.new_empty((2, states.shape[1]))
    parts[0], parts[1] = coarse.sum(0), fine.sum(0)
    return parts


def mean(parts: NDArray[np.float64], rows: int) -> NDArray[np.float32]:
    """What `rows` states, whose summed parts these are, are on average [hidden size]."""
    total = (parts[0] + parts[1] / FINE) / COARSE
    vector: NDArray[np.float32] = (total / rows).astype(np.float32)
    return vector
