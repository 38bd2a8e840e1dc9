"""The command `espalier`: parses, calls one `cli_*` module per command, and reports errors.

Exit codes: 0 done, 1 it failed, 2 bad input, 130 interrupted. An error is one line on standard
error; `--debug` (before the command) shows the traceback instead.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from .. import __version__
from ..errors import (
    EspalierError,
    GrammarError,
    InvalidRequestError,
    ModelLoadError,
    NotSupportedError,
)
from .cli_flags import Parser, apply_file
from .cli_help import part

BAD_INPUT = (InvalidRequestError, GrammarError, ModelLoadError, NotSupportedError)

ABOUT = """\
Language-model programs whose shared prefixes are computed once and whose outputs cannot leave
their grammar.

first steps
  espalier demo                         a guided tour with the embedded model, under a minute
  espalier demo --text "Ida is 41 and lives in Bergen."
  espalier run FILE.py                  run a program of gen, select and fork, and see its report
  espalier top FILE.py                  the same, watching the engine at work
  espalier chat                         talk to a model, and watch what is cached

every command explains itself: espalier run --help (serve --help=engine: one group of flags)"""


class Command(NamedTuple):
    """A command lives in `cli_<module>`, which has `configure(parser)` and `run(args) -> int`."""

    module: str
    help: str


COMMANDS = {
    "demo": Command("cli_demo", "a guided tour: typed JSON, forks, tools, and what sharing saves"),
    "run": Command("cli_run", "run a program from a file"),
    "compile": Command("cli_compile", "check a program before it runs: lines, tokens, its graph"),
    "top": Command("cli_top", "run a program and watch its engine at work"),
    "chat": Command("cli_chat", "talk to a model"),
    "serve": Command("cli_serve", "an OpenAI-compatible server"),
    "batch": Command("cli_batch", "answer a file of requests, without a server or by one"),
    "grammar": Command("cli_grammar", "check a grammar, and whether a text belongs to it"),
    "bench": Command("cli_bench", "measure something by name"),
    "doctor": Command("cli_doctor", "check this installation, and say what is missing"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser, commands = _parser()
    name = next((text for text in arguments if text in COMMANDS), None)
    if name is None:
        _refuse_unknown(parser, arguments)
        parser.print_help()
        return 2
    module = importlib.import_module(f".{COMMANDS[name].module}", __package__)
    command = commands[name]
    module.configure(command)
    try:
        if (wanted := _part(arguments)) is not None:
            print(part(command, wanted), end="")
            return 0
        if "--config" in command._option_string_actions:
            apply_file(command, arguments)
        args, unknown = parser.parse_known_args(arguments)
        if unknown:
            command.error(_unknown(unknown[0], parser, command))
        return int(module.run(args))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except EspalierError as error:
        if "--debug" in arguments[: arguments.index(name)]:
            raise
        print(f"espalier {name}: {describe(error)}", file=sys.stderr)
        return 2 if isinstance(error, BAD_INPUT) else 1


def _part(arguments: Sequence[str]) -> str | None:
    """What `--help=PART` asks for."""
    return next((a.removeprefix("--help=") for a in arguments if a.startswith("--help=")), None)


def _refuse_unknown(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Exit where no command is named: for --help and --version, or with the nearest name."""
    told = {"-h", "--help", "--version"} & {*arguments}
    word = next((text for text in arguments if not text.startswith("-")), None)
    if word is not None and not told:
        near = difflib.get_close_matches(word, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"commands: {', '.join(COMMANDS)}"
        parser.error(f"argument COMMAND: invalid choice: {word!r}: {hint}")
    _, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(_unknown(unknown[0], parser))


def _unknown(argument: str, *parsers: argparse.ArgumentParser) -> str:
    """What to say of an argument that none of the parsers knows, with the nearest flag."""
    flag = argument.partition("=")[0]
    known = [name for parser in parsers for name in parser._option_string_actions]
    near = difflib.get_close_matches(flag, known, n=1)
    hint = f": did you mean {near[0]}?" if near else ""
    return f"unrecognized argument {argument}{hint}"


def describe(error: EspalierError) -> str:
    """The error as one line: its kind, and what it says."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _parser() -> tuple[Parser, dict[str, Parser]]:
    form = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog="espalier", description=ABOUT, formatter_class=form)
    parser.add_argument("--version", action="version", version=f"espalier {__version__}")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    commands = {
        name: subparsers.add_parser(name, help=command.help, formatter_class=form)
        for name, command in COMMANDS.items()
    }
    return parser, commands


if __name__ == "__main__":
    sys.exit(main())
