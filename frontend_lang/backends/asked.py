"""What a program sent to a backend that keeps it: for scripts, cassettes and assertions."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...grammar.spec import GrammarSpec
from ...types import SamplingParams
from .base import Call, Scoring, Tokenizer
from .byte_tokenizer import ByteTokenizer


@dataclass(frozen=True)
class Asked:
    """What one call of a program sent. choices: of a select, and `tail` the text before them that
    is encoded with each."""

    name: str | None
    path: tuple[int, ...]
    index: int
    where: str
    input_ids: list[int]
    params: SamplingParams | None = None
    grammar: GrammarSpec | None = None
    choices: tuple[str, ...] | None = None
    tail: str = ""
    tokenizer: Tokenizer = field(default_factory=ByteTokenizer, repr=False, compare=False)

    @property
    def prompt(self) -> str:
        """The text before the answer, special tokens spelled out."""
        return spelled(self.tokenizer, self.input_ids) + self.tail

    @property
    def label(self) -> str:
        """The call in a word: `gen('x')`."""
        kind = "select" if self.choices is not None else "gen"
        return f"{kind}({self.name!r})" if self.name is not None else f"unnamed {kind}"


def asked_by(call: Call, tokenizer: Tokenizer) -> Asked:
    """What a gen sent."""
    return Asked(
        name=call.name,
        path=call.path,
        index=call.index,
        where=call.where,
        input_ids=call.input_ids,
        params=call.params,
        grammar=call.grammar,
        tokenizer=tokenizer,
    )


def scored_by(scoring: Scoring, tokenizer: Tokenizer) -> Asked:
    """What a select sent."""
    return Asked(
        name=scoring.name,
        path=scoring.path,
        index=scoring.index,
        where=scoring.where,
        input_ids=scoring.input_ids[0][: scoring.start[0]],
        choices=scoring.choices,
        tail=scoring.tail,
        tokenizer=tokenizer,
    )


def spelled(tokenizer: Tokenizer, ids: list[int]) -> str:
    """The text of token ids, special ones as the tokenizer spells them."""
    return b"".join(map(tokenizer.token_bytes, ids)).decode("utf-8", errors="replace")
