"""The alias: what it registers, and what SGLang's words mean under it."""

from __future__ import annotations

import importlib
import json
import sys
from types import ModuleType
from typing import Any

import pytest

import espalier as esp
from espalier.compat import install_sglang_alias, remove_sglang_alias
from espalier.compat.alias import MODULES
from espalier.errors import (
    IncompleteError,
    InvalidRequestError,
    NotSupportedError,
    ProgramError,
)

State = Any


def test_every_module_imports(sglang: ModuleType) -> None:
    for name in MODULES:
        module = importlib.import_module(name)
        assert all(hasattr(module, public) for public in getattr(module, "__all__", []))
    assert importlib.util.find_spec("sglang") is not None
    assert sglang is importlib.import_module("sglang") is install_sglang_alias()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("sglang.srt.managers")
    remove_sglang_alias()
    assert not [name for name in sys.modules if name.partition(".")[0] == "sglang"]


def test_sglang_itself_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sglang", ModuleType("sglang"))
    with pytest.raises(InvalidRequestError, match="imported already"):
        install_sglang_alias()


def test_defaults_are_sglangs(sglang: ModuleType) -> None:
    @sglang.function
    def body(s: State) -> None:
        for _ in range(2):
            s += "a" + sglang.gen("x")
        s += sglang.gen("y", 8, 2, temperature=0.5) + sglang.select("z", ["1", "2"])

    backend = esp.Scripted({"x": ["1", "2"], "y": "3", "z": "2"})
    state = body.run(backend=backend)
    assert [state[name] for name in "xyz"] == ["2", "3", "2"]
    params = [asked.params for asked in backend.asked[:3]]
    assert [p.temperature for p in params if p] == [1.0, 1.0, 0.5]
    assert [p.max_tokens for p in params if p] == [128, 128, 8]
    assert params[2] is not None
    assert params[2].min_tokens == 2
    body.run_batch([{}, {}], backend=esp.Scripted(default="1"), temperature=0.0)
    colder = esp.Scripted(default="1")
    body.run(backend=colder, temperature=0.0)
    assert colder.asked[0].params is not None
    assert colder.asked[0].params.temperature == 0.0
    assert body.bind().run(backend=esp.Scripted(default="1"))["x"] == "1"


def test_what_a_program_begins_with_is_computed(sglang: ModuleType) -> None:
    @sglang.function
    def body(s: State, topic: str, times: int) -> None:
        s += sglang.system("Be brief and kind.") + sglang.user("Tell me about " + topic)
        s += sglang.assistant(sglang.gen("x"))
        raise AssertionError("never reached with answers")

    backend = esp.Scripted(default="a")
    count = body.cache(backend)
    [asked] = backend.asked
    assert len(asked.input_ids) == count
    assert asked.prompt.endswith("Tell me about ")
    assert body.bind(times=3).cache(backend) == count

    @sglang.function
    def early(s: State, times: int) -> None:
        s += "always "
        for _ in range(times):
            s += "more"

    sglang.set_default_backend(backend)
    early.cache()
    assert backend.asked[-1].prompt.endswith("always ")


def test_a_typed_value_is_its_text(sglang: ModuleType) -> None:
    @sglang.function
    def body(s: State) -> None:
        s += sglang.gen_int("i") + sglang.gen_string("s") + sglang.gen("f", dtype=float)
        s += sglang.gen("b", dtype="bool") + "so " + s["i"]

    state = body.run(backend=esp.Scripted({"i": "12", "s": '"a"', "f": "1.5", "b": "true"}))
    values = [state[name] for name in "isfb"]
    assert values == ["12", '"a"', "1.5", "true"]
    assert [json.loads(value) for value in values] == [12, "a", 1.5, True]
    assert state.text().endswith("so 12")


def test_expressions_for_json(sglang: ModuleType) -> None:
    ir = importlib.import_module("sglang.lang.ir")
    from espalier.frontend_lang.backends.conform import conforms

    for pattern, good, bad in (
        (ir.REGEX_INT, ["0", "-12 \n"], ["+1", "01", ""]),
        (ir.REGEX_FLOAT, ["1.5", "-0.25\n", "3"], [".5", "01.5"]),
        (ir.REGEX_BOOL, ["true", "false"], ["True"]),
        (ir.REGEX_STR, ['"a 1"', '""'], ['"a\n"', '"\\"']),
    ):
        grammar = esp.GrammarSpec.regex(pattern)
        for text in good:
            assert conforms(grammar, text) == "complete", text
            json.loads(text)
        for text in bad:
            assert conforms(grammar, text) != "complete", text


def test_errors_name_the_programs_line(sglang: ModuleType) -> None:
    @sglang.function
    def body(s: State) -> None:
        s += sglang.gen_int("i")

    with pytest.raises(IncompleteError, match=r"test_alias\.py"):
        body.run(backend=esp.Scripted(esp.Reply("-", finish_reason="length")))["i"]
    with pytest.raises(InvalidRequestError, match=r"test_alias\.py"):
        sglang.gen("x", temperature=-1)
    with pytest.raises(InvalidRequestError, match=r"test_alias\.py"):
        sglang.select("x", [])


def test_the_default_backend(sglang: ModuleType) -> None:
    config = sglang.global_config
    assert config.default_backend is None
    with pytest.raises(InvalidRequestError, match="no backend"):
        sglang.flush_cache()
    esp.set_default_backend(esp.Scripted(default="a"))
    backend = config.default_backend
    assert backend is config.default_backend.endpoint
    assert backend.get_model_name() == "scripted"

    @sglang.function
    def body(s: State) -> None:
        s += "abc" + sglang.gen("x") + sglang.gen("y", n=2)

    body.run()
    usage = backend.token_usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (4 + 5 + 5, 3)
    usage.reset()
    body.run(stream=True).sync()
    assert usage.prompt_tokens == 14
    backend.cache_prefix("a prefix")
    assert sglang.get_server_info()["model"] == "scripted"
    config.default_backend = None
    assert config.default_backend is None


def test_settings_have_one_value(sglang: ModuleType) -> None:
    config = sglang.global_config
    assert config.enable_parallel_encoding is False
    config.enable_parallel_encoding = False
    config.verbosity = 0
    for name, value in (("enable_parallel_encoding", True), ("verbosity", 2), ("verbosty", 0)):
        with pytest.raises(NotSupportedError, match=name):
            setattr(config, name, value)
    with pytest.raises(AttributeError, match="no 'colour'"):
        config.colour  # noqa: B018


def test_a_rule_of_ones_own(sglang: ModuleType) -> None:
    choices = importlib.import_module("sglang.lang.choices")

    class Last(choices.ChoicesSamplingMethod):  # type: ignore[misc, name-defined]
        @property
        def requires_unconditional_logprobs(self) -> bool:
            return True

        def __call__(self, *, choices: list[str], **seen: Any) -> Any:
            rows, bare = seen["input_token_logprobs"], seen["unconditional_token_logprobs"]
            assert [len(row) for row in rows] == [len(row) for row in bare]
            assert all(len(entry) == 3 for row in rows for entry in row)
            return decision(choices[-1], {"rule": "last"})

    decision = choices.ChoicesDecision

    @sglang.function
    def body(s: State, method: Any) -> None:
        s += "x" + sglang.select("x", ["ab", "c"], choices_method=method)

    state = body.run(method=Last(), backend=esp.Scripted({"x": "ab"}))
    assert state["x"] == "c"
    assert state.get_meta_info("x")["rule"] == "last"
    for method in (
        sglang.greedy_token_selection,
        sglang.token_length_normalized,
        sglang.unconditional_likelihood_normalized,
    ):
        state = body.run(method=method, backend=esp.Scripted({"x": "ab"}))
        meta = state.get_meta_info("x")
        decided = method(
            choices=["ab", "c"],
            normalized_prompt_logprobs=meta["normalized_prompt_logprobs"],
            input_token_logprobs=[
                [(lp, i, None) for lp, i in row] for row in meta["input_token_logprobs"]
            ],
            output_token_logprobs=[[], []],
            unconditional_token_logprobs=[[(0.0, 0, None)] * 2, [(0.0, 0, None)]],
        )
        assert state["x"] in ("ab", "c")
        assert decided.decision in ("ab", "c")


def test_templates(sglang: ModuleType) -> None:
    template = importlib.import_module("sglang.lang.chat_template")
    chat = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    assert template.get_chat_template("default").get_prompt(chat) == "SYSTEM:S\nUSER:U\n"
    with pytest.raises(InvalidRequestError, match="no chat template"):
        template.get_chat_template("vicuna")
    template.register_chat_template(
        template.ChatTemplate(
            "two",
            None,
            {"system": ("<", ">"), "user": ("[", "]")},
            style=template.ChatTemplateStyle.LLAMA2,
        )
    )
    assert template.get_chat_template("two").get_prompt(chat) == "[<S>U]"
    template.register_chat_template_matching_function(lambda path: "two" if "2" in path else None)
    assert template.get_chat_template_by_model_path("llama-2").name == "two"
    assert template.get_chat_template_by_model_path("other").name == "default"
    sglang.set_default_backend(esp.Scripted())
    backend = sglang.global_config.default_backend
    assert "S" in backend.chat_template.get_prompt(chat)
    backend.chat_template = backend.get_chat_template()
    with pytest.raises(NotSupportedError, match="own chat template"):
        backend.chat_template = template.get_chat_template("chatml")


def test_a_reasoning_parser(sglang: ModuleType) -> None:
    parser = importlib.import_module("sglang.srt.parser.reasoning_parser").ReasoningParser
    assert parser("qwen3").parse_non_stream("<think>a</think>b") == ("a", "b")
    for whole in (True, False):
        stream = parser("deepseek-r1", stream_reasoning=whole)
        pieces = [stream.parse_stream_chunk(c) for c in "ab</think>cd"] + [
            stream.parse_stream_end()
        ]
        assert ["".join(side) for side in zip(*pieces, strict=True)] == ["ab", "cd"]
        assert ([a for a, _ in pieces if a] == ["ab"]) is not whole
    assert parser("qwen3", force_reasoning=True).parse_non_stream("a</think>b") == ("a", "b")
    with pytest.raises(NotSupportedError):
        parser("gpt-oss")


def test_running_by_hand(sglang: ModuleType) -> None:
    interpreter = importlib.import_module("sglang.lang.interpreter")
    ir = importlib.import_module("sglang.lang.ir")

    @sglang.function
    def body(s: State, a: str) -> None:
        s += a + sglang.gen("x")

    backend = esp.Scripted(default="b")
    params = ir.SglSamplingParams(max_new_tokens=5, stop=["."])
    state = interpreter.run_program(body, backend, ("a",), {}, params.clone(), False)
    assert isinstance(state, interpreter.ProgramState)
    assert backend.asked[0].params is not None
    assert (backend.asked[0].params.max_tokens, backend.asked[0].params.stop) == (5, (".",))
    batch = interpreter.run_program_batch(body, backend, [{"a": "c"}], params, "auto", False)
    assert batch[0].text() == "cb"


def test_what_is_refused_says_so(sglang: ModuleType) -> None:
    interpreter = importlib.import_module("sglang.lang.interpreter")
    for call in (
        interpreter.StreamExecutor,
        interpreter.cache_program,
        lambda: sglang.RuntimeEndpoint("http://localhost:1", verify="x"),
        lambda: sglang.Runtime(model_path="sprig", port=30000),
        lambda: sglang.ServerArgs(model_path="sprig"),
        lambda: sglang.OpenAI("gpt-4", chat_template="chatml"),
        lambda: sglang.LiteLLM("gpt-4"),
    ):
        with pytest.raises(NotSupportedError):
            call()
    with pytest.raises(InvalidRequestError, match="mem_fraction"):
        sglang.Runtime(model_path="sprig", mem_fraction_static=0.5)
    with pytest.raises(InvalidRequestError, match="model_path"):
        sglang.Runtime()


def test_a_runtime_is_an_engine(sglang: ModuleType) -> None:
    runtime = sglang.Runtime(model_path="sprig", random_seed=1, inline=True)
    sglang.set_default_backend(runtime)

    @sglang.function
    def body(s: State) -> None:
        s += "Hello" + sglang.gen("x", 4)

    assert body.run()["x"]
    assert runtime.endpoint.get_model_name() == "sprig"
    runtime.shutdown()
    assert body.run().error() is not None
    with pytest.raises(ProgramError):
        body.run()["x"]


def test_helpers(sglang: ModuleType, tmp_path: Any) -> None:
    utils = importlib.import_module("sglang.utils")
    path = tmp_path / "a.jsonl"
    path.write_text('# no\n{"a": 1}\n[2]\n')
    assert list(utils.read_jsonl(str(path))) == [{"a": 1}, [2]]
    utils.dump_state_text(str(path), ["one", 2])
    assert "0" in path.read_text()
    assert "one" in path.read_text()
    assert utils.normalize_base_url("::1", 3) == "http://[::1]:3"
    assert utils.normalize_base_url("https://a", 3) == "https://a:3"
    assert utils.trim_overlap("abc", "bcd") == "d"
    assert utils.trim_overlap("abc", "x") == "x"
    assert utils.is_same_type([1, 2])
    assert not utils.is_same_type([1, "2"])
    assert utils.convert_json_schema_to_str({"a": 1}) == '{"a": 1}'
    url = path.as_uri()
    fetched = utils.download_and_cache_file(url, str(tmp_path / "b"))
    assert (tmp_path / "b").read_text() == path.read_text()
    assert utils.download_and_cache_file("http://localhost:1/never", fetched) == fetched


def test_the_command_line(sglang: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    import argparse

    command = importlib.import_module("sglang.test.test_utils")
    monkeypatch.setattr(sys, "argv", ["bench", "--port", "1", "--backend", "other"])
    args = command.add_common_sglang_args_and_parse(argparse.ArgumentParser())
    assert (args.parallel, args.port, args.result_file) == (64, 1, "result.jsonl")
    with pytest.raises(InvalidRequestError, match="--backend"):
        command.select_sglang_backend(args)
