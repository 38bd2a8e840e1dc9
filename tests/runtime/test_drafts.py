"""Drafts: whatever is guessed, the tokens are those of plain decoding, and right guesses save
steps."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from espalier.benchmarks.soak_cases import GRAMMARS
from espalier.errors import GrammarError
from espalier.grammar import GrammarCompiler, GrammarSpec, Vocabulary
from espalier.runtime.client import InlineLink
from espalier.runtime.drafts import AHEAD, MOST, Drafts
from espalier.runtime.engine import Engine
from espalier.runtime.masking import Masking
from espalier.runtime.model_runner import Masks
from espalier.runtime.progress import Progress
from espalier.runtime.request import Request
from espalier.runtime.sequence import Sequence
from espalier.runtime.step import Draft, Step
from espalier.types import Result, SamplingParams
from tests.cores import Harness
from tests.simulated_runner import FailingRunner, answer
from tests.tiny_tokenizers import made

# -- guesses of any kind, over a runner that knows what was written where --------------------------


def _oracle(harness: Harness, seq: Sequence, count: int) -> list[int]:
    """The next tokens of a running sequence."""
    request = harness.requests[seq.id]
    done = seq.generated
    tokens = answer(
        request.prompt, done + count, seed=request.seed, index=request.index, vocab=harness.vocab
    )
    return tokens[done:]


def _guess(harness: Harness, rng: random.Random, right: float) -> None:
    """Drafts for all that run, each token right with a probability."""
    for seq in harness.scheduler.running.values():
        tokens = _oracle(harness, seq, rng.randint(0, 7))
        seq.draft = tuple(
            token if rng.random() < right else rng.randrange(harness.vocab) for token in tokens
        )


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("right", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("page", [1, 4])
def test_any_guess_leaves_the_tokens_as_they_are(overlap: bool, right: float, page: int) -> None:
    """In too few slots, with steps too small for all, cancels and retracts."""
    rng = random.Random(int(10 * right) + page + overlap)
    harness = Harness(
        capacity=64, page_size=page, overlap=overlap, step_tokens=24, headroom=2, max_running=5
    )
    for _ in range(40):
        prompt = [rng.randrange(5) for _ in range(rng.randint(1, 12))]
        harness.submit(prompt, rng.choice([1, 2, 9, 30]), seed=rng.choice([0, 0, 3]))
    while not harness.core.idle:
        _guess(harness, rng, right)
        harness.step()
        if rng.random() < 0.02:
            harness.core.cancel(rng.randint(1, 40))
    harness.check_results()
    harness.check_all_returned()
    counters = harness.scheduler.counters
    assert counters.drafted_tokens > 50
    assert counters.retractions > 0
    assert (counters.accepted_tokens == counters.drafted_tokens) == (right == 1.0)


@pytest.mark.parametrize(("overlap", "steps"), [(False, 6), (True, 10)])
def test_right_guesses_save_steps(overlap: bool, steps: int) -> None:
    """32 tokens: one of the prompt's step, then eight a step; late, only every other step."""
    harness = Harness(overlap=overlap)
    harness.submit([1, 2, 3], 32)
    while not harness.core.idle:
        for seq in harness.scheduler.running.values():
            unread = seq.length - seq.known
            seq.draft = tuple(_oracle(harness, seq, 7 + unread))
        harness.step()
    harness.check_results()
    counters = harness.scheduler.counters
    assert counters.drafted_tokens == counters.accepted_tokens >= 24
    assert counters.steps <= steps


def test_who_decodes_plainly_is_not_held_up() -> None:
    """Each has a row of its own before anybody has a draft."""
    harness = Harness(step_tokens=4, max_running=4)
    for first in range(4):
        harness.submit([first, 1], 9)
    while len(harness.scheduler.running) < 4 or any(
        seq.prefilling for seq in harness.scheduler.running.values()
    ):
        harness.step()
    before = harness.scheduler.counters.generated_tokens
    one, *_ = harness.scheduler.running.values()
    one.draft = tuple(_oracle(harness, one, 4))
    harness.step()
    assert harness.scheduler.counters.generated_tokens == before + 4
    assert harness.scheduler.counters.drafted_tokens == 0


def test_a_draft_that_failed_with_its_step_leaves_nothing() -> None:
    failing = FailingRunner  # with overlap, two of them are named by a later step only: they go on
    harness = Harness(overlap=False, wrap=lambda runner: failing(runner, {"collect": {2}}))
    numbers = [harness.submit([4, first], 9) for first in range(3)]
    while not harness.core.idle:
        _guess(harness, random.Random(1), 0.8)
        harness.step()
    assert all(harness.results[number].finish_reason == "error" for number in numbers)
    harness.check_all_returned()


# -- what a grammar forces, spelled by a tokenizer -------------------------------------------------


@pytest.fixture(autouse=True)
def _rows_are_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("espalier.runtime.build._fixed_rows", lambda device: 128)


@pytest.fixture(scope="module")
def folder(tiny_model: Callable[..., Any]) -> str:
    return str(tiny_model("llama3", text=True).folder)


LONG = GrammarSpec.json_schema(
    {
        "type": "object",
        "properties": {
            "the quick brown fox": {"enum": ["jumps over the lazy dog", "sleeps"]},
            "over the lazy": {"type": "integer", "minimum": 100, "maximum": 101},
            "brown": {"const": "the quick brown fox jumps over the lazy dog"},
        },
        "required": ["the quick brown fox", "over the lazy", "brown"],
        "additionalProperties": False,
    }
)


def _run(folder: str, grammars: list[GrammarSpec], **options: Any) -> tuple[list[Result], Any]:
    options = {"inline": True, "device": "cpu"} | options
    with Engine(folder, **options) as engine:
        results = engine.generate(
            input_ids=[[5, 6, 7 + number] for number in range(3 * len(grammars))],
            sampling_params=[
                SamplingParams(max_tokens=90, temperature=number % 3 * 0.7, seed=number, logprobs=1)
                for number in range(3 * len(grammars))
            ],
            grammar=[spec for spec in grammars for _ in range(3)],
        )
        engine.check_invariants()
        return results, engine.stats()


def _same(one: list[Result], other: list[Result]) -> bool:
    return all(
        (a.token_ids, a.text, a.finish_reason, a.near_ties)
        == (b.token_ids, b.text, b.finish_reason, b.near_ties)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize(
    "options",
    [{}, {"overlap": True}, {"page_size": 8, "max_total_tokens": 400}, {"deterministic": True}],
    ids=["plain", "late", "pages", "deterministic"],
)
def test_the_tokens_are_those_without_drafts(folder: str, options: dict[str, Any]) -> None:
    grammars = [LONG, *GRAMMARS]
    plain, without = _run(folder, grammars, drafts=False, **options)
    drafted, counters = _run(folder, grammars, **options)
    assert without["drafted_tokens"] == 0 < counters["drafted_tokens"]
    assert _same(plain, drafted)
    for one, other in zip(plain, drafted, strict=True):
        assert one.logprobs is not None
        assert other.logprobs is not None
        assert [p.token_id for p in one.logprobs] == [p.token_id for p in other.logprobs]
        for a, b in zip(one.logprobs, other.logprobs, strict=True):
            exact = "deterministic" in options
            assert a.logprob == pytest.approx(b.logprob, rel=0, abs=0 if exact else 1e-4)


def test_forced_text_takes_few_steps(folder: str) -> None:
    """The null engine takes the lowest token allowed: single bytes; where they are the
    tokenizer's own spelling, a draft is right."""
    spec = GrammarSpec.regex("<{40}")
    with Engine("null", tokenizer=folder, inline=True) as engine:
        assert isinstance(engine.link, InlineLink)
        [result] = engine.generate(
            input_ids=[[1]], sampling_params=SamplingParams(max_tokens=60), grammar=spec
        )
        counters = engine.stats()
    assert result.text == "<" * 40
    assert result.incomplete is None
    assert counters["accepted_tokens"] >= 30
    assert counters["steps"] < 12


def test_no_draft_where_a_penalty_asks_what_came_before(folder: str) -> None:
    with Engine(folder, inline=True, device="cpu") as engine:
        engine.generate(
            input_ids=[[1]],
            sampling_params=SamplingParams(max_tokens=60, frequency_penalty=0.5),
            grammar=LONG,
        )
        assert engine.stats()["drafted_tokens"] == 0


def test_how_a_forced_text_is_spelled() -> None:
    tokenizer = made("byte-level")
    drafts = Drafts(tokenizer, tokenizer.vocab_size, 1)
    assert drafts.tokens(b"the lazy") == tuple(tokenizer.encode("the lazy"))
    assert drafts.tokens("é".encode() + b"\xc3") == tuple(tokenizer.encode("é"))
    assert drafts.tokens(b"\xa9") == ()
    assert len(drafts.tokens(b"z" * AHEAD)) == MOST
    half = tokenizer.encode(" fox" * (AHEAD // 4))[:-1]
    assert drafts.tokens(b" fox" * (AHEAD // 4)) == tuple(half[:MOST])
    first, *_ = tokenizer.encode("the lazy")
    assert Drafts(tokenizer, first, 1).tokens(b"the lazy") == ()


class _Followed:
    """One request under a grammar that forces something everywhere, among others, and what its
    drafts came to."""

    def __init__(self, fixed_rows: int, batch: int) -> None:
        self.drafts = Drafts(made("byte-level"), 406, fixed_rows)
        request = Request(id=1, prompt=[1], params=SamplingParams(), seed=0)
        self.seq = Sequence(request, max_length=99)
        self.batch = batch
        progress = Progress(self.seq, None)
        compiler = GrammarCompiler(Vocabulary([b"", b"a"], [0], [0]))
        progress.matcher = compiler.compile(GrammarSpec.regex("a{50}")).matcher()
        self.live = {1: progress}

    def after(self, right: int | None = None, rows: int = 3) -> int:
        """The tokens that it drafts after a step with such a draft, or without one."""
        others = [Sequence(self.seq.request, max_length=9) for _ in range(self.batch - 1)]
        step = Step(0, 99)
        extra = 0 if right is None else rows - 1
        step.samples, step.plan.constrained = [self.seq] * (1 + extra) + others, [0]
        if right is not None:
            step.drafts = [Draft(self.seq, (5,) * extra, 0, 0, rows, right)]
        self.drafts.follow(step, self.live, self.fail)
        return len(self.seq.draft)

    def fail(self, _: Progress, error: Exception) -> None:
        raise error


def test_who_spells_otherwise_is_left_alone_for_a_while() -> None:
    one = _Followed(fixed_rows=5, batch=1)
    assert one.after() == 4  # (2/3)^4 of 6 rows
    assert [one.after(0) for _ in range(10)] == [2, 1, 1, 1, 1, 1, 1, 1, 1, 0]
    waited = next(count for count in range(1000) if one.after())
    assert waited < 60
    assert one.after(2) == 1
    assert [one.after(8, rows=9) for _ in range(20)][-1] == MOST
    assert one.after(0) > 4  # it was right before


@pytest.mark.parametrize(("batch", "most"), [(1, 4), (5, 1), (10, 1), (11, 0), (64, 0)])
def test_a_step_that_many_share_is_not_worth_a_guess(batch: int, most: int) -> None:
    """Unless guesses are mostly right."""
    one = _Followed(fixed_rows=5, batch=batch)
    assert one.after() == most
    assert one.after(300, rows=301) >= 4


def test_a_grammar_that_is_too_large_ahead_fails_nobody(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies ahead may never be reached: no draft, no error."""

    def large(*_: Any) -> bytes:
        raise GrammarError("too large")

    monkeypatch.setattr("espalier.grammar.matcher.forced_bytes", large)
    results, counters = _run(folder, [LONG])
    assert counters["drafted_tokens"] == 0
    assert all(result.error is None for result in results)


def test_masks_ahead_end_where_the_grammar_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guess that the grammar does not take ends a draft there, and so does an error beyond it."""
    compiler = GrammarCompiler(Vocabulary([b"", b"a", b"b"], [0], [0]))
    matcher = compiler.compile(GrammarSpec.regex("aab")).matcher()
    seq = Sequence(Request(id=1, prompt=[1], params=SamplingParams(), seed=0), max_length=9)
    for tokens, kept in [((1, 1, 2), 3), ((1, 2, 2), 1), ((2,), 0)]:
        masks = Masks()
        draft = Draft(seq, tokens, 0, 0, len(tokens) + 1)
        Masking(compiler.pool)._ahead(draft, matcher.copy(), 8, masks)
        assert len(draft.tokens) == len(masks.rows) == kept
        assert masks.samples == list(range(1, kept + 1))
    draft = Draft(seq, (1, 1), 0, 0, 3)
    monkeypatch.setattr(type(matcher), "mask_row", lambda *_: 1 // 0)
    Masking(compiler.pool)._ahead(draft, matcher.copy(), 8, Masks())
    assert draft.tokens == ()
