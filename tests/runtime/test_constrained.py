"""No token leaves its grammar: outputs of a random-weight model with Llama-3's vocabulary, judged
by `jsonschema` and `re`, and what the result says of those that were cut (P2).

28 grammars: 20 real schemas drawn by seed 0 among those accepted, and the 8 regexes of
grammar_cases.json. ESPALIER_FULL=1 draws 500 outputs, otherwise one of each grammar.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from espalier.errors import EngineError, GrammarError, InvalidRequestError
from espalier.grammar import GrammarCompiler, GrammarSpec, Vocabulary
from espalier.runtime.client import InlineLink
from espalier.runtime.engine import Engine
from espalier.runtime.progress import Progress
from espalier.types import Result, SamplingParams
from tests.support import data_path
from tests.tiny_models import save_tiny
from tests.tiny_tokenizers import made

FULL = os.environ.get("ESPALIER_FULL") == "1"
OUTPUTS = 500 if FULL else 28
MAX_TOKENS = 160 if FULL else 128
EOS = [128001, 128009]


@pytest.fixture(scope="module")
def llama3(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny random Llama with Llama-3's tokenizer."""
    tokenizer = data_path("tokenizers/llama3/tokenizer.json")
    folder = tmp_path_factory.mktemp("llama3")
    save_tiny(
        "llama3",
        folder,
        vocab_size=128_256,
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=2048,
    )
    (folder / "tokenizer.json").symlink_to(tokenizer)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": EOS}))
    return str(folder)


def _schemas(engine: Engine) -> list[dict[str, Any]]:
    """20 accepted ones, in the order of seed 0."""
    lines = data_path("real-schemas/schemas.jsonl").read_text().splitlines()
    random.Random(0).shuffle(lines)
    assert isinstance(engine.link, InlineLink)
    compiler = engine.link.core._grammars.compiler
    assert compiler is not None
    accepted = []
    for line in lines:
        schema = json.loads(line)["schema"]
        try:
            compiler.compile(GrammarSpec.json_schema(schema))
        except GrammarError:
            continue
        accepted.append(schema)
        if len(accepted) == 20:
            return accepted
    raise AssertionError(f"only {len(accepted)} schemas are accepted")


def _regexes() -> list[str]:
    cases = json.loads(data_path("yardsticks/grammar_cases.json").read_text())
    found = [case["text"]["regex"] for case in cases if "regex" in case["text"]]
    assert len(found) == 8
    return found


def _judge_json(schema: dict[str, Any]) -> Callable[[str], bool]:
    kind = jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)
    validator = kind(schema, format_checker=kind.FORMAT_CHECKER)

    def judge(text: str) -> bool:
        try:
            return bool(validator.is_valid(json.loads(text)))
        except ValueError:
            return False

    return judge


def _judge_regex(pattern: str) -> Callable[[str], bool]:
    return lambda text: re.fullmatch(pattern, text) is not None


@pytest.mark.data
@pytest.mark.slow
def test_random_weights_write_nothing_invalid(llama3: str) -> None:
    # 32 rows of 128,256 logits are what a small machine's allocator still keeps at hand.
    with Engine(llama3, inline=True, device="cpu", overlap=True, max_running=32) as engine:
        grammars = [(GrammarSpec.json_schema(s), _judge_json(s)) for s in _schemas(engine)]
        grammars += [(GrammarSpec.regex(r), _judge_regex(r)) for r in _regexes()]
        jobs = [grammars[number % len(grammars)] for number in range(OUTPUTS)]
        params = [
            SamplingParams(max_tokens=MAX_TOKENS, seed=number, temperature=number % 3 * 0.6)
            for number in range(OUTPUTS)
        ]
        results = engine.generate(
            input_ids=[[number % 1000, 5] for number in range(OUTPUTS)],
            sampling_params=params,
            grammar=[spec for spec, _ in jobs],
        )
        engine.check_invariants()
    cut = [result for result in results if result.incomplete is not None]
    invalid = [
        (spec.source[:200], result.text[-200:])
        for (spec, judge), result in zip(jobs, results, strict=True)
        if result.incomplete is None and not judge(result.text)
    ]
    assert all(result.incomplete == "length" == result.finish_reason for result in cut)
    tokens = sum(result.generated_tokens for result in results)
    print(f"{OUTPUTS} outputs, {tokens} tokens: {len(invalid)} invalid, {len(cut)} cut by length")
    assert invalid == []
    assert len(cut) <= 0.02 * OUTPUTS
    assert len({result.text for result in results}) > 0.7 * OUTPUTS


# -- what is cut says so ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine(tiny_model: Callable[..., Any]) -> Iterator[Engine]:
    folder = tiny_model("llama3", text=True).folder
    with Engine(str(folder), inline=True, device="cpu") as made_one:
        yield made_one


def _run(engine: Engine, spec: GrammarSpec, **params: Any) -> Result:
    [result] = engine.generate(
        input_ids=[[7, 8, 9]], sampling_params=SamplingParams(**params), grammar=spec
    )
    return result


def test_a_complete_one_ends_by_itself(engine: Engine) -> None:
    result = _run(engine, GrammarSpec.regex("ab{3}c"), max_tokens=50)
    assert (result.text, result.finish_reason, result.incomplete) == ("abbbc", "stop", None)


def test_too_few_tokens_is_length_and_incomplete(engine: Engine) -> None:
    result = _run(engine, GrammarSpec.choices(["q" * 30]), max_tokens=4)
    assert (result.finish_reason, result.incomplete) == ("length", "length")
    assert result.text == "q" * 4


@pytest.mark.parametrize("budget", [8, 9, 12, 30])
def test_a_small_budget_is_kept_where_an_end_fits(engine: Engine, budget: int) -> None:
    """Tokens after which the text could not be completed in time are withheld."""
    spec = GrammarSpec.json_schema({"type": "array", "items": {"type": "string"}, "minItems": 1})
    for seed in range(6):
        result = _run(engine, spec, max_tokens=budget, temperature=1.5, seed=seed)
        assert result.incomplete is None
        assert isinstance(json.loads(result.text), list)


def test_a_text_that_may_end_at_its_limit_is_complete(engine: Engine) -> None:
    result = _run(engine, GrammarSpec.regex("[a-z]*"), max_tokens=6, temperature=1.0, seed=1)
    assert result.incomplete is None
    assert re.fullmatch("[a-z]*", result.text)


def test_a_stop_string_that_cuts_it_is_told(engine: Engine) -> None:
    cut = _run(engine, GrammarSpec.choices(["hello world"]), stop="wor")
    assert (cut.text, cut.finish_reason, cut.incomplete) == ("hello ", "stop", "stop")
    whole = _run(engine, GrammarSpec.choices(["hello world", "hello "]), stop="wor")
    assert (whole.text.strip(), whole.incomplete) == ("hello", None)


def test_a_stop_token_that_cuts_it_is_told(engine: Engine) -> None:
    """The matcher took the token; the text did not."""
    tokenizer = made("byte-level")
    [b] = tokenizer.encode("b")
    cut = _run(engine, GrammarSpec.regex("ab"), stop_token_ids=[b])
    assert (cut.text, cut.matched_stop, cut.incomplete) == ("a", b, "stop")
    whole = _run(engine, GrammarSpec.regex("ab?b"), stop_token_ids=[b])
    assert (whole.text, whole.incomplete) == ("a", "stop")
    fine = _run(engine, GrammarSpec.regex("ab?"), stop_token_ids=[b], logit_bias={b: 100.0})
    assert (fine.text, fine.incomplete) == ("a", None)


def test_a_deadline_that_cuts_it_is_told(engine: Engine) -> None:
    results = engine.generate(
        input_ids=[[7, 8, 9]],
        sampling_params=SamplingParams(max_tokens=400),
        grammar=GrammarSpec.regex("[ab]{390}"),  # nothing is forced
        deadline=0.05,
    )
    assert (results[0].finish_reason, results[0].incomplete) == ("deadline", "deadline")


def test_min_tokens_gives_way_to_the_grammar(engine: Engine) -> None:
    result = _run(engine, GrammarSpec.choices(["ab"]), min_tokens=30, max_tokens=40)
    assert (result.text, result.finish_reason, result.incomplete) == ("ab", "stop", None)


def test_a_ban_of_all_that_the_grammar_allows_is_an_error(engine: Engine) -> None:
    """Neither promise is broken in silence; a bias that is merely strong gives way."""
    banned = {token: -float("inf") for token in range(406)}
    disliked = dict.fromkeys(range(406), -1e6)
    spec = GrammarSpec.choices(["ab"])
    for temperature in (0.0, 1e-8, 1.0):
        with pytest.raises(InvalidRequestError, match="the grammar allows next"):
            _run(engine, spec, logit_bias=banned, temperature=temperature)
        result = _run(engine, spec, logit_bias=disliked, temperature=temperature)
        assert (result.text, result.incomplete) == ("ab", None)


def test_constrained_and_free_rows_mix(engine: Engine) -> None:
    specs = [GrammarSpec.regex("[xy]{6}"), None, GrammarSpec.choices(["no"]), None]
    results = engine.generate(
        input_ids=[[7, 8, 9]] * 4,
        sampling_params=SamplingParams(max_tokens=10, ignore_eos=True),
        grammar=specs,
    )
    assert re.fullmatch("[xy]{6}", results[0].text)
    assert results[2].text == "no"
    assert results[1].token_ids == results[3].token_ids
    assert len(results[1].token_ids) == 10


def test_a_step_that_fails_loses_no_masks(tiny_model: Callable[..., Any]) -> None:
    """Rows of the mask pool that were on their way when a step failed are sent again."""
    folder = tiny_model("llama3", text=True).folder
    for kind in ("launch", "sample", "collect"):
        with Engine(str(folder), inline=True, device="cpu", overlap=True) as engine:
            assert isinstance(engine.link, InlineLink)
            core = engine.link.core
            whole = getattr(core._runner, kind)
            calls = iter(range(100))

            def fail(*args: Any, call: Any = whole, number: Iterator[int] = calls) -> Any:
                if next(number) == 2:
                    raise RuntimeError("device lost its mind")
                return call(*args)

            setattr(core._runner, kind, fail)
            spec = GrammarSpec.regex("[a-f]{2}[0-9]{3}")
            for seed in range(4):
                [result] = engine.generate(
                    input_ids=[[7, 8]],
                    sampling_params=SamplingParams(temperature=1.0, seed=seed),
                    grammar=spec,
                    on_error="return",
                )
                assert result.error is not None or re.fullmatch(spec.source, result.text)
            assert core.scheduler.counters.failed_steps == 1


def test_a_matcher_that_fails_fails_alone(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from espalier.grammar import Matcher

    whole = Matcher.mask_row
    spec, good = GrammarSpec.regex("c{5}"), GrammarSpec.regex("d{5}")

    def mask_row(self: Matcher, remaining: int | None = None) -> int:
        if self._grammar is bad and remaining == 126:
            raise GrammarError("the grammar grew too large")
        return whole(self, remaining)

    assert isinstance(engine.link, InlineLink)
    compiler = engine.link.core._grammars.compiler
    assert compiler is not None
    engine.generate(input_ids=[[7]], grammar=spec)
    bad = compiler.find(spec)
    assert bad is not None
    monkeypatch.setattr(Matcher, "mask_row", mask_row)
    results = engine.generate(input_ids=[[7]] * 3, grammar=[spec, good, None], on_error="return")
    assert type(results[0].error) is GrammarError
    assert results[1].text == "ddddd"
    assert results[2].error is None
    engine.check_invariants()


def test_a_vocabulary_wider_or_narrower_than_the_model(tmp_path: Path) -> None:
    """Ids that the logits lack are never allowed, ids that the tokenizer lacks neither."""
    from tests.tiny_tokenizers import save

    for size in (300, 406, 500):
        folder = tmp_path / str(size)
        save_tiny("qwen3", folder, vocab_size=size)
        save(folder, bos_token="<s>", eos_token="</s>")
        with Engine(str(folder), inline=True, device="cpu") as engine:
            for seed in range(4):
                [result] = engine.generate(
                    input_ids=[[7, 8]],
                    sampling_params=SamplingParams(temperature=2.0, seed=seed, max_tokens=30),
                    grammar=GrammarSpec.regex(r"[\w ]{5,9}"),
                )
                assert re.fullmatch(r"[\w ]{5,9}", result.text)
                assert max(result.token_ids) < min(size, 406)
    assert Vocabulary([b"a"], [], []).size == 1
    assert GrammarCompiler(Vocabulary([b"a"], [], [0])).vocabulary.words == 1


# -- text that ends in half a character ------------------------------------------------------------


def _half_a_character() -> int:
    return made("byte-level").vocabulary.index(b"\xe2")


def test_a_stop_regex_that_fails_at_the_very_end_fails_alone(engine: Engine) -> None:
    """The half character that is left when the tokens are, is one more for it to follow."""
    bias = {_half_a_character(): 1e6}
    params = [
        SamplingParams(max_tokens=257, stop_regex=(".{400}b",), logit_bias=bias),
        SamplingParams(max_tokens=300, ignore_eos=True),
    ]
    results = engine.generate(
        input_ids=[[7, 8], [9, 10]], sampling_params=params, on_error="return"
    )
    assert isinstance(results[0].error, GrammarError)
    assert results[0].finish_reason == "error"
    assert (results[1].error, results[1].finish_reason) == (None, "length")
    engine.check_invariants()


def test_a_stop_string_completed_by_what_is_left(engine: Engine) -> None:
    stop = "\ufffd" * 3
    [result] = engine.generate(
        input_ids=[[7, 8]],
        sampling_params=SamplingParams(
            max_tokens=3, stop=(stop,), logit_bias={_half_a_character(): 1e6}
        ),
    )
    assert (result.text, result.token_ids) == ("", [])
    assert (result.finish_reason, result.matched_stop) == ("stop", stop)


def test_a_result_that_cannot_be_made_fails_alone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Progress._final_text

    def final_text(self: Progress, tokens: list[int]) -> str:
        if self.seq.prompt_len == 2:
            raise RuntimeError("a bug of ours")
        return whole(self, tokens)

    monkeypatch.setattr(Progress, "_final_text", final_text)
    results = engine.generate(
        input_ids=[[7, 8], [7, 8, 9]],
        sampling_params=SamplingParams(max_tokens=3, ignore_eos=True),
        on_error="return",
    )
    assert isinstance(results[0].error, EngineError)
    assert "a bug of ours" in str(results[0].error)
    assert (results[1].error, len(results[1].token_ids)) == (None, 3)
    engine.check_invariants()
