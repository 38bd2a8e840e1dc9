"""From tokens to text, stops, streams and results."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings, strategies as st

from espalier.errors import DeadlineError
from espalier.runtime.progress import Progress
from espalier.runtime.request import Request
from espalier.runtime.sequence import Sequence
from espalier.types import Chunk, Result, SamplingParams, TokenLogprob
from tests.cores import Harness
from tests.runtime.test_stopping import first_match
from tests.simulated_runner import answer
from tests.tiny_tokenizers import made

PROMPT = [70, 71, 72]
COUNT = 30


def _text(tokens: list[int], kind: str = "byte-level") -> str:
    return made(kind).decode(tokens, continues=True)


def _run(kind: str, seed: int, **more: Any) -> tuple[Result, list[Chunk]]:
    harness = Harness(tokenizer=made(kind))
    harness.submit(PROMPT, COUNT, seed=seed, **more)
    harness.run()
    return harness.results[1], harness.chunks


@settings(max_examples=80)
@given(
    seed=st.integers(1, 10_000),
    kind=st.sampled_from(["byte-level", "sentence-piece"]),
    cuts=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 6)), max_size=3),
    stream=st.booleans(),
)
def test_text_tokens_and_pieces_agree(
    seed: int, kind: str, cuts: list[tuple[int, int]], stream: bool
) -> None:
    """Stop strings are cut from the text itself, so that they begin and end anywhere in tokens."""
    tokens = answer(PROMPT, COUNT, seed=seed, vocab=made(kind).vocab_size)
    whole = _text(tokens, kind)
    stops = tuple(piece for at, size in cuts if (piece := whole[at : at + size]))
    result, chunks = _run(kind, seed, stop=stops, stream=stream)
    found = first_match(whole, stops)
    if found is None:
        assert (result.text, result.finish_reason) == (whole, "length")
        assert result.token_ids == tokens
    elif "\ufffd" in found[1]:
        assert whole.startswith(result.text)  # half a character may be decided later, or never
    else:
        at, stop = found
        assert (result.text, result.finish_reason) == (whole[:at], "stop")
        assert result.matched_stop == stop
        assert tokens[: len(result.token_ids)] == result.token_ids
        assert result.text.startswith(_text(result.token_ids, kind).rstrip("\ufffd"))
        # No whole token before the cut is missing.
        longer = _text(tokens[: len(result.token_ids) + 1], kind)
        assert len(longer) > at or longer.endswith("\ufffd") or longer == result.text
    assert tokens[: result.generated_tokens][: len(result.token_ids)] == result.token_ids
    assert [chunk.result is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    if not stream:
        assert len(chunks) == 1
        return
    assert "".join(chunk.text for chunk in chunks) == result.text
    assert [t for chunk in chunks for t in chunk.token_ids] == result.token_ids
    assert all(chunk.text or chunk.token_ids for chunk in chunks[:-1])


def test_a_stop_string_in_the_middle_of_a_token() -> None:
    tokenizer = made("byte-level")
    tokens = answer(PROMPT, COUNT, seed=4, vocab=tokenizer.vocab_size)
    wide = next(t for t in range(len(tokens)) if len(_text(tokens[t : t + 1])) > 2)
    piece = _text(tokens[wide : wide + 1])
    result, _ = _run("byte-level", 4, stop=piece[1:3])
    assert result.finish_reason == "stop"
    assert _text(result.token_ids) != result.text or not piece[:1]
    assert result.text.startswith(_text(result.token_ids))
    assert result.text.endswith(piece[:1])


def test_a_stop_token_is_not_part_of_the_answer() -> None:
    tokens = answer(PROMPT, COUNT, seed=8, vocab=made("byte-level").vocab_size)
    result, chunks = _run("byte-level", 8, stop_token_ids=[tokens[5]], stream=True)
    at = tokens.index(tokens[5])
    assert result.token_ids == tokens[:at]
    assert result.text == _text(tokens[:at])
    assert (result.finish_reason, result.matched_stop) == ("stop", tokens[5])
    assert result.generated_tokens == at + 1
    assert [t for chunk in chunks for t in chunk.token_ids] == result.token_ids


def test_a_sentence_piece_answer_keeps_its_first_space() -> None:
    """An answer follows its prompt, streamed or not."""
    tokenizer = made("sentence-piece")
    word = tokenizer.raw.token_to_id("▁the")
    seed = next(
        s for s in range(1, 9000) if answer(PROMPT, 1, seed=s, vocab=tokenizer.vocab_size) == [word]
    )
    texts = set()
    for stream in (False, True):
        result, chunks = _run("sentence-piece", seed, stream=stream)
        texts.add(result.text)
        assert "".join(chunk.text for chunk in chunks) == (result.text if stream else "")
    [text] = texts
    assert text.startswith(" the")


def test_ends_of_the_model_end_it_unless_ignored() -> None:
    harness = Harness(vocab=5)
    harness.core._eos = frozenset({3})
    tokens = answer([1, 2], COUNT, vocab=5)
    assert 3 in tokens
    stopped = harness.submit([1, 2], COUNT, ignore_eos=False)
    ignoring = harness.submit([1, 2], COUNT)
    harness.run()
    assert harness.results[stopped].token_ids == tokens[: tokens.index(3)]
    assert harness.results[stopped].matched_stop == 3
    assert harness.results[ignoring].token_ids == tokens


def test_an_abort_and_a_deadline_keep_what_there_is() -> None:
    harness = Harness(tokenizer=made("byte-level"))
    aborted = harness.submit(PROMPT, COUNT, seed=3, stream=True, stop="never seen")
    late = harness.submit([*PROMPT, 4], COUNT, seed=3, deadline=5.0)
    while harness.core._live[late].seq.generated < 6:
        harness.step()
    harness.core.cancel(aborted)
    harness.clock.now += 5.0
    harness.run()
    for request, reason in ((aborted, "abort"), (late, "deadline")):
        result = harness.results[request]
        assert (result.finish_reason, result.generated_tokens) == (reason, 6)
        assert result.error is None
        assert result.text == _text(result.token_ids)
    pieces = [chunk for chunk in harness.chunks if chunk.request_id == aborted]
    assert "".join(chunk.text for chunk in pieces) == harness.results[aborted].text
    harness.core.cancel(aborted)  # finished: nothing happens
    harness.check_results()


def test_a_deadline_before_the_first_token_is_an_error() -> None:
    harness = Harness(capacity=32, max_running=1)
    harness.submit([1] * 8, 20)
    waiting = harness.submit([2] * 8, 20, deadline=2.0)
    assert harness.core.next_deadline() == 2.0
    harness.step()
    harness.clock.now += 1.0
    assert harness.core.next_deadline() == 1.0
    harness.clock.now += 1.0
    harness.run()
    result = harness.results[waiting]
    assert isinstance(result.error, DeadlineError)
    assert result.finish_reason == "deadline"
    assert (result.generated_tokens, result.computed_tokens) == (0, 0)
    assert harness.core.next_deadline() is None


def test_logprobs_are_those_of_the_tokens() -> None:
    params = SamplingParams(logprobs=0, stop="b")
    seq = Sequence(Request(id=1, prompt=[1], params=params, seed=0), max_length=20)
    tokenizer = made("byte-level")
    progress = Progress(seq, tokenizer)
    for token in tokenizer.encode("aab"):
        seq.append(token)
        progress.logprobs.append(TokenLogprob(token, -1.0))
        progress.see(token)
    result = progress.result("stop", 0.0, None)
    assert result.logprobs is not None
    assert [entry.token_id for entry in result.logprobs] == result.token_ids


def test_times_add_up() -> None:
    harness = Harness(max_running=1)
    first, second = harness.submit([1, 2], 3), harness.submit([2, 2], 3)
    while not harness.core.idle:
        harness.clock.now += 1.0
        harness.step()
    for request in (first, second):
        times = harness.results[request].times
        assert times.queued + times.prefill + times.decode == times.total
    assert harness.results[first].times.queued == 1.0
    assert harness.results[second].times.queued > 3.0
    assert harness.results[second].times.decode == 2.0
