"""A request on its way: the scheduler's view of it. Ints only; knows nothing of text.

Positions count from the prompt's first token.

- `known`: tokens whose ids the host has read; `length - known` (0 or 1; of a draft that is being
  verified, at most its tokens) more are sampled by a launched step;
- `draft`: tokens that are guessed to follow the known ones (drafts.py);
- `room`: slots in `table`; `kv_len <= room`: positions whose KV is there or is being written by a
  launched step. The first `tree_len` slots belong to the tree (the path to `node`, which is
  locked), the rest to the sequence;
- `last_step`: the number of the latest step that names it;
- `asked`: the tree's number of the request (reuse.py);
- `namespace` is where its KV is shared, `tenant`, which is what stands before
  its first `+`, whose share it is served from;
- `pos`: the next position to run. It is below `kv_len` where KV is cached but logits are wanted:
  from `must_run_from` on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..types import TokenLogprob
from .plan import Ints, Penalties, SeatParams
from .request import DETERMINISTIC, Request

if TYPE_CHECKING:
    from ..radix_cache.node import Node

State = Literal["compiling", "waiting", "running", "finished"]
_NO_SLOTS: Ints = np.empty(0, dtype=np.int64)


class Sequence:
    """See the module's docstring. Times are of the scheduler's clock, in seconds.

    prompt: the request's as an array, which its samples share until they generate. max_length:
    tokens (prompt and generated) it may have. stop_ids: token ids that end it. accounted: prompt
    tokens already counted as cached, computed or shared. spoiled: its KV is no numbers (NaN), and
    not to be kept.
    """

    __slots__ = (
        "accounted",
        "arrival",
        "asked",
        "cached",
        "computed",
        "constrained",
        "draft",
        "finished_at",
        "first_token_at",
        "grammar_seconds",
        "id",
        "ids",
        "known",
        "kv_len",
        "last_step",
        "last_token",
        "length",
        "max_length",
        "must_run_from",
        "namespace",
        "node",
        "pooled",
        "pooled_rows",
        "pooling",
        "pos",
        "prefill_end",
        "priority",
        "promised",
        "prompt_len",
        "request",
        "retracted",
        "retractions",
        "room",
        "scores",
        "seat",
        "shared",
        "spoiled",
        "started",
        "state",
        "stop_ids",
        "submitted",
        "table",
        "tenant",
        "tree_len",
        "wants_scores",
    )

    def __init__(
        self,
        request: Request,
        prompt: Ints | None = None,
        *,
        max_length: int,
        stop_ids: frozenset[int] = frozenset(),
        submitted: float = 0.0,
    ) -> None:
        # A list of ints takes five times what the array below does: not kept while it waits.
        self.request = msgspec.structs.replace(request, prompt=[])
        self.id = request.id
        self.namespace = request.namespace
        self.tenant = request.namespace.partition("+")[0]
        # Its KV is of fixed shapes: no other may stand in for it.
        if request.params.deterministic:
            self.namespace += DETERMINISTIC
        self.priority = request.priority
        self.constrained = request.grammar is not None
        self.stop_ids = stop_ids
        self.max_length = max_length
        if prompt is None:
            prompt = np.array(request.prompt, dtype=np.int64)
        self.ids: Ints = prompt  # full, so that `append` writes to a copy
        self.prompt_len = self.prefill_end = len(prompt)
        self.known = self.length = self.prompt_len
        self.state: State = "compiling"
        self.retracted = self.spoiled = False
        self.retractions = 0
        self.arrival = self.seat = self.asked = 0
        self.last_step = self.last_token = -1
        self.draft: tuple[int, ...] = ()
        self.promised = 0  # tokens it may still generate, charged to its tenant when it was seated
        self.cached = self.computed = self.shared = self.accounted = 0
        self.scores: list[TokenLogprob] = []
        self.wants_scores = request.score_from is not None
        begin = request.score_from
        self.must_run_from = (self.prompt_len if begin is None else begin) - 1
        self.pooling = request.pooling
        if self.pooling == "mean":
            self.must_run_from = 0
        self.forget_pooled()
        self.submitted = submitted
        self.started = self.first_token_at = self.finished_at = self.grammar_seconds = 0.0
        self.clear_kv()

    def clear_kv(self) -> None:
        """Forget where its KV was."""
        self.table: Ints = _NO_SLOTS
        self.room = self.kv_len = self.tree_len = self.pos = 0
        self.node: Node | None = None

    def forget_pooled(self) -> None:
        """No hidden state has been added up."""
        self.pooled: NDArray[np.float64] | None = None
        self.pooled_rows = 0

    def restart(self) -> None:
        """Run again from the start, keeping the tokens it has."""
        self.retracted = True
        self.retractions += 1
        self.length = self.prefill_end = self.known
        self.draft = ()
        if self.pooling is not None:
            self.forget_pooled()
            return
        if self.wants_scores and len(self.scores) < self.scores_due:
            self.scores = []
        else:
            self.wants_scores = False
            self.must_run_from = self.known - 1

    @property
    def scores_due(self) -> int:
        begin = self.request.score_from
        return 0 if begin is None else self.prompt_len - begin

    @property
    def complete(self) -> bool:
        """Whether all that it was asked beside generating is there."""
        pooled = self.pooling is None or self.pooled_rows == self.pool_due
        return pooled and len(self.scores) == self.scores_due

    def score(self, told: list[tuple[float, list[tuple[int, float]]]]) -> None:
        """Log probabilities of its next prompt tokens, each with alternatives."""
        first = self.prompt_len - self.scores_due + len(self.scores)
        asked = self.request.params.prompt_logprobs or 0
        tokens = self.ids[first : first + len(told)].tolist()
        for token, (logprob, top) in zip(tokens, told, strict=True):
            self.scores.append(TokenLogprob(token, logprob, top[:asked]))
            self.spoiled |= math.isnan(logprob)

    def pool(self, parts: NDArray[np.float64], count: int) -> None:
        """`parts` is the sum of `count` rows' hidden states (pooling.py)."""
        self.pooled = parts if self.pooled is None else self.pooled + parts
        self.pooled_rows += count
        self.spoiled |= bool(np.isnan(parts).any())

    @property
    def generated(self) -> int:
        """Tokens generated and read back."""
        return self.known - self.prompt_len

    @property
    def end(self) -> int:
        """Where its rows end for now: a request that is only scored need not run its last token."""
        whole = self.request.generate or self.pooling is not None
        return self.length if whole else self.length - 1

    @property
    def pool_due(self) -> int:
        """Rows whose hidden states make its embedding."""
        return self.prompt_len - self.must_run_from

    @property
    def runnable(self) -> bool:
        return self.state == "running" and self.pos < self.end and self.length <= self.last_input

    @property
    def last_input(self) -> int:
        """The greatest length at which one more step is wanted."""
        return self.max_length - 1 if self.request.generate else self.max_length

    @property
    def prefilling(self) -> bool:
        return self.pos < self.prefill_end

    def append(self, token: int) -> None:
        """A sampled token is known."""
        if self.known == len(self.ids):
            grown = np.empty(self.known + max(256, self.known // 4), dtype=np.int64)
            grown[: self.known] = self.ids[: self.known]
            self.ids = grown
        self.ids[self.known] = self.last_token = token
        self.known += 1

    def settle(self) -> None:
        """A draft has been verified: it goes on from the last known token."""
        self.length = self.known
        self.pos = self.known - 1

    def set_slots(self, start: int, slots: Ints) -> None:
        """Write `table[start : start + len(slots)]`, growing it as needed."""
        stop = start + len(slots)
        if stop > len(self.table):
            self.enlarge(stop)
        self.table[start:stop] = slots

    def enlarge(self, stop: int) -> None:
        """Make place in `table` for `stop` slots at least."""
        grown = np.empty(max(stop, 2 * len(self.table), 64), dtype=np.int64)
        grown[: len(self.table)] = self.table
        self.table = grown

    def key(self, stop: int) -> Ints:
        """Cache keys of the first `stop` tokens (today the token ids themselves)."""
        return self.ids[:stop]

    def seat_params(self) -> SeatParams:
        """What the runner must know to sample for it."""
        params = self.request.params
        return SeatParams(
            seat=self.seat,
            seed=self.request.seed,
            index=self.request.index,
            temperature=params.temperature,
            top_k=params.top_k,
            top_p=params.top_p,
            min_p=params.min_p,
            bias=tuple(sorted(params.logit_bias.items())),
            banned=tuple(sorted(self.stop_ids)) if params.min_tokens else (),
            min_tokens=params.min_tokens,
            first=self.prompt_len,
            logprobs=params.logprobs,
            penalties=self._penalties(),
            deterministic=params.deterministic,
        )

    @property
    def penalised(self) -> bool:
        """Whether it asks for a penalty on tokens that were there before."""
        params = self.request.params
        factors = (params.repetition_penalty, params.frequency_penalty, params.presence_penalty)
        return factors != (1.0, 0.0, 0.0)

    def _penalties(self) -> Penalties | None:
        if not self.penalised:
            return None
        params = self.request.params
        factors = (params.repetition_penalty, params.frequency_penalty, params.presence_penalty)
        prompt, generated = self.ids[: self.prompt_len], self.ids[self.prompt_len : self.known]
        return Penalties(*factors, prompt.copy(), generated.copy())
