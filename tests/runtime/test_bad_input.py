"""Bad input: a typed error at the right place, and the engine goes on; inline and across the wire
alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from espalier.errors import (
    EspalierError,
    GrammarError,
    InvalidRequestError,
    OutOfSlotsError,
)
from espalier.grammar import GrammarSpec
from espalier.runtime.client import InlineLink
from espalier.runtime.engine import Engine
from espalier.runtime.request import Request
from espalier.types import SamplingParams
from tests.tiny_tokenizers import save

CAPACITY = 64
SHORT = SamplingParams(max_tokens=2)


@pytest.fixture(scope="module", params=["inline", "process"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    folder = save(tmp_path_factory.mktemp("tokenizer"), eos_token="<|end|>")
    with Engine(
        "null",
        inline=request.param == "inline",
        tokenizer=str(folder),
        max_total_tokens=CAPACITY,
    ) as made:
        yield made
        made.check_invariants()
        stats = made.stats()
        assert stats["failed_steps"] == 0
        assert stats["free_slots"] + stats["evictable_slots"] == CAPACITY


@pytest.fixture(autouse=True)
def _goes_on(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test of an engine, an ordinary request is answered."""
    yield
    if "engine" not in request.fixturenames:
        return
    engine: Engine = request.getfixturevalue("engine")
    [result] = engine.generate(input_ids=[[3, 4]], sampling_params=SHORT)
    assert result.token_ids == [1, 1]


def _refused(kind: type[EspalierError], where: str, ask: Callable[[], object]) -> EspalierError:
    with pytest.raises(kind) as caught:
        ask()
    assert type(caught.value) is kind
    assert where in (caught.value.where or "") + str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("where", "given"),
    [
        ("prompt", {"input_ids": [[]]}),
        ("prompt[1]", {"input_ids": [[3, 10**6]]}),
        ("prompt[0]", {"input_ids": [[-1, 3]]}),
        ("prompt", {"input_ids": [[3] * (CAPACITY + 1)]}),
        ("prompt", {"prompts": ""}),
        ("input_ids[0][1]", {"input_ids": [[3, 1.5]]}),
        ("input_ids[0][0]", {"input_ids": [["3"]]}),
        ("input_ids[0][0]", {"input_ids": [[2**64]]}),
        ("input_ids[0][0]", {"input_ids": [[True]]}),
        ("input_ids[0][0]", {"input_ids": [[None]]}),
        ("input_ids[1]", {"input_ids": [[3], 4]}),
        ("input_ids", {"input_ids": 5}),
        ("input_ids", {"input_ids": "abc"}),
        ("input_ids[0]", {"input_ids": ["abc"]}),
        ("input_ids[0][0]", {"input_ids": np.array([[0.5]])}),
        ("prompts", {"prompts": 5}),
        ("prompts[1]", {"prompts": ["a", None]}),
        ("(at prompts[0]). Give chats as messages=", {"prompts": [[5, 6]]}),
        ("prompts[0], character 1", {"prompts": "a\ud800"}),
        ("prompts", {}),
        ("prompts", {"prompts": "a", "input_ids": [[3]]}),
        ("messages[0]", {"messages": ["hi"]}),
        ("messages[0][0]", {"messages": [[{"role": "user"}]]}),
        ("messages", {"messages": {"role": "user", "content": "x"}}),
        ("messages", {"messages": [{"role": "user", "content": "no template"}]}),
        ("sampling_params", {"input_ids": [[3]], "sampling_params": [SHORT, SHORT]}),
        ("sampling_params", {"input_ids": [[3]], "sampling_params": 5}),
        ("temprature", {"input_ids": [[3]], "sampling_params": {"temprature": 1}}),
        ("temperature", {"input_ids": [[3]], "sampling_params": {"temperature": math.nan}}),
        ("max_tokens", {"input_ids": [[3]], "sampling_params": {"max_tokens": 0}}),
        ("max_tokens", {"input_ids": [[3]], "sampling_params": {"max_tokens": -5}}),
        ("top_p", {"input_ids": [[3]], "sampling_params": {"top_p": 0}}),
        ("stop", {"input_ids": [[3]], "sampling_params": {"stop": [""]}}),
        ("stop_regex", {"input_ids": [[3]], "sampling_params": {"stop_regex": [""]}}),
        ("stop_token_ids", {"input_ids": [[3]], "sampling_params": {"stop_token_ids": [10**6]}}),
        ("logit_bias", {"input_ids": [[3]], "sampling_params": {"logit_bias": {10**6: 1}}}),
        ("grammar", {"input_ids": [[3]], "grammar": "a+"}),
        ("grammar", {"input_ids": [[3]], "grammar": [None, None]}),
        ("priority", {"input_ids": [[3]], "priority": 0.5}),
        ("priority", {"input_ids": [[3]], "priority": 2**40}),
        ("namespace", {"input_ids": [[3]], "namespace": None}),
        ("deadline", {"input_ids": [[3]], "deadline": 0}),
        ("deadline", {"input_ids": [[3]], "deadline": -1.0}),
        ("deadline", {"input_ids": [[3]], "deadline": math.nan}),
        ("deadline", {"input_ids": [[3]], "deadline": "soon"}),
        ("on_error", {"input_ids": [[3]], "on_error": "explode"}),
        ("Did you mean 'priority'", {"input_ids": [[3]], "prioritty": 1}),
        ("Did you mean 'max_tokens'", {"input_ids": [[3]], "sampling_params": {"max_token": 1}}),
    ],
)
def test_generate(engine: Engine, where: str, given: dict[str, Any]) -> None:
    _refused(InvalidRequestError, where, lambda: engine.generate(**given))


@pytest.mark.parametrize(
    ("where", "spec"),
    [
        ("choices", lambda: GrammarSpec.choices([])),
        ("choices", lambda: GrammarSpec.choices("yes")),
        ("regex", lambda: GrammarSpec.regex(5)),
        ("column", lambda: GrammarSpec.regex("(")),
        ("", lambda: GrammarSpec.regex(r"[^\s\S]")),
        ("", lambda: GrammarSpec.json_schema("{")),
        ("type", lambda: GrammarSpec.json_schema({"type": "bogus"})),
        ("", lambda: GrammarSpec.json_schema(False)),
    ],
)
def test_grammars(engine: Engine, where: str, spec: Callable[[], GrammarSpec]) -> None:
    def ask() -> None:
        engine.generate(input_ids=[[3]], sampling_params=SHORT, grammar=spec())

    _refused(GrammarError, where, ask)


def test_a_choice_that_begins_another_works(engine: Engine) -> None:
    [result] = engine.generate("x", grammar=GrammarSpec.choices(["ab", "abc"]))
    assert result.text in ("ab", "abc")
    assert (result.finish_reason, result.incomplete) == ("stop", None)


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("a*", "empty text"),
        ("a(?=b)", "lookahead"),
        ("x$", "column 2"),
        ("^x", "column 1"),
        ("(", "column"),
        (r"(a)\1", "backreference"),
    ],
)
def test_a_stop_regex_that_cannot_be_followed(engine: Engine, pattern: str, says: str) -> None:
    with pytest.raises(GrammarError, match=says):
        engine.generate("x", sampling_params={"stop_regex": pattern})


def test_stop_regexes_are_short(engine: Engine) -> None:
    """The engine's own thread reads them."""
    longest = ["a" * 500, "b" * 12]
    engine.generate("x", {"max_tokens": 2, "stop_regex": longest})
    error = _refused(
        InvalidRequestError,
        "stop_regex",
        lambda: engine.generate("x", {"stop_regex": [*longest, "c"]}),
    )
    assert (error.expected, error.got) == ("expressions of at most 512 characters together", "513")


@pytest.mark.parametrize(
    ("where", "ids", "start"),
    [
        ("start", [[3, 4]], [0]),
        ("start", [[3, 4]], [2]),
        ("start", [[3, 4]], [1, 1]),
        ("start", [[3, 4]], 1),
        ("start", [[3, 4]], [1.5]),
        ("start", [[3]], [1]),
        ("prompt", [[]], [1]),
        ("input_ids[0]", [5], [1]),
    ],
)
def test_score(engine: Engine, where: str, ids: Any, start: Any) -> None:
    _refused(InvalidRequestError, where, lambda: engine.score(ids, start))


@pytest.mark.parametrize(
    ("where", "given"),
    [
        ("namespace", {"namespace": 5}),
        ("namespace", {"namespace": None}),
        ("namespace", {"namespace": "\ud800"}),
        *(("ttl", {"ttl": ttl}) for ttl in (0, -1.0, True, "1", math.nan, math.inf, 10**400)),
        ("input_ids[0]", {"input_ids": ["a"]}),
        ("deterministic", {"deterministic": 1}),
    ],
)
def test_pins(engine: Engine, where: str, given: dict[str, Any]) -> None:
    error = _refused(InvalidRequestError, where, lambda: engine.pin(**{"input_ids": [3]} | given))
    assert error.expected is not None
    if where != "ttl":
        _refused(InvalidRequestError, where, lambda: engine.explain(**{"input_ids": [3]} | given))


@pytest.mark.parametrize("pin", [None, "1", 1.0, True, -1, 2**63, 12345])
def test_unpin(engine: Engine, pin: Any) -> None:
    _refused(InvalidRequestError, "pin", lambda: engine.unpin(pin))


def test_a_pins_seconds_may_be_any_number(engine: Engine) -> None:
    for ttl in (1, 0.5, np.float64(2.0), 1e300, None):
        engine.unpin(engine.pin([3], ttl=ttl))


def test_a_prompt_that_just_fits(engine: Engine) -> None:
    """The token sampled last needs no slot."""
    [result] = engine.generate(input_ids=[[3] * CAPACITY])
    assert (result.generated_tokens, result.finish_reason) == (1, "length")
    [scored] = engine.score([[3] * CAPACITY], [1])
    assert len(scored.prompt_logprobs or []) == CAPACITY - 1


def test_bad_ones_among_good_ones(engine: Engine) -> None:
    results = engine.generate(
        input_ids=[[3, i, 5] if i % 2 else [] for i in range(20)],
        sampling_params=SHORT,
        on_error="return",
    )
    assert [result.finish_reason for result in results] == ["error", "length"] * 10
    for result in results[::2]:
        assert isinstance(result.error, InvalidRequestError)
        assert (result.computed_tokens, result.generated_tokens) == (0, 0)


def test_the_wire_is_not_trusted(engine: Engine) -> None:
    """What the client checks, the core checks too: other clients may come."""
    wild = [
        Request(id=10**6 + i, prompt=prompt, params=SHORT, seed=0, deadline=deadline)
        for i, (prompt, deadline) in enumerate([([2**62], None), ([3], -1.0), ([3], math.nan)])
    ]
    inbox = engine._exchange.switchboard.open([request.id for request in wild])
    inbox.listen(on_loop=False)
    engine.link.submit(wild)
    while not inbox.complete:
        engine._exchange.wait(inbox)
    assert [type(result.error) for result in inbox.results()] == [InvalidRequestError] * 3
    if isinstance(engine.link, InlineLink):
        seq = Request(
            id=1, prompt=[3] * (CAPACITY + 2), params=SHORT, seed=0, generate=False, score_from=1
        )
        with pytest.raises(InvalidRequestError):
            engine.score([seq.prompt], [1])


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize(
    ("kind", "where", "options"),
    [
        (InvalidRequestError, "page_size", {"page_size": 0}),
        (InvalidRequestError, "page_size", {"page_size": "1"}),
        (InvalidRequestError, "max_total_tokens", {"max_total_tokens": -1}),
        (InvalidRequestError, "max_total_tokens", {"max_total_tokens": 10, "page_size": 4}),
        (InvalidRequestError, "max_running", {"max_running": 0}),
        (InvalidRequestError, "max_running", {"max_running": None}),
        (InvalidRequestError, "step_tokens", {"step_tokens": True}),
        (InvalidRequestError, "vocab_size", {"vocab_size": 0}),
        (InvalidRequestError, "dtype", {"dtype": "int8"}),
        (InvalidRequestError, "device", {"device": 5}),
        (InvalidRequestError, "overlap", {"overlap": "yes"}),
    ],
)
def test_options(
    inline: bool, kind: type[EspalierError], where: str, options: dict[str, Any]
) -> None:
    _refused(kind, where, lambda: Engine("null", inline=inline, **options))


def test_what_an_option_may_be_is_said() -> None:
    floats = "one of 'auto', 'float32', 'bfloat16', 'float16', got 'int3'"
    for where, expected, options in (
        ("dtype", floats, {"dtype": "int3"}),
        ("eviction", "one of 'density', 'lru', got 5", {"eviction": 5}),
        ("page_size", "`int`, got `str`", {"page_size": "1"}),
        ("model", "a folder or a hub id (owner/name), got None", {"model": None}),
        ("model", "a folder or a hub id (owner/name), got 5", {"model": 5}),
    ):
        given: dict[str, Any] = {"model": "null", **options}
        error = _refused(InvalidRequestError, where, lambda given=given: Engine(**given))  # type: ignore[misc]
        assert expected in str(error)


def test_no_room_at_all() -> None:
    with Engine("null", inline=True, max_total_tokens=1) as tiny:
        _refused(InvalidRequestError, "prompt", lambda: tiny.generate(input_ids=[[3, 4]]))
        assert tiny.generate(input_ids=[[3]])[0].generated_tokens == 1
    assert issubclass(OutOfSlotsError, EspalierError)


def test_a_namespace_is_free_of_nul(engine: Engine) -> None:
    """Or an ordinary request could pass its KV off as a deterministic one's."""
    for call in (
        lambda: engine.generate("x", namespace="\0deterministic"),
        lambda: engine.pin([5, 6], namespace="a\0"),
        lambda: engine.explain([5, 6], namespace="a\0"),
    ):
        _refused(InvalidRequestError, "namespace", call)


def test_alternatives_are_bounded() -> None:
    """An engine keeps them until their request's end."""
    with Engine("null", inline=True) as roomy:
        for asked in ({"max_tokens": None}, {"max_tokens": 4000}):
            with pytest.raises(
                InvalidRequestError, match=r"of each of (4,000|1,04\d,\d+)"
            ) as caught:
                roomy.generate(input_ids=[[3]], sampling_params={"logprobs": 1024, **asked})
            assert caught.value.where == "logprobs"
        [result] = roomy.generate(input_ids=[[3]], sampling_params={"logprobs": 1024})
        assert result.generated_tokens == 128


def test_alternatives_of_a_prompt_are_bounded() -> None:
    prompt = [[3] * 4000]
    with Engine("null", inline=True) as roomy:
        with pytest.raises(InvalidRequestError, match="at most 4,000,000 alternatives") as caught:
            roomy.generate(input_ids=prompt, sampling_params={"prompt_logprobs": 1024})
        assert caught.value.where == "prompt_logprobs"
        asked = {"prompt_logprobs": 1000, "max_tokens": 1}
        [result] = roomy.generate(input_ids=prompt, sampling_params=asked)
        assert len(result.prompt_logprobs or []) == 4000
