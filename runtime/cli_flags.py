"""How flags behave that may be said twice: on a command line, and in a file beside it.

A flag has several spellings; two values for one flag are an error, not a race, and an error names
it as it was typed. `--config` gives values to flags that the command line does not name.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from ..errors import EspalierError, InvalidRequestError

_GIVEN = "given_flags"
_IN_FILE = "flags_in_file"
_UNITS = {"": 1, "k": 10**3, "K": 2**10, "m": 10**6, "M": 2**20, "g": 10**9, "G": 2**30}


class Parser(argparse.ArgumentParser):
    """A command line whose flags are given once each (`append` and `extend` collect), and whose
    errors are one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.register("action", None, Once)
        self.register("action", "append", Collected)
        self.register("action", "store_true", Switched)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


class Once(argparse._StoreAction):
    """Stores a value. Another one for the same flag, in whatever spelling, is an error."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, values)
        if option_string is None:  # a positional argument
            return
        given = _given(namespace)
        before = given.get(self.dest)
        if before is not None and before[1] != values:
            raise InvalidRequestError(
                f"{before[0]} {_shown(before[1])} and {option_string} {_shown(values)} "
                "contradict each other",
                where=parser.prog,
                hint="They are one flag: give it once.",
            )
        given[self.dest] = (option_string, values)


class Switched(argparse._StoreTrueAction):
    """Stores True."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002
        namespace: argparse.Namespace,
        values: Any,  # noqa: ARG002
        option_string: str | None = None,
    ) -> None:
        _given(namespace)[self.dest] = (str(option_string), True)
        setattr(namespace, self.dest, True)


class Collected(argparse._AppendAction):
    """Collects values. The first one replaces what a file gave."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        given = _given(namespace)
        before = getattr(namespace, self.dest) if self.dest in given else []
        given[self.dest] = (str(option_string), [*before, values])
        setattr(namespace, self.dest, [*before, values])


def _given(namespace: argparse.Namespace) -> dict[str, tuple[str, Any]]:
    if not hasattr(namespace, _GIVEN):
        setattr(namespace, _GIVEN, {})
    found: dict[str, tuple[str, Any]] = getattr(namespace, _GIVEN)
    return found


def named_here(namespace: argparse.Namespace, dest: str) -> bool:
    """Whether the command line itself gave this flag, and not a file."""
    return dest in _given(namespace)


def typed(namespace: argparse.Namespace, option: str) -> str:
    """The flag of an option as the command line spelled it, or the place in the file that gave it;
    the flag's first spelling where neither did. option: as `dest` has it, or such a flag."""
    dest = _dest(option)
    if named_here(namespace, dest):
        return _given(namespace)[dest][0]
    in_file: dict[str, str] = getattr(namespace, _IN_FILE, {})
    return in_file.get(dest, "--" + dest.replace("_", "-"))


def _dest(option: str) -> str:
    return option.removeprefix("--").replace("-", "_")


@contextmanager
def as_typed(namespace: argparse.Namespace) -> Iterator[None]:
    """Errors that leave the block name options, which are Python's (max_running), as they were
    typed (--max-num-seqs)."""
    try:
        yield
    except EspalierError as error:
        if error.where is not None and hasattr(namespace, _dest(error.where)):
            error.where = typed(namespace, error.where)
        for part in ("message", "expected", "hint"):
            if (text := getattr(error, part)) is not None:
                setattr(error, part, _with_flags(namespace, text))
        raise


def _with_flags(namespace: argparse.Namespace, text: str) -> str:
    """The text with flags in place of options of several words, which mean nothing else."""
    names = "|".join(name for name in vars(namespace) if "_" in name)
    return re.sub(rf"\b({names})\b", lambda found: typed(namespace, found[0]), text)


def file_to_write(text: str) -> Path:
    """A file that a command will write at its end, looked at before its work; a flag's `type`."""
    path = Path(text)
    folder = path.absolute().parent
    if path.is_dir() or not folder.is_dir():
        raise argparse.ArgumentTypeError(f"expected a file in a folder that exists, got {text}")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise argparse.ArgumentTypeError(f"expected a file that may be written, got {text}")
    return path


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def count(text: str) -> int:
    """An integer, also as 8k (8,000) or 8K (8,192), as vLLM writes them."""
    found = re.fullmatch(r"(-?\d+(?:\.\d+)?)([kKmMgG]?)", text, re.ASCII)
    if found is None or ("." in found[1] and not found[2]):
        raise argparse.ArgumentTypeError(f"expected an integer, say 8192 or 8K, got {text!r}")
    return int(float(found[1]) * _UNITS[found[2]]) if found[2] else int(found[1])


def apply_file(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """Make what the file after `--config` says the parser's defaults, so that the command line
    wins. Raises InvalidRequestError for a file that cannot be read, a key that is no flag (with the
    nearest one), and a value that its flag cannot have."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    finder.add_argument("--config")
    try:
        name = finder.parse_known_args(list(arguments))[0].config
    except argparse.ArgumentError:
        return  # without a file's name: the parser itself says so
    if name is None:
        return
    words = [word for key, value in read(name).items() for word in _words(parser, name, key, value)]
    namespace, unknown = _parsed(parser, name, words)
    if unknown:
        raise InvalidRequestError(expected="flags and their values", got=unknown[0], where=name)
    places = {
        dest: f"{name}: {flag.removeprefix('--')}" for dest, (flag, _) in _given(namespace).items()
    }
    found = {dest: value for dest, value in vars(namespace).items() if dest != _GIVEN}
    parser.set_defaults(**found, **{_IN_FILE: places})


def _parsed(
    parser: argparse.ArgumentParser, name: str, words: list[str]
) -> tuple[argparse.Namespace, list[str]]:
    """parse_known_args, whose errors name the file."""
    parser.exit_on_error = False
    try:
        return parser.parse_known_args(words)
    except argparse.ArgumentError as error:
        raise InvalidRequestError(str(error), where=name) from None
    finally:
        parser.exit_on_error = True


def read(name: str) -> dict[str, Any]:
    """A mapping from a file in YAML, TOML or JSON, by its ending."""
    path = Path(name)
    try:
        text = path.read_text(encoding="utf-8")
        found = _READERS[path.suffix.lower()](text)
    except KeyError:
        raise InvalidRequestError(
            expected=f"a file ending in {', '.join(_READERS)}", got=name, where="--config"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidRequestError(
            f"the file cannot be read: {' '.join(str(error).split())}", where=name
        ) from None
    if not isinstance(found, dict):
        raise InvalidRequestError(
            expected="flags and their values", got=type(found).__name__, where=name
        )
    return found


def _yaml(text: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """A key that stands twice is an error."""

    def mapping(loader: Any, node: Any) -> dict[Any, Any]:
        return _unique(
            (loader.construct_object(key, deep=True), loader.construct_object(value, deep=True))
            for key, value in node.value
        )

    Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _unique(pairs: Any) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key, value in pairs:
        if not isinstance(key, str):
            raise ValueError(f"a key that is no text: {key!r}")
        if key in found:
            raise ValueError(f"the key {key!r} stands twice")
        found[key] = value
    return found


_READERS: dict[str, Callable[[str], Any]] = {
    ".yaml": _yaml,
    ".yml": _yaml,
    ".toml": tomllib.loads,
    ".json": lambda text: json.loads(text, object_pairs_hook=_unique),
}


def _words(parser: argparse.ArgumentParser, name: str, key: Any, value: Any) -> list[str]:
    """A key and its value, as a command line says them."""
    flag = "--" + str(key).replace("_", "-")
    where = f"{name}: {key}"
    action = parser._option_string_actions.get(flag)
    if action is None or flag in ("--help", "--config"):
        near = difflib.get_close_matches(flag, parser._option_string_actions, n=1)
        raise InvalidRequestError(
            f"there is no flag {flag}",
            where=where,
            hint=f"Did you mean {near[0].removeprefix('--')}?" if near else None,
        )
    if isinstance(value, bool) and action.nargs == 0:
        return [flag] if value else []
    if isinstance(value, list) and (action.nargs == "+" or isinstance(action, Collected)):
        texts = [_text(one, where) for one in value]
        return (
            [flag, *texts] if action.nargs == "+" else [w for text in texts for w in (flag, text)]
        )
    if action.nargs == 0:
        raise InvalidRequestError(expected="true or false", got=repr(value), where=where)
    return [f"{flag}={_text(value, where)}"]


def _text(value: Any, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidRequestError(expected="a text or a number", got=repr(value), where=where)
    return str(value)
