"""Sums of hidden states: the same bits in any order and any pieces, and the right number."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch

from espalier.runtime.pooling import mean, sum_rows


def _states(rows: int, seed: int) -> torch.Tensor:
    """Of all sizes: in float64 the order of their sum shows."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(-30, 21, (rows, 64), generator=generator)
    return torch.randn((rows, 64), generator=generator) * torch.exp2(sizes)


def _in_pieces(states: torch.Tensor, draw: random.Random) -> np.ndarray:
    total = np.zeros((2, states.shape[1]))
    start = 0
    while start < len(states):
        stop = min(len(states), start + draw.randint(1, 40))
        total = total + sum_rows(states[start:stop]).numpy()
        start = stop
    return mean(total, len(states))


@pytest.mark.parametrize("seed", range(5))
def test_any_order_and_any_pieces_give_the_same_bits(seed: int) -> None:
    draw = random.Random(seed)
    states = _states(300, seed)
    found = mean(sum_rows(states).numpy(), len(states))
    assert found.dtype == np.float32
    for _ in range(20):
        order = torch.tensor(draw.sample(range(300), 300))
        assert np.array_equal(_in_pieces(states[order], draw), found)
    for at in range(64):
        wanted = math.fsum(states[:, at].tolist()) / 300
        assert found[at] == pytest.approx(wanted, rel=2**-24, abs=2**-52)
    wide = states.double()
    orders = (torch.tensor(draw.sample(range(300), 300)) for _ in range(20))
    sums = {tuple(np.add.reduce(wide[order].numpy()).tolist()) for order in orders}
    assert len(sums) > 1, "these states prove nothing: float64 sums them alike in any order"


def test_one_state_is_itself() -> None:
    state = torch.randn((1, 100), generator=torch.Generator().manual_seed(1))
    assert np.array_equal(mean(sum_rows(state).numpy(), 1), state[0].numpy())
