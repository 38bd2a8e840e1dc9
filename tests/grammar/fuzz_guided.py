"""Fuzzing by atheris: inputs that reach new lines of the parsers are kept and changed further.

`python -m tests.grammar.fuzz_guided TARGET --seconds 600`, which fuzz.py starts for each parser.
"""

from __future__ import annotations

import argparse
import sys
import tempfile

import atheris  # type: ignore[import-not-found, unused-ignore]  # no dependency of the project

with atheris.instrument_imports(include=["espalier.grammar"]):
    from tests.grammar import fuzz

TARGETS = {
    "schema text": (fuzz.SCHEMAS, fuzz.SCHEMA_WORDS),
    "regex": (fuzz.PATTERNS, fuzz.PATTERN_WORDS),
    "ebnf": (fuzz.GRAMMARS, fuzz.GRAMMAR_WORDS),
}


def read(data: bytes, words: list[str]) -> str:
    """The first byte says how the rest is read: as text, or as numbers of words."""
    if data[:1] < b"\x80":
        return data[1:].decode("utf-8", "replace")
    return "".join(words[byte % len(words)] for byte in data[1:])


def tried(target: str, data: bytes) -> None:
    text = read(data, TARGETS[target][1])
    flag = data[:1] < b"\x40"
    try:
        _try(target, text, flag)
    except BaseException:
        print(f"{target}: {text!r}", file=sys.stderr)
        raise


def _try(target: str, text: str, flag: bool) -> None:
    if target == "schema text":
        fuzz.try_schema(text, {"lenient": flag})
    elif target == "regex":
        fuzz.try_regex(text, flag)
    else:
        fuzz.try_ebnf(text)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("target", choices=TARGETS)
    options.add_argument("--seconds", type=int, default=600)
    args = options.parse_args()
    for text in TARGETS[args.target][0]:
        tried(args.target, b"\x20" + text.encode())
    settings = [f"-max_total_time={args.seconds}", "-max_len=400", "-timeout=60", "-verbosity=0"]
    settings.append("-print_final_stats=1")
    settings.append(f"-artifact_prefix={tempfile.gettempdir()}/espalier-fuzz-")
    atheris.Setup([sys.argv[0], *settings], lambda data: tried(args.target, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
