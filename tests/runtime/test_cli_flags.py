"""What all commands' flags have in common: each is given once, is named as it was typed, and an
error is one line."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from espalier.errors import InvalidRequestError
from espalier.runtime import cli
from espalier.runtime.cli_flags import Parser, as_typed, typed


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that says why."""
    try:
        code: object = cli.main(arguments)
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    return err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve", "-q", "fp8"], "'fp8' (choose from 'none', 'int8') (see espalier serve --help)"),
        (["run"], "required: FILE[:function] (see espalier run --help)"),
        (["chat", "--max-tokens", "many"], "--max-tokens: invalid int value: 'many' (see"),
        (["bench", "radix", "--size", "3"], "espalier bench radix: error: unrecognized"),
        (["bench", "gpu", "--seconds", "x"], "espalier bench gpu: error: argument --seconds"),
    ],
)
def test_a_wrong_flag_is_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refused(arguments, capsys)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "x.py", "--seed", "1", "--seed", "2"], "--seed 1 and --seed 2 contradict"),
        (["chat", "--model", "a", "--model=b"], "--model a and --model b contradict"),
        (["top", "x.py", "--times", "1", "--times", "2"], "(at espalier top)"),
        (["bench", "radix", "--json", "a", "--json", "b"], "(at espalier bench radix)"),
    ],
)
def test_a_flag_is_given_once(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refused(arguments, capsys)


def test_what_repeats_is_collected() -> None:
    parser = Parser()
    parser.add_argument("--arg", action="append", default=[])
    parser.add_argument("--rate", action="extend", nargs="+", default=[])
    args = parser.parse_args(["--arg", "a", "--arg", "b", "--rate", "1", "2", "--rate", "3"])
    assert (args.arg, args.rate) == (["a", "b"], ["1", "2", "3"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve", "--max-num-seqs", "0"], "got 0 (at --max-num-seqs)"),
        (["serve", "--max-running", "0"], "got 0 (at --max-running)"),
        (["serve", "--max-num-batched-tokens", "-3"], "got -3 (at --max-num-batched-tokens)"),
        (["serve", "--max-total-tokens", "9", "--block-size", "2"], "of --block-size (2), got 9"),
        (["serve", "--max-num-batched-tokens", "4", "--chunked-prefill-size", "8"],
         "at most --max-num-batched-tokens, which is 4, got 8 (at --chunked-prefill-size)"),
        (["serve", "--async-scheduling", "--disable-overlap-schedule"],
         "expected --async-scheduling or --disable-overlap-schedule, got both"),
        (["chat", "--max-tokens", "0"], "(at --max-tokens)"),
        (["serve", "--max-queued-requests", "-300"], "(at --max-queued-requests)"),
        (["serve", "--watchdog-timeout", "-1"], "(at --watchdog-timeout)"),
    ],
)  # fmt: skip
def test_an_error_names_what_was_typed(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refused(arguments, capsys)


def test_an_error_names_the_file_that_gave_a_flag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text("max-num-seqs: 0\nenforce-eager: true\n")
    given = ["serve", "--config", str(file)]
    assert f"(at {file}: max-num-seqs)" in refused(given, capsys)
    assert "(at --max-running-requests)" in refused([*given, "--max-running-requests=-1"], capsys)


def test_other_errors_keep_their_place() -> None:
    args = argparse.Namespace(step_tokens=1)
    for where in ("x.py:3", "messages", None):
        with pytest.raises(InvalidRequestError) as caught, as_typed(args):
            raise InvalidRequestError("no", where=where, hint="Raise step_tokens.")
        assert caught.value.where == where
        assert caught.value.hint == "Raise --step-tokens."
    assert typed(args, "step_tokens") == "--step-tokens"


@pytest.mark.parametrize("path", ["no/such/folder/a", "."])
@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (["run", "no_such_file.py"], "--html"),
        (["compile", "no_such_file.py"], "--save"),
        (["bench", "radix"], "--json"),
        (["bench", "radix"], "--svg"),
        (["bench", "latency"], "--svg"),
    ],
)
def test_a_file_that_cannot_be_written_is_told_first(
    arguments: list[str],
    flag: str,
    path: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    told = refused([*arguments, flag, path], capsys)
    assert f"argument {flag}: expected a file in a folder that exists, got {path} (see" in told
    assert list(tmp_path.iterdir()) == []
