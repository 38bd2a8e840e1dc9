"""The words of the language: what they build, and what they refuse, at the line that says it."""

from __future__ import annotations

import re
from typing import Any

import pytest

import espalier as esp
from espalier.errors import GrammarError, InvalidRequestError, NotSupportedError
from espalier.frontend_lang.expr import ExprList, Gen, RoleBegin, RoleEnd, Select, Text
from espalier.grammar import terms
from espalier.grammar.spec import GrammarSpec

HERE = __file__


def test_gen_keeps_only_what_was_given() -> None:
    made = esp.gen("x", 16, stop="\n", temperature=0.5)
    assert isinstance(made, Gen)
    assert (made.name, made.grammar, made.dtype) == ("x", None, None)
    assert made.params == {"max_tokens": 16, "stop": ("\n",), "temperature": 0.5}
    assert made.where.file == HERE
    assert esp.gen().params == {}
    assert esp.gen("x", None, stop=None).params == {}
    assert esp.gen(name="x").name == "x"


def test_sglangs_spellings() -> None:
    made = esp.gen("x", max_new_tokens=5, top_k=-1, return_logprob=True, top_logprobs_num=3)
    assert made.params == {"max_tokens": 5, "top_k": -1, "logprobs": 3}
    assert esp.SamplingParams(**made.params).top_k == 0
    assert esp.gen("x", return_logprob=True).params == {"logprobs": 0}
    assert esp.gen("x", return_logprob=False).params == {}
    assert esp.gen("x", return_text_in_logprobs=True).text_in_logprobs


def test_grammars() -> None:
    assert esp.gen("x", regex=r"\d+").grammar == GrammarSpec.regex(r"\d+")
    assert esp.gen("x", regex=r"\p{Lu}+").grammar == GrammarSpec.regex(r"\p{Lu}+")
    assert esp.gen("x", ebnf="start: 'a'").grammar == GrammarSpec.ebnf("start: 'a'")
    spec = terms.grammar(terms.text("a") | "b")
    assert esp.gen("x", grammar=spec).grammar == spec
    assert esp.gen("x", grammar=terms.text("a") | "b").grammar == spec
    with pytest.raises(InvalidRequestError, match="a GrammarSpec, or a term"):
        esp.gen("x", grammar="a")
    with pytest.raises(InvalidRequestError, match="one of dtype"):
        esp.gen("x", grammar=spec, regex="a")
    schema = {"type": "integer"}
    assert esp.gen("x", json_schema=schema).grammar == GrammarSpec.json_schema(schema)
    assert esp.gen("x", json_schema='{"type": "integer"}').grammar == GrammarSpec.json_schema(
        '{"type": "integer"}'
    )


def test_types() -> None:
    for made in (
        esp.gen("x", int),
        esp.gen("x", dtype=int),
        esp.gen("x", dtype="int"),
        esp.gen_int("x"),
        esp.gen("x", int, max_tokens=None),
    ):
        assert (made.dtype, made.grammar) == (int, GrammarSpec.python_type(int))
    assert esp.gen("x", int, max_tokens=7).params == {"max_tokens": 7}
    assert esp.gen_string("x", 9).params == {"max_tokens": 9}
    assert esp.gen_string("x").dtype is str
    assert esp.gen("x", json_schema=int).dtype is None


def test_choices_are_a_select() -> None:
    made: Any = esp.gen("x", choices=["a", "b"], temperature=0.3)
    assert isinstance(made, Select)
    assert made.choices == ("a", "b")
    assert made.temperature == 0.3
    assert esp.select("x", ("a", "b")).choices == ("a", "b")
    assert esp.select("x", ["a"], choices_method="greedy_token_selection").method is (
        esp.greedy_token_selection
    )


def test_roles_wrap_their_content() -> None:
    made = esp.user("hi " + esp.gen("x"))
    assert [type(part) for part in made] == [RoleBegin, Text, Gen, RoleEnd]
    assert [type(part) for part in esp.system()] == [RoleBegin, RoleEnd]
    assert (esp.assistant_begin().role, esp.user_end().role) == ("assistant", "user")
    assert (esp.system_begin().role, esp.system_end().role) == ("system", "system")
    assert (esp.user_begin().role, esp.assistant_end().role) == ("user", "assistant")


def test_sums_are_flat_and_texts_meet() -> None:
    made = "a" + esp.gen("x") + "b" + "c" + (esp.gen("y") + "d") + "e"
    assert isinstance(made, ExprList)
    made.check_invariants()
    assert [part.text for part in made if isinstance(part, Text)] == ["a", "bc", "de"]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": -3}, "max_tokens"),
    ({"temperature": float("nan")}, "temperature"),
    ({"temperature": -1}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"stop": ""}, "stop"),
    ({"n": 0}, "n"),
    ({"min_tokens": 5, "max_tokens": 4}, "min_tokens"),
    ({"max_tokens": 4, "max_new_tokens": 4}, "max_new_tokens"),
    ({"seed": "x"}, "seed"),
    ({"regex": 3}, "regex"),
    ({"regex": "a", "json_schema": {}}, "one of"),
    ({"choices": []}, "at least one"),
    ({"choices": "abc"}, "list of strings"),
    ({"choices": ["a", 1]}, "strings"),
    ({"choices": ["a", "a"]}, "distinct"),
    ({"choices": ["a"], "regex": "a"}, "regex"),
    ({"choices_method": "x"}, "choices"),
    ({"choices": ["a"], "choices_method": "x"}, "choices_method"),
    ({"dtype": "complex"}, "dtype"),
    ({"maxtokens": 4}, "Did you mean 'max_tokens'"),
    ({"temprature": 4}, "Did you mean 'temperature'"),
]


@pytest.mark.parametrize(("options", "told"), REFUSED, ids=[str(o) for o, _ in REFUSED])
def test_what_cannot_be_is_refused_where_it_is_said(options: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidRequestError, match=re.escape(told)):
        esp.gen("x", **options)


def test_a_minimum_alone_bounds_nothing() -> None:
    assert esp.gen("x", min_tokens=500).params == {"min_tokens": 500}


def test_a_broken_regex_names_its_column() -> None:
    with pytest.raises(GrammarError, match="column 1"):
        esp.gen("x", regex="(a")
    with pytest.raises(GrammarError, match="column 8"):
        esp.gen("x", regex=r"\p{Lu}a(")
    for hostile in ("a{99999999999}", "(" * 3000 + ")" * 3000, "(?L)a"):
        with pytest.raises(GrammarError, match="cannot be read") as caught:
            esp.gen("x", regex=hostile)
        assert str(caught.value.where).startswith(f"{HERE}:")
        assert len(str(caught.value)) < 400
    assert "prompt_logprobs" in _refusal(lambda: esp.gen("x", logprob_start_len=3))


def _refusal(call: Any) -> str:
    with pytest.raises(NotSupportedError) as caught:
        call()
    return str(caught.value)


def test_more_refusals() -> None:
    make: Any = esp.gen
    for call in (
        lambda: make("x", 1, 2),
        lambda: make("x", 1, max_tokens=2),
        lambda: make("x", int, dtype=int),
        lambda: make(3),
        lambda: make(""),
        lambda: esp.gen_int("x", dtype=str),
        lambda: esp.gen_int("x", bogus=1),
        lambda: esp.select("x"),
        lambda: esp.select("x", []),
        lambda: esp.select("x", ["a"], temprature=1),
        lambda: esp.select("x", ["a"], temperature=-1.0),
        lambda: esp.select("x", ["a"], seed=1.5),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidRequestError):
            call()


def test_names_of_later_issues_say_so() -> None:
    for call, hint in (
        (lambda: esp.image("cat.png"), "vision"),
        (lambda: esp.video("cat.mp4", 8), "vision"),
        (esp.LiteLLM, "esp.OpenAI(model, base_url=...)"),
        (esp.VertexAI, "esp.OpenAI(model, base_url=...)"),
        (esp.Crusoe, "esp.OpenAI(model, base_url=...)"),
        (lambda: esp.Runtime(model_path="m"), "esp.Engine(model)"),
        (lambda: esp.ServerArgs(model_path="m"), "Engine"),
        (lambda: esp.global_config.default_backend, "set_default_backend"),
        (lambda: setattr(esp.global_config, "default_backend", None), "set_default_backend"),
    ):
        assert hint in _refusal(call)


def test_every_name_of_sglangs_frontend_is_there() -> None:
    # `sglang.__all__` of 0.5, its version apart.
    names = (
        "Anthropic Crusoe Engine LiteLLM OpenAI Runtime RuntimeEndpoint ServerArgs VertexAI "
        "assistant assistant_begin assistant_end flush_cache function gen gen_int gen_string "
        "get_server_info global_config greedy_token_selection image select separate_reasoning "
        "set_default_backend system system_begin system_end token_length_normalized "
        "unconditional_likelihood_normalized user user_begin user_end video"
    )
    assert {*names.split()} <= {*esp.__all__}
    assert repr(esp.global_config)  # and tools may look at it


def test_a_call_in_an_f_string_is_refused() -> None:
    made = esp.gen("x")
    with pytest.raises(InvalidRequestError, match="f-string"):
        f"answer: {made}"
    with pytest.raises(InvalidRequestError, match="f-string"):
        str(esp.select("x", ["a"]))
    assert "Gen(" in repr(made)


@pytest.mark.parametrize("value", [None, 3, 1.5, ["a"], object()])
def test_only_text_and_expressions_are_added(value: object) -> None:
    with pytest.raises(InvalidRequestError, match="string or an expression"):
        esp.gen("x") + value
    with pytest.raises(InvalidRequestError):
        value + esp.gen("x")  # type: ignore[operator]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"logprobs": 1, "top_logprobs_num": 3}, "top_logprobs_num"),
        ({"return_logprob": False, "top_logprobs_num": 3}, "top_logprobs_num"),
        ({"stop_token_ids": 5.5}, "stop_token_ids"),
        ({"temperature": -1}, "temperature"),
        ({"choices": ["a"], "temperature": float("nan")}, "temperature"),
        ({"temprature": 1}, "temperature"),
        ({"overwrite": "no"}, "overwrite"),
        ({"dtype": "integer"}, "dtype"),
        ({"ebnf": 5}, "ebnf"),
        ({"grammar": terms.sequence}, "GrammarSpec"),
    ],
)
def test_a_refusal_tells_the_programs_line(options: dict[str, Any], told: str) -> None:
    make: Any = esp.gen
    with pytest.raises((InvalidRequestError, GrammarError), match=told) as caught:
        make("x", **options)
    line = caught.traceback[0].lineno + 1
    assert str(caught.value.where).startswith(f"{HERE}:{line}")


def test_thousands_of_choices_are_checked_once_each() -> None:
    choices = [f"choice {number}" for number in range(100_000)]
    assert len(esp.select("x", choices).choices) == len(choices)
    with pytest.raises(InvalidRequestError, match="'choice 7' twice"):
        esp.select("x", [*choices, "choice 7"])
