"""What a caller asks of the engine: the message that crosses the process border."""

from __future__ import annotations

from typing import Literal

import msgspec

from ..grammar.spec import GrammarSpec
from ..types import Hold, SamplingParams

Pooling = Literal["mean", "last"]
POOLINGS: tuple[Pooling, ...] = ("mean", "last")
DETERMINISTIC = "\0deterministic"  # ends the namespace of those who ask for it


class Request(msgspec.Struct, kw_only=True):
    """One sequence to run.

    id: unique in one engine. prompt: token ids. seed, index: key the noise (P3); `n` samples are n
    requests that differ in `index` alone. namespace: prefixes are shared only inside one.
    priority: higher goes first. deadline: seconds from submission.
    score_from: report the raw log probability of each prompt token from this position (>= 1) on.
    generate: False ends the request after its scores. stream: report tokens as they come.
    pooling: the answer is an embedding: the mean of the last layer's normed states, or the last
    token's; then `generate` is False.
    holds: soft pins on the sequence, once it has ended by itself.
    """

    id: int
    prompt: list[int]
    params: SamplingParams
    seed: int
    index: int = 0
    grammar: GrammarSpec | None = None
    namespace: str = ""
    priority: int = 0
    deadline: float | None = None
    score_from: int | None = None
    generate: bool = True
    stream: bool = False
    pooling: Pooling | None = None
    holds: list[Hold] = []
