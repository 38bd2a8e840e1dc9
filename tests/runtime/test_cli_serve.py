"""Flags of `espalier serve`: spellings of others, files of flags, and what contradicts itself."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pytest

from espalier.errors import InvalidRequestError, NotSupportedError
from espalier.runtime import cli, cli_others, cli_serve
from espalier.runtime.cli_flags import Parser, apply_file, count
from espalier.runtime.options import EngineOptions
from espalier.runtime.server.settings import ServerSettings
from tests.support import ROOT


def parsed(*arguments: str) -> argparse.Namespace:
    parser = Parser(prog="espalier serve")
    cli_serve.configure(parser)
    apply_file(parser, arguments)
    args = parser.parse_args(arguments)
    cli_serve.check(args)
    return args


def options(*arguments: str) -> EngineOptions:
    return cli_serve.options_of(parsed(*arguments), "sprig")


def settings(*arguments: str) -> ServerSettings:
    return cli_serve.settings_of(parsed(*arguments), "sprig")


@pytest.mark.parametrize(
    ("flags", "option", "value"),
    [
        (["--max-model-len", "1k"], "context_length", 1000),
        (["--max-model-len=1K"], "context_length", 1024),
        (["--context-length", "512"], "context_length", 512),
        (["--max-num-seqs", "7"], "max_running", 7),
        (["--max-running-requests", "7"], "max_running", 7),
        (["--max-num-batched-tokens", "64"], "step_tokens", 64),
        (["--chunked-prefill-size", "64"], "chunk_tokens", 64),
        (["--block-size", "16"], "page_size", 16),
        (["--radix-eviction-policy", "lru"], "eviction", "lru"),
        (["--schedule-policy", "fcfs"], "schedule_policy", "fcfs"),
        (["--grammar-bytes", "16M"], "grammar_bytes", 16 << 20),
        (["--disable-radix-cache"], "enable_radix_cache", False),
        (["--no-enable-prefix-caching"], "enable_radix_cache", False),
        (["--enable-deterministic-inference"], "deterministic", True),
        (["--tokenizer-path", "x"], "tokenizer", "x"),
        (["--dtype", "half"], "dtype", "float16"),
        (["--dtype", "float"], "dtype", "float32"),
        (["--disable-overlap-schedule"], "overlap", False),
        (["--async-scheduling"], "overlap", True),
        ([], "overlap", None),
    ],
)
def test_spellings_of_the_same_thing(flags: list[str], option: str, value: Any) -> None:
    assert getattr(options(*flags), option) == value


def test_settings_of_flags() -> None:
    made = settings("--admin-api-key", "a", "--api-key", "k", "--api-key", "l", "--max-logprobs=7")
    assert (made.admin_key, made.api_keys, made.limits.logprobs) == ("a", ("k", "l"), 7)
    assert made.limits.top_logprobs == 7  # of chats and completions too
    assert made.limits.connections == 2 * (256 + 2048)
    assert settings("--max-running", "2", "--max-queued-requests=3").limits.connections == 4096
    made = settings("--max-connections", "7")
    assert made.limits.connections == 7
    made.check()
    with pytest.raises(InvalidRequestError, match="max-connections"):
        settings("--max-connections", "0").check()


def test_what_is_so_anyway_is_taken() -> None:
    for names in cli_others.SO_ANYWAY:
        for name in names:
            parsed(name)
    for names, (granted, _) in cli_others.VALUES.items():
        for name in names:
            for value in granted:
                parsed(name, value)


def test_the_rest_is_refused_with_what_to_use() -> None:
    for names, instead in cli_others.REFUSED.items():
        for name in names:
            with pytest.raises(NotSupportedError) as caught:
                parsed(name)
            assert f"{name} is not supported" in str(caught.value)
            assert instead in str(caught.value)
    for names, (_, instead) in cli_others.VALUES.items():
        for name in names:
            with pytest.raises(NotSupportedError) as caught:
                parsed(name, "97")
            assert f"{name} 97 is not supported" in str(caught.value)
            assert instead in str(caught.value)


def test_every_flag_that_is_named_instead_exists() -> None:
    parser = Parser()
    cli_serve.configure(parser)
    hints = [*cli_others.REFUSED.values(), *(how for _, how in cli_others.VALUES.values())]
    named = {word.strip(",:;.") for hint in hints for word in hint.split() if word[:2] == "--"}
    assert named
    assert named <= set(parser._option_string_actions)


def test_every_flag_of_the_page_exists() -> None:
    parser = Parser()
    cli_serve.configure(parser)
    text = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    text, batch = text.split("## Files of requests")
    own = [line for line in (text + batch.partition("\n## ")[2]).splitlines()
           if not re.match(r"    espalier (?!serve)", line)]  # fmt: skip
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", "\n".join(own)))
    assert len(named) > 15
    assert named - {"--help"} <= set(parser._option_string_actions)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--block-size", "4", "--page-size", "8"], "--block-size 4 and --page-size 8 contradict"),
        (["--port", "1", "--port=2"], "--port 1 and --port 2 contradict"),
        (["--no-radix-cache", "--enable-prefix-caching"], "contradict each other"),
        (["--no-radix-cache", "--host-total-tokens", "8"], "contradict each other"),
        (["--overlap", "--disable-overlap-schedule"], "contradict each other"),
        (["--chunk-tokens", "9", "--step-tokens", "8"], "at most --step-tokens, which is 8"),
        (["sprig", "--model", "null"], "expected one model, got sprig and null"),
        (["--insecure", "--api-key", "k"], "with a key nobody is let in without"),
    ],
)
def test_contradictions(flags: list[str], words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        settings(*flags)


def test_saying_the_same_twice_is_no_contradiction() -> None:
    assert options("--block-size", "4", "--page-size", "4").page_size == 4


@pytest.mark.parametrize("text", ["", "x", "1.5", "1e3", "k", "1kk", "0x10", "\u0663"])
def test_what_is_no_count(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        count(text)


# -- files of flags --------------------------------------------------------------------------------

FILES = {
    "a.yaml": "port: 8000\nmax_model_len: 1k\nno-radix-cache: true\ndeterministic: false\n"
    "served-model-name: [a, b]\nallowed-host: [x, y]\nmodel: null-model\n",
    "a.toml": 'port = 8000\nmax_model_len = "1k"\nno-radix-cache = true\ndeterministic = false\n'
    'served-model-name = ["a", "b"]\nallowed-host = ["x", "y"]\nmodel = "null-model"\n',
    "a.json": '{"port": 8000, "max_model_len": "1k", "no-radix-cache": true, "deterministic":'
    ' false, "served-model-name": ["a", "b"], "allowed-host": ["x", "y"], "model": "null-model"}',
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_flags(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_text(FILES[name])
    args = parsed("--config", str(file))
    made = cli_serve.options_of(args, "m")
    assert (args.model, made.context_length, made.deterministic) == ("null-model", 1000, False)
    assert made.enable_radix_cache is False
    told = cli_serve.settings_of(args, "m")
    assert (told.port, told.served_model_names, told.allowed_hosts) == (
        8000,
        ("a", "b"),
        ("x", "y"),
    )


def test_the_command_line_wins(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(FILES["a.yaml"] + "tensor-parallel-size: 4\n")
    line = ["--port", "9", "--allowed-host", "z", "--served-model-name", "c", "-tp", "1"]
    args = parsed("sprig", f"--config={file}", *line)
    told = cli_serve.settings_of(args, "m")
    assert (told.port, told.served_model_names, told.allowed_hosts) == (9, ("c",), ("z",))
    assert args.model_path == "sprig"
    file.write_text("block-size: 4\n")
    assert options("--config", str(file), "--page-size", "8").page_size == 8


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.yaml", "prot: 1", "there is no flag --prot .*a.yaml: prot.*Did you mean port"),
        ("a.yaml", "config: b.yaml", "there is no flag --config"),
        ("a.yaml", "port: [1, 2]", "expected a text or a number"),
        ("a.yaml", "port: true", "expected a text or a number, got True"),
        ("a.yaml", "port: x", "invalid int value: 'x' .*a.yaml"),
        ("a.yaml", "port:", "expected a text or a number, got None"),
        ("a.yaml", "insecure: 1", "expected true or false, got 1"),
        ("a.yaml", "port: 1\nport: 2", "the key 'port' stands twice"),
        ("a.yaml", "port: 1\nblock-size: 1\npage-size: 2", "contradict each other"),
        ("a.yaml", "- port", "expected flags and their values, got list"),
        ("a.yaml", "a: [", "the file cannot be read"),
        ("a.yaml", "? [a]\n: 1", "the file cannot be read"),
        ("a.yaml", "x: !!python/object:os.system 1", "the file cannot be read"),
        ("a.json", '{"port": 1, "port": 2}', "stands twice"),
        ("a.toml", "port", "the file cannot be read"),
        ("a.ini", "", "a file ending in .yaml, .yml, .toml, .json"),
        ("a.yaml", "tp: 2", "--tp 2 is not supported"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises((InvalidRequestError, NotSupportedError), match=words):
        parsed("--config", str(tmp_path / name))
    with pytest.raises(InvalidRequestError, match="the file cannot be read"):
        parsed("--config", str(tmp_path / "none.yaml"))


# -- parts of the help -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "there", "absent"),
    [
        ("engine", "--max-model-len", "--port"),
        ("access", "--api-key-file", "--max-model-len"),
        ("port", "a free one", "--host"),
        ("--max-num-seqs", "sequences at once", "--port"),
        ("others", "--tensor-parallel-size", "--cors-origin  "),
        ("all", "--cors-origin", "--tensor-parallel-size"),
    ],
)
def test_a_part_of_the_help(
    part: str, there: str, absent: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["serve", f"--help={part}"]) == 0
    shown = capsys.readouterr().out
    assert there in shown
    assert absent not in shown


def test_an_unknown_part_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--help=acess"]) == 2
    told = capsys.readouterr().err
    assert "one of engine, server, access, others, all, or a flag" in told
    assert "Did you mean access?" in told


@pytest.mark.parametrize("flag", ["--enforce-eager", "--disable-cuda-graph"])
def test_graphs_and_none_contradict_each_other(flag: str) -> None:
    with pytest.raises(InvalidRequestError, match="contradict"):
        parsed("--cuda-graphs", flag)
    assert options("--cuda-graphs").cuda_graphs is True
    assert options(flag).cuda_graphs is False
    assert options().cuda_graphs is None
