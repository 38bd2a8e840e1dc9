"""Training rows: chats packed into token rows, one step at a time, by (seed, step).

Step k's rows depend on nothing but the seed and k, so a resumed run goes on with the same data.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

from .generate import Turn, chat
from .world import TRAIN

TOKENS_PER_STEP = 4096
LENGTHS, LENGTH_WEIGHTS = (256, 512, 1024), (76, 16, 8)
PROMPT_WEIGHT = 0.1  # loss weight of tokens that the assistant does not write


@dataclass(frozen=True)
class Batch:
    """`ids` int64 [rows, length + 1]; `weights` float32 [rows, length], of the predicted tokens."""

    ids: torch.Tensor
    weights: torch.Tensor


class Packer:
    """Packs chats; now and then encodes what others said with BPE dropout, so that copying holds
    for unusual splits too."""

    def __init__(self, tokenizer: Tokenizer, seed: int) -> None:
        self._plain = tokenizer
        self._dropout = Tokenizer.from_str(tokenizer.to_str())
        self._dropout.model.dropout = 0.1
        self._seed = seed
        self._special = {role: tokenizer.token_to_id(f"<|{role}|>")
                         for role in ("bos", "end", "system", "user", "assistant")}

    def encode(self, turns: list[Turn], dropout: bool = False) -> tuple[list[int], list[float]]:
        """A chat's ids and loss weights."""
        ids, weights = [self._special["bos"]], [PROMPT_WEIGHT]
        for turn in turns:
            mine = turn.role == "assistant"
            tokenizer = self._dropout if dropout and not mine else self._plain
            content = tokenizer.encode(turn.content, add_special_tokens=False).ids
            ids += [self._special[turn.role], *content, self._special["end"]]
            weight = 1.0 if mine else PROMPT_WEIGHT
            weights += [0.0, *[weight] * len(content), weight]
        return ids, weights

    def batch(self, step: int) -> Batch:
        """The rows of one step."""
        rng = random.Random(self._seed * 1_000_003 + step)
        length = rng.choices(LENGTHS, LENGTH_WEIGHTS)[0]
        rows, row_weights = [], []
        for _ in range(TOKENS_PER_STEP // length):
            ids: list[int] = []
            weights: list[float] = []
            long_chat = length > 256 and rng.random() < 0.6
            while len(ids) <= length:
                rounds = length // 60 if long_chat else None
                more, more_weights = self.encode(chat(rng, TRAIN, rounds), rng.random() < 0.12)
                ids += more
                weights += more_weights
            rows.append(ids[:length + 1])
            row_weights.append(weights[1:length + 1])
        return Batch(torch.tensor(rows), torch.tensor(row_weights))
