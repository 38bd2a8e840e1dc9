"""Running one `gen` or one `select` of a state: prompt, request, result, value, record."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from ..errors import EspalierError, NotSupportedError, RequestCancelledError
from ..types import Chunk, Result, SamplingParams, TokenLogprob
from . import seeds
from .backends.base import Call, Tokenizer, check_result
from .delivery import Delivery
from .expr import Gen, Select, describe
from .healing import behind, healing_grammar, healing_params, may_heal
from .options import sampling_params
from .reasoning import ReasoningFormat, split
from .records import CallRecord
from .scoring import choose
from .typed import cut_value, value_of
from .variables import Variable

if TYPE_CHECKING:
    from .interpreter import Interpreter


@contextlib.contextmanager
def _recorded(
    state: Interpreter, kind: Literal["gen", "select"], expr: Gen[Any] | Select, index: int
) -> Iterator[CallRecord]:
    """A call's record: when it began and ended, and what it raised."""
    elapsed = state.session.elapsed
    record = CallRecord(kind, expr.name, str(expr.where), index, began=elapsed())
    state.node.calls.append(record)
    try:
        yield record
    except BaseException as error:
        record.error = str(error) or type(error).__name__
        record.finish_reason = "error"
        raise
    finally:
        record.ended = elapsed()


async def run_gen(state: Interpreter, expr: Gen[Any], variable: Variable, index: int) -> None:
    """Generate, append, fill the variable. Raises what the backend raises."""
    session = state.session
    streamed = False
    with _recorded(state, "gen", expr, index) as record:
        params = sampling_params(
            session.defaults, expr.params, seeds.derive(session.seed, state.node.path, index)
        )
        record.seed = params.seed
        taken = _taken_back(state, params) if expr.heal else ""
        call = Call(
            input_ids=state.content.prompt(),
            params=healing_params(params) if taken else params,
            grammar=healing_grammar(taken, expr.grammar) if taken else expr.grammar,
            namespace=session.namespace,
            priority=state.priority,
            deadline=session.time_left(),
            name=expr.name,
            path=state.node.path,
            index=index,
            where=str(expr.where),
            holds=state.take_holds(),
            seeded="seed" in expr.params or "seed" in session.defaults,
        )
        record.prompt_tokens = state.content.tokens
        streamed = session.stream and params.n == 1
        if streamed:
            result = await _streamed(state, call, expr, variable, len(taken))
        elif state.ahead is not None:
            result = await state.ahead.generate(expr, call, session.backend.generate)
        else:
            result = await session.backend.generate(call)
        check_result(result)
    _note(record, result)
    cut = isinstance(result.matched_stop, str)
    meta = gen_meta(result, _speller(state, expr))
    if taken:
        state.content.add_healed(result.token_ids, taken, result.text, cut)
        result = behind(result, taken)
    elif expr.reasoning is None:
        state.content.add_generated(result.token_ids, result.text, cut)
    else:
        ids = result.token_ids
        result = _take_reasoning(expr.reasoning, result, variable, meta, streamed)
        state.content.add_answer(ids, result.text, cut)
    if not streamed:
        variable.feed.put(result.text, meta)
        if state.feed is not None:
            state.feed.put(result.text)
    _fill(variable, expr, result, meta)


def _taken_back(state: Interpreter, params: SamplingParams) -> str:
    """The text of the last token, which a gen that heals says again; "" where it cannot."""
    content = state.content
    if not content.encoder.counts_tokens:
        raise NotSupportedError(
            "heal=True wants the model's own tokens, which this backend does not know",
            hint="Leave it out, or run on an engine.",
        )
    taken = content.take_back()
    if taken and not may_heal(taken, params):
        content.pending, taken = taken, ""
    return taken


def _take_reasoning(
    form: ReasoningFormat,
    result: Result,
    variable: Variable,
    meta: dict[str, Any],
    streamed: bool,
) -> Result:
    """Fill the variable of the reasoning; the result that is left has the answers for its texts."""
    pairs = [split(form, sample.text) for sample in result.samples or [result]]
    thoughts, answers = zip(*pairs, strict=True)
    thought = variable.reasoning
    assert thought is not None
    if not streamed:
        thought.feed.put(thoughts[0], meta)
    thought.set(list(thoughts) if result.samples else thoughts[0], meta)
    samples = [
        msgspec.structs.replace(sample, text=answer)
        for sample, answer in zip(result.samples, answers, strict=False)
    ]
    return msgspec.structs.replace(result, text=answers[0], samples=samples)


def _fill(variable: Variable, expr: Gen[Any], result: Result, meta: dict[str, Any]) -> None:
    samples = result.samples or [result]
    values: list[Any] = [sample.text for sample in samples]
    refusal: EspalierError | None = None
    if expr.dtype is not None:
        pairs = [
            value_of(expr.dtype, s.text, s.incomplete, describe(expr), expr.where) for s in samples
        ]
        values = [value for value, _ in pairs]
        refusal = next((error for _, error in pairs if error is not None), None)
    elif expr.grammar is not None:
        cuts = ((s.text, s.incomplete) for s in samples)
        refusal = next(
            (cut_value(text, why, describe(expr), expr.where) for text, why in cuts if why), None
        )
    variable.set(values if result.samples else values[0], meta, refusal)


async def _streamed(
    state: Interpreter, call: Call, expr: Gen[Any], variable: Variable, skip: int
) -> Result:
    speller = _speller(state, expr)
    count = 0
    result: Result | None = None

    def tell(chunk: Chunk) -> dict[str, Any]:
        return _chunk_meta(chunk, call, count, speller, state.content.encoder.counts_tokens)

    delivery = Delivery(variable, state.feed, tell, expr.reasoning, skip)
    async for chunk in state.session.backend.stream(call):
        count += len(chunk.token_ids)
        delivery.chunk(chunk)
        if chunk.result is not None:
            result = chunk.result
    delivery.finish()
    if result is None:
        raise RequestCancelledError("the stream ended without a result")
    return result


async def run_select(state: Interpreter, expr: Select, variable: Variable, index: int) -> None:
    """Score the choices, append the winner, fill the variable. Raises what the backend raises."""
    session = state.session
    seed = expr.seed
    if seed is None:
        seed = seeds.derive(session.seed, state.node.path, index)
    with _recorded(state, "select", expr, index) as record:
        record.seed = seed
        choice = await choose(
            session,
            state.content,
            expr,
            seed,
            state.node.path,
            index,
            session.time_left(),
            state.take_holds,
            state.priority,
        )
    record.count(choice.results)
    record.finish_reason = "stop"
    record.text = choice.text
    record.choices = choice.meta["probabilities"]
    record.prompt_tokens = state.content.tokens
    state.content.add_choice(choice.token_ids, choice.text)
    variable.feed.put(choice.text, choice.meta)
    if state.feed is not None:
        state.feed.put(choice.text)
    variable.set(choice.text, choice.meta)


def _speller(state: Interpreter, expr: Gen[Any]) -> Tokenizer | None:
    """What spells tokens beside their logprobs, where that is asked for."""
    session = state.session
    wanted = session.text_in_logprobs if expr.text_in_logprobs is None else expr.text_in_logprobs
    return session.backend.tokenizer if wanted else None


def gen_meta(result: Result, speller: Tokenizer | None) -> dict[str, Any]:
    """A result as `get_meta_info` gives it, under SGLang's names where it has one."""
    meta: dict[str, Any] = {
        "id": result.request_id,
        "text": result.text,
        "prompt_tokens": result.prompt_tokens,
        "completion_tokens": result.generated_tokens,
        "cached_tokens": result.cached_tokens,
        "computed_tokens": result.computed_tokens,
        "shared_tokens": result.shared_tokens,
        "finish_reason": {"type": result.finish_reason, "matched": result.matched_stop},
        "incomplete": result.incomplete,
        "seed": result.seed,
        "token_ids": list(result.token_ids),
        "e2e_latency": result.times.total,
    }
    if result.logprobs is not None:
        meta.update(_logprobs(result.logprobs, speller))
        meta["output_token_logprobs_length"] = len(result.logprobs)
    if result.prompt_logprobs is not None:
        meta["prompt_logprobs"] = result.prompt_logprobs
    if result.samples:
        meta["samples"] = [gen_meta(_alone(s), speller) for s in result.samples]
    return meta


def _alone(result: Result) -> Result:
    """One sample without the list of all."""
    return msgspec.structs.replace(result, samples=[])


def _chunk_meta(
    chunk: Chunk, call: Call, count: int, speller: Tokenizer | None, counted: bool
) -> dict[str, Any]:
    meta: dict[str, Any] = {"token_ids": list(chunk.token_ids)}
    if counted:
        meta |= {"prompt_tokens": len(call.input_ids), "completion_tokens": count}
    if chunk.logprobs is not None:
        meta.update(_logprobs(chunk.logprobs, speller))
        meta["output_token_logprobs_length"] = count
    return meta


def _logprobs(logprobs: list[TokenLogprob], speller: Tokenizer | None) -> dict[str, Any]:
    def text(token: int) -> str | None:
        if speller is None:
            return None
        return speller.token_bytes(token).decode("utf-8", errors="replace")

    entries = [(entry.logprob, entry.token_id, text(entry.token_id)) for entry in logprobs]
    top = [[(lp, token, text(token)) for token, lp in entry.top] for entry in logprobs]
    return {"output_token_logprobs": entries, "output_top_logprobs": top}


def _note(record: CallRecord, result: Result) -> None:
    record.count(result.samples or [result])
    record.finish_reason = result.finish_reason
    record.incomplete = result.incomplete
    record.text = result.text
    record.token_ids = result.token_ids
    record.logprobs = result.logprobs
