"""One request's way through a grammar: masks out, tokens in.

Every state passed is kept, so that `rollback` and `copy` cost nothing. Not thread-safe; matchers of
one vocabulary share caches and belong to one thread.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InvalidRequestError
from .forced import LIMIT, forced_bytes
from .machine import Config

if TYPE_CHECKING:
    from .compiler import CompiledGrammar

LIKELY = 4  # masks that `prepare` makes


class _Place:
    """A configuration after some token, and the place before it. ended: by an EOS token."""

    __slots__ = ("before", "config", "ended")

    def __init__(self, config: Config, before: _Place | None, ended: bool) -> None:
        self.config = config
        self.before = before
        self.ended = ended


class Matcher:
    """Made by `CompiledGrammar.matcher`. A matcher never stands where no end can be reached."""

    __slots__ = ("_grammar", "_place")

    def __init__(self, grammar: CompiledGrammar, place: _Place | None = None) -> None:
        self._grammar = grammar
        self._place = place or _Place(grammar.machine.start, None, False)

    # -- where it stands ---------------------------------------------------------------------------

    @property
    def can_end(self) -> bool:
        """The text so far is complete: an EOS token is allowed."""
        return self._place.config.can_end

    @property
    def must_end(self) -> bool:
        """The text so far is complete and nothing can follow."""
        return self._place.config.can_end and not self._place.config.threads

    @property
    def is_terminated(self) -> bool:
        """An EOS token was accepted."""
        return self._place.ended

    def distance(self) -> int:
        """Tokens needed to complete the text, at most (an upper bound, EOS not counted)."""
        self._grammar.machine.begin()
        return self._grammar.budget.distance(self._place.config)

    def forced_bytes(self, limit: int = LIMIT) -> bytes:
        """The bytes that every continuation must begin with, `limit` of them at most; empty where
        the text may end."""
        if self._place.ended:
            return b""
        self._grammar.machine.begin()
        return forced_bytes(self._grammar.machine, self._place.config, limit)

    # -- masks -------------------------------------------------------------------------------------

    def fill_mask(self, out: np.ndarray, remaining: int | None = None) -> None:
        """Writes the mask into `out`, uint32[words]: token t is allowed where bit t & 31 of word
        t >> 5 is set. EOS tokens are allowed exactly where `can_end`; once terminated, they alone.

        remaining: tokens the request may still generate, the next one included and EOS not counted;
        tokens after which the text could not be completed in time are withheld (`budget.py`).
        """
        pool = self._grammar.pool
        row = self._row(remaining)
        pool.touch(row)
        if out.shape != (pool.words,):
            raise InvalidRequestError(
                expected=f"uint32[{pool.words}]", got=f"{out.dtype}{list(out.shape)}", where="out"
            )
        np.copyto(out, pool.rows[row])

    def mask_row(self, remaining: int | None = None) -> int:
        """The number of the pool's row that `fill_mask` would write; it stays what it is until
        `pool.begin_step`."""
        return self._grammar.pool.hand_out(self._row(remaining))

    def _row(self, remaining: int | None) -> int:
        grammar, place = self._grammar, self._place
        if place.ended:
            return grammar.rows.pool.add(grammar.rows.eos)[0]
        grammar.machine.begin()
        if remaining is None:
            return grammar.rows.row(grammar.machine, place.config)
        return grammar.budget.row(place.config, remaining)

    def prepare(self, remaining: int | None = None) -> Iterator[None]:
        """Makes masks that are likely to be wanted after the next token, one at each step of the
        iteration, while somebody has nothing better to do. remaining: as in `fill_mask`, then.

        Where few tokens are allowed, what follows each of them; else what follows the terminals
        that may end here, for most other tokens lead to where masks are known.
        """
        grammar, config = self._grammar, self._place.config
        if self._place.ended:
            return
        for following in self._likely(config):
            grammar.machine.begin()
            if remaining is None:
                grammar.rows.row(grammar.machine, following)
            else:
                grammar.budget.row(following, remaining)
            yield

    def _likely(self, config: Config) -> list[Config]:
        machine, rows, vocabulary = (
            self._grammar.machine,
            self._grammar.rows,
            self._grammar.vocabulary,
        )
        machine.begin()
        words = rows.pool.rows[rows.row(machine, config)]
        bits = np.unpackbits(words.view(np.uint8), count=vocabulary.size, bitorder="little")
        allowed = np.flatnonzero(bits).tolist()
        found: dict[Config, None] = {}
        if len(allowed) <= LIKELY:
            for token in allowed:
                if token not in vocabulary.special_ids:
                    after = machine.token(config, token, vocabulary.tokens[token])
                    if after is not None:
                        found[after] = None
            return list(found)
        for node, kont in config.threads:
            if rows.inner(machine.cut(node)).exits:
                found[machine.after(kont)] = None
        return [after for after in found if after.threads][:LIKELY]

    # -- moves -------------------------------------------------------------------------------------

    def accept(self, token: int) -> bool:
        """Takes one token; False, and nothing changed, where the grammar does not allow it.

        An EOS token is taken where the text may end, and terminates. Once terminated, only EOS
        tokens are taken. Raises InvalidRequestError for an id outside the vocabulary.
        """
        place, grammar = self._place, self._grammar
        vocabulary = grammar.vocabulary
        if type(token) is not int:
            token = _as_id(token)
        if not 0 <= token < vocabulary.size:
            raise InvalidRequestError(
                expected=f"a token id in 0..{vocabulary.size - 1}", got=str(token), where="accept"
            )
        if token in vocabulary.special_ids:
            if token not in vocabulary.eos_ids or not place.config.can_end:
                return False
            self._place = _Place(place.config, place, True)
            return True
        text = vocabulary.tokens[token]
        if place.ended or not text:
            return False
        grammar.machine.begin()
        return self._move(grammar.machine.token(place.config, token, text))

    def accept_bytes(self, text: bytes) -> bool:
        """Takes `text` as if it were one token; False, and nothing changed, where it cannot."""
        if self._place.ended:
            return False
        self._grammar.machine.begin()
        return self._move(self._grammar.machine.accept(self._place.config, text))

    def _move(self, config: Config | None) -> bool:
        if config is None:
            return False
        self._place = _Place(config, self._place, False)
        return True

    def rollback(self, count: int) -> None:
        """Takes back the last `count` accepted tokens. Raises InvalidRequestError, and changes
        nothing, where fewer were accepted."""
        if count < 0:
            raise InvalidRequestError(expected="a number >= 0", got=str(count), where="rollback")
        place = self._place
        for taken in range(count):
            if place.before is None:
                raise InvalidRequestError(
                    expected=f"at most {taken} tokens (all that were accepted)",
                    got=str(count),
                    where="rollback",
                )
            place = place.before
        self._place = place

    def copy(self) -> Matcher:
        """An independent matcher that stands at the same place, with the same past."""
        return Matcher(self._grammar, self._place)


def _as_id(token: object) -> int:
    """numpy's integers are ids, too."""
    try:
        if not isinstance(token, bool):
            return operator.index(token)  # type: ignore[arg-type]
    except TypeError:
        pass
    raise InvalidRequestError(expected="a token id", got=repr(token)[:80], where="accept") from None
