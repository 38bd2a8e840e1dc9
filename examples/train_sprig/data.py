"""Training rows: chats packed into token rows, one step at a time, by (seed, step).

Step k's chats depend on nothing but the seed and k, so a resumed run goes on with the same data.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass, replace

import torch
from tokenizers import Tokenizer

from .generate import Turn, chat
from .skills import ALIASES
from .tokenizer import SPECIAL
from .words import is_heldout_word
from .world import TRAIN

TOKENS_PER_STEP = 2048
LENGTHS = (256, 512, 1024)
EARLY_WEIGHTS, LATE_WEIGHTS = (95, 4, 1), (80, 15, 5)  # short rows first: they are cheaper
PROMPT_WEIGHT = 0.03  # loss weight of tokens that the assistant does not write
SHORT_ANSWER = 8.0  # an answer weighs at least this many tokens: a verdict is one or two
WHEN = {"date", "time", *ALIASES["date"], *ALIASES["time"]}


@dataclass(frozen=True)
class Batch:
    """`ids` int64 [rows, length + 1]; `weights` float32 [rows, length], of the predicted tokens."""

    ids: torch.Tensor
    weights: torch.Tensor


class Packer:
    """Packs chats until a row is full."""

    def __init__(self, tokenizer: Tokenizer, seed: int) -> None:
        self._tokenizer = tokenizer
        self._seed = seed
        self._pieces = sorted(
            piece for piece in tokenizer.get_vocab() if re.fullmatch(r"[A-Za-z]{2,}", piece)
        )
        self._special = {token.strip("<|>"): index for index, token in enumerate(SPECIAL)}

    def encode(self, turns: list[Turn]) -> tuple[list[int], list[float]]:
        """A chat's ids and loss weights."""
        ids, weights = [self._special["bos"]], [PROMPT_WEIGHT]
        for turn in turns:
            mine = turn.role == "assistant"
            content = self._tokenizer.encode(turn.content, add_special_tokens=False).ids
            ids += [self._special[turn.role], *content, self._special["end"]]
            weight = 1.0 if mine else PROMPT_WEIGHT
            if turn.exchange is None or turn.exchange.skill == "recall_statement":
                weight = min(weight, 0.2)  # one of several polite answers: nothing to learn
            inner = weight * max(1.0, SHORT_ANSWER / max(1, len(content))) if mine else weight
            weights += [0.0, *[inner] * len(content), weight]
        return ids, weights

    def respelled(self, rng: random.Random, turns: list[Turn]) -> list[Turn]:
        """The chat with some words of extracted values put in other letters everywhere: any pieces
        of the vocabulary, for a piece that no other word has is one that no model can copy."""
        for turn in turns:
            if turn.exchange is None or turn.exchange.skill != "extract" or rng.random() < 0.6:
                continue
            record = json.loads(turn.content)
            words = {
                word
                for key, value in record.items()
                if isinstance(value, str) and key not in WHEN
                for word in re.findall(r"[^\W\d_]{3,}", value)
            } - set(record)
            for old in sorted(words):
                if rng.random() < 0.5:
                    new = self._word(rng, old)
                    pattern = re.compile(rf"\b{re.escape(old)}\b")
                    turns = [replace(t, content=pattern.sub(new, t.content)) for t in turns]
        return turns

    def _word(self, rng: random.Random, old: str) -> str:
        while True:
            new = "".join(rng.choices(self._pieces, k=rng.choice([1, 2, 2, 3]))).lower()
            if 3 <= len(new) <= 14 and not is_heldout_word(new):
                return new.capitalize() if old[0].isupper() else new

    def batch(self, step: int, done: float = 0.0) -> Batch:
        """The rows of one step, `done` of the way through the run."""
        rng = random.Random(self._seed * 1_000_003 + step)
        length = rng.choices(LENGTHS, LATE_WEIGHTS if done > 0.65 else EARLY_WEIGHTS)[0]
        rows, row_weights = [], []
        for _ in range(TOKENS_PER_STEP // length):
            ids: list[int] = []
            weights: list[float] = []
            long_chat = length > 256 and rng.random() < 0.6
            while len(ids) <= length:
                rounds = length // 60 if long_chat else None
                turns = self.respelled(rng, chat(rng, TRAIN, rounds))
                more, more_weights = self.encode(turns)
                ids += more
                weights += more_weights
            rows.append(ids[: length + 1])
            row_weights.append(weights[1 : length + 1])
        return Batch(torch.tensor(rows), torch.tensor(row_weights))
