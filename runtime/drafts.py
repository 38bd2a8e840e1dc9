"""Drafts of what a grammar forces: guesses that a step verifies.

Where a grammar leaves one way on, its bytes are known and its tokens are not: a model may spell
them in several ways. The tokenizer's way is guessed and run as rows of one step, each masked and
sampled with the noise of its own position; what is sampled is kept up to the first token that is
not the guess. So the tokens are those of plain decoding, whatever was guessed.

A guess that is right saves its sequence a step, one that is wrong costs a row. So a draft is as
long as its last guess is worth a row: likely enough to be right, by how the request's own guesses
did lately, for the share of a step's fixed cost that it saves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..errors import EspalierError
from ..grammar.kept import Kept
from ..grammar.matcher import Matcher
from .progress import Progress
from .step import Step
from .tokenizer import Tokenizer

AHEAD = 64  # bytes looked ahead
MOST = 16  # tokens of one draft
_RIGHT, _WRONG = 2.0, 1.0  # what a request is thought to have guessed before its first
_FADES = 0.98  # what a token that brings no draft leaves of what is known
_KEPT_BYTES = 1 << 20


class Drafts:
    """Of one engine. vocab_size: of the model, which may know fewer tokens than the tokenizer.
    fixed_rows: rows that take as long as what a step costs without any."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, fixed_rows: int) -> None:
        self._fixed_rows = fixed_rows
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._spelled: Kept[bytes, tuple[int, ...]] = Kept(_KEPT_BYTES)

    def follow(
        self,
        step: Step,
        live: Mapping[int, Progress],
        fail: Callable[[Progress, Exception], None],
    ) -> None:
        """See what a step's drafts came to, and make new ones. fail: told of a bug of ours."""
        for draft in step.drafts:
            progress = live.get(draft.seq.id)
            if progress is not None:
                progress.drafted_right += draft.right
                progress.drafted_wrong += draft.right < draft.rows - 1
        sampled = dict.fromkeys([step.samples[i].id for i in step.plan.constrained])
        batch = len(step.samples) - sum([draft.rows - 1 for draft in step.drafts])
        for number in sampled:
            progress = live.get(number)
            if progress is not None and progress.matcher is not None and progress.drafts:
                try:
                    progress.seq.draft = self._propose(progress, progress.matcher, batch)
                except EspalierError:  # too large a grammar: it may never come there
                    progress.seq.draft = ()
                except Exception as error:
                    fail(progress, error)

    def _propose(self, progress: Progress, matcher: Matcher, batch: int) -> tuple[int, ...]:
        most = self._worth(progress, batch)
        if not most:
            progress.drafted_right *= _FADES
            progress.drafted_wrong *= _FADES
            return ()
        forced = matcher.forced_bytes(AHEAD)
        return self.tokens(forced)[:most] if len(forced) > 1 else ()

    def _worth(self, progress: Progress, batch: int) -> int:
        """How many guesses are worth a row. One that is right needs none of its own, as its token
        needed one anyway."""
        right, wrong = _RIGHT + progress.drafted_right, _WRONG + progress.drafted_wrong
        likely = chance = right / (right + wrong)
        gain = 1 + self._fixed_rows / batch
        most = 0
        while most < MOST and chance * gain >= 1:
            most += 1
            chance *= likely
        return most

    def tokens(self, forced: bytes) -> tuple[int, ...]:
        """The tokenizer's spelling of a text that stands behind others."""
        found = self._spelled.get(forced)
        if found is None:
            found = self._spell(forced)
            self._spelled.put(forced, found, 200 + len(forced) + 8 * len(found))
        return found

    def _spell(self, forced: bytes) -> tuple[int, ...]:
        try:
            text = forced.decode()
        except UnicodeDecodeError as error:  # a character is open at either end
            text = forced[: error.start].decode()
        try:
            ids = self._tokenizer.encode(text, continues=True)
        except EspalierError:  # it cannot say how it spells a text behind another
            return ()
        if len(forced) == AHEAD:
            ids = ids[:-1]  # which might be longer
        known = next((i for i, token in enumerate(ids) if token >= self._vocab_size), len(ids))
        return tuple(ids[: min(known, MOST)])
