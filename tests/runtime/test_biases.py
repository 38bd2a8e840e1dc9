"""Biases against their sum by hand; what they do to tokens, test_sampling_reference.py tells."""

from __future__ import annotations

import math
import time
from typing import Any

import torch

from espalier.runtime.biases import BiasTable
from espalier.runtime.plan import SeatParams

VOCAB = 100_000


def _params(seat: int, **more: Any) -> SeatParams:
    plain: dict[str, Any] = {
        "seed": 0,
        "index": 0,
        "temperature": 0.0,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
        "bias": (),
        "banned": (),
        "min_tokens": 0,
        "first": 5,
        "logprobs": None,
    }
    return SeatParams(seat=seat, **plain | more)


def test_each_seat_has_its_own() -> None:
    table = BiasTable(torch.device("cpu"))
    table.sit(_params(0, bias=((1, 2.0), (3, -math.inf))))
    table.sit(_params(1, banned=(2, 4), min_tokens=2))
    table.sit(_params(2))
    logits = torch.zeros(4, 6)
    seats, positions = [2, 1, 0, 1], [5, 6, 5, 7]
    table.bias(logits, seats)
    assert logits.nonzero().tolist() == [[2, 1]]
    assert table.ban(logits, seats, positions)
    assert logits.nonzero().tolist() == [[1, 2], [1, 4], [2, 1], [2, 3]]
    order = [float(logits[2, 3]), float(logits[1, 2]), -1e28, float(logits[2, 1])]
    assert order == sorted(order)
    assert table.refused(logits[2, [3, 1]]).tolist() == [True, False]
    table.sit(_params(0))
    logits = torch.zeros(1, 6)
    table.bias(logits, [0])
    assert not table.ban(logits, [0], [5])
    assert not logits.any()


def test_a_bias_on_every_token_does_not_hold_steps_up() -> None:
    """It took 0.25 s a step."""
    table = BiasTable(torch.device("cpu"))
    table.sit(_params(0, bias=tuple((token, -1.0) for token in range(VOCAB))))
    logits = torch.zeros(2, VOCAB)
    seconds = []
    for _ in range(9):
        begin = time.thread_time()
        table.bias(logits, [1, 0])
        seconds.append(time.thread_time() - begin)
    assert min(seconds) < 0.02
    assert logits[1].unique().tolist() == [-9.0]
    assert not logits[0].any()
