"""The machine against other means, in numbers: `python -m tests.grammar.full_counts`.

With Llama 3's vocabulary. Masks of regexes, every token of them, against the `regex` package's
partial matching; sampled tokens of JSON Schema's masks by completion, against `jsonschema`; random
documents against `jsonschema`, and strings against `re`; random walks, which must reach an end.
A tenth part and less is one of the tests (`--share`).
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any, NamedTuple
from unittest import mock

import jsonschema
import numpy as np
from hypothesis import HealthCheck, given, seed, settings, strategies as st
from jsonschema import _keywords, _legacy_keywords, _utils

from espalier.benchmarks.grammar_runs import most_properties
from espalier.errors import GrammarError
from espalier.grammar import CompiledGrammar, GrammarCompiler, GrammarSpec, Matcher
from tests.support import data_path

from .machine_tools import LETTERS, REGEXES
from .test_compiler import _llama
from .test_masks import _extendable, _partial

STATES, SAMPLED_STATES, SAMPLED = 300, 30, 2000
DOCUMENTS, STRINGS, WALKS = 100_000, 100_000, 10_000
SMALL_OBJECT = 8  # properties up to which any order is asked for


class Schema(NamedTuple):
    """One from the wild. any_order: else a document may be rejected for its order."""

    name: str
    grammar: CompiledGrammar
    validator: Any
    instances: list[Any]
    any_order: bool


class _EcmaRe:
    """`re` as jsonschema is to use it: in JSON Schema's patterns (ECMA 262) classes such as \\w are
    of ASCII. \\s is not, and a pattern with it is left to Python."""

    def search(self, pattern: str, text: str) -> re.Match[str] | None:
        """Of `re`."""
        return re.search(pattern, text, 0 if "\\s" in pattern.lower() else re.ASCII)


class Counts:
    """share: of the full numbers. found: what was tried, by kind."""

    def __init__(self, share: float) -> None:
        self.share = share
        _, self.compiler = _llama()
        self.tokens = self.compiler.vocabulary.tokens
        self.found: Counter[str] = Counter()

    @cached_property
    def schemas(self) -> list[Schema]:
        return list(self._schemas())

    def _schemas(self) -> Iterator[Schema]:
        lines = data_path("real-schemas/schemas.jsonl").read_text().splitlines()
        random.Random(0).shuffle(lines)
        for line in lines[: max(5, round(len(lines) * self.share))]:
            row = json.loads(line)
            any_order = most_properties(row["schema"]) <= SMALL_OBJECT
            order = "any" if any_order else "declared"
            spec = GrammarSpec.json_schema(row["schema"], property_order=order, format="annotate")
            try:
                grammar = self.compiler.compile(spec)
            except GrammarError:
                self.found["schemas refused"] += 1
                continue
            kind = jsonschema.validators.validator_for(
                row["schema"], jsonschema.Draft202012Validator
            )
            instances = [test["data"] for test in row["tests"]]
            yield Schema(row["name"], grammar, kind(row["schema"]), instances, any_order)

    def _valid(self, schema: Schema, value: Any) -> bool:
        with ExitStack() as stack:
            for module in (_keywords, _legacy_keywords, _utils):
                stack.enter_context(mock.patch.object(module, "re", _EcmaRe()))
            return bool(schema.validator.is_valid(value))

    # -- regexes -----------------------------------------------------------------------------------

    def regex_masks(self) -> None:
        """Every token of every mask."""
        wanted = round(STATES * self.share)
        drawn: set[tuple[str, bytes]] = set()

        def masks(pattern: str, number: int) -> None:
            if len(drawn) >= wanted:
                return
            oracle = _partial(pattern)
            matcher = _regex(self.compiler, pattern).matcher()
            text, draw = b"", random.Random(number)
            for _ in range(3):
                mask = self._mask(matcher)
                if (pattern, text) not in drawn:
                    drawn.add((pattern, text))
                    for token, spelled in enumerate(self.tokens):
                        if token not in self.compiler.vocabulary.special_ids:
                            right = bool(spelled) and _extendable(oracle, text + spelled)
                            assert bool(mask[token]) == right, (pattern, text, spelled)
                token = self._draw(mask, draw)
                if not matcher.accept(token) or matcher.is_terminated:
                    return
                text += self.tokens[token]

        while len(drawn) < wanted:
            _each(masks, len(drawn) + 40, REGEXES, st.integers(0, 10**6), number=len(drawn))
        self.found["states of regexes, full masks"] = len(drawn)
        self.found["tokens in full masks"] = len(drawn) * len(self.tokens)

    def strings(self) -> None:
        """Fifty strings to a regex: drawn, and walked along it with an edit. `re` tracks back
        without end through some of them, which are counted apart."""
        wanted = round(STRINGS * self.share)

        def tried(pattern: str, number: int) -> None:
            if self.found["strings"] >= wanted:
                return
            grammar, draw = _regex(self.compiler, pattern), random.Random(number)
            for _ in range(50):
                text = _string(draw) if draw.random() < 0.5 else self._near(grammar, draw)
                try:
                    with _seconds(1.0):
                        right = re.fullmatch(pattern, text) is not None
                except TimeoutError:
                    self.found["strings that re does not decide in a second"] += 1
                    continue
                assert _accepts(grammar, text) == right, (pattern, text)
                self.found["strings"] += 1
                self.found["strings that match"] += right

        while self.found["strings"] < wanted:
            _each(tried, 400, REGEXES, st.integers(0, 10**6), number=self.found["strings"])

    def _near(self, grammar: CompiledGrammar, draw: random.Random) -> str:
        matcher, text = grammar.matcher(), b""
        for _ in range(draw.randrange(7)):
            token = self._draw(self._mask(matcher), draw)
            if token in self.compiler.vocabulary.special_ids:
                break
            assert matcher.accept(token)
            text += self.tokens[token]
        spelled = text.decode(errors="ignore")[:60]
        at = draw.randrange(len(spelled) + 1)
        edit = draw.choice(["", "", draw.choice(LETTERS), draw.choice(LETTERS)])
        return spelled[:at] + edit + spelled[at + draw.randrange(2) :]

    # -- JSON Schema -------------------------------------------------------------------------------

    def documents(self) -> None:
        """Instances of each schema's tests with random edits."""
        each = round(DOCUMENTS * self.share / len(self.schemas)) + 1
        for schema in self.schemas:
            draw = random.Random(zlib.crc32(schema.name.encode()))
            values = [*_leaves(_copy(schema.instances)), None, True, 0, -3, 2.5, "", "a", [], {}]
            for number in range(each):
                value = _copy(draw.choice(schema.instances))
                for _ in range(0 if not number else draw.choice([1, 1, 2, 4])):
                    value = _edit(value, values, draw)
                valid = self._valid(schema, value)
                taken = _accepts(schema.grammar, json.dumps(value, ensure_ascii=False))
                assert valid or not taken, (schema.name, value)
                assert taken or not valid or not schema.any_order, (schema.name, value)
                self.found["documents"] += 1
                self.found["documents that are valid"] += valid
                self.found["valid ones rejected for their order"] += valid and not taken

    def walks(self) -> None:
        """Random tokens, then a budget that just suffices: each ends, in a valid document."""
        each = round(WALKS * self.share / len(self.schemas)) + 1
        for schema in self.schemas:
            draw = random.Random(schema.name)
            for _ in range(each):
                matcher, text = schema.grammar.matcher(), b""
                for _ in range(draw.randrange(25)):
                    token = self._draw(self._mask(matcher), draw)
                    assert matcher.accept(token)
                    if matcher.is_terminated:
                        break
                    text += self.tokens[token]
                text += self._finish(matcher, draw)
                assert self._valid(schema, json.loads(text)), (schema.name, text)
                self.found["walks"] += 1

    def completions(self) -> None:
        """Sampled tokens of a mask: what is in it can be completed to a valid document, and no
        canonical valid document goes on with what is not."""
        draw = random.Random(0)
        for schema in draw.choices(self.schemas, k=max(2, round(SAMPLED_STATES * self.share))):
            matcher, text = schema.grammar.matcher(), b""
            for _ in range(draw.randrange(12)):
                token = self._draw(self._mask(matcher), draw)
                if token in self.compiler.vocabulary.special_ids:
                    break
                assert matcher.accept(token)
                text += self.tokens[token]
            mask = self._mask(matcher)
            rest = self._finish(matcher.copy(), draw)
            for token in self._sample(mask, draw):
                spelled = self.tokens[token]
                if mask[token]:
                    trial = matcher.copy()
                    assert trial.accept(token)
                    whole = text + spelled + self._finish(trial, draw)
                    valid = self._valid(schema, json.loads(whole))
                    assert valid, (schema.name, whole)
                    self.found["sampled tokens, allowed"] += 1
                else:
                    for at in {0, len(spelled), 1}:
                        self._must_not(schema, text + spelled + rest[at:])
                    self.found["sampled tokens, forbidden"] += 1
            self.found["states of schemas"] += 1

    def _sample(self, mask: np.ndarray, draw: random.Random) -> list[int]:
        """Half of them allowed, where there are so many."""
        specials = self.compiler.vocabulary.special_ids
        usable = [t for t, text in enumerate(self.tokens) if text and t not in specials]
        inside = [token for token in usable if mask[token]]
        half = draw.sample(inside, min(SAMPLED // 2, len(inside)))
        outside = [token for token in usable if not mask[token]]
        return half + draw.sample(outside, min(SAMPLED - len(half), len(outside)))

    def _must_not(self, schema: Schema, text: bytes) -> None:
        try:
            value = json.loads(text)
            canonical = json.dumps(value, ensure_ascii=False).encode() == text
        except ValueError:
            return
        if canonical and schema.any_order:
            assert not self._valid(schema, value), (schema.name, text)
            self.found["of these, whole documents"] += 1

    # -- masks -------------------------------------------------------------------------------------

    def _mask(self, matcher: Matcher, remaining: int | None = None) -> np.ndarray:
        words = np.zeros(self.compiler.vocabulary.words, dtype=np.uint32)
        matcher.fill_mask(words, remaining)
        return np.unpackbits(words.view(np.uint8), count=len(self.tokens), bitorder="little")

    def _draw(self, mask: np.ndarray, draw: random.Random) -> int:
        allowed = np.flatnonzero(mask)
        return int(allowed[draw.randrange(len(allowed))])

    def _finish(self, matcher: Matcher, draw: random.Random) -> bytes:
        """Completes the text in as few tokens as the distance promises."""
        text = b""
        for remaining in range(0 if matcher.is_terminated else matcher.distance(), 0, -1):
            if matcher.can_end:
                break
            token = self._draw(self._mask(matcher, remaining), draw)
            assert matcher.accept(token)
            text += self.tokens[token]
        assert matcher.can_end, "the way to an end was longer than it was said to be"
        return text


def _regex(compiler: GrammarCompiler, pattern: str) -> CompiledGrammar:
    return compiler.compile(GrammarSpec.regex(pattern))


@contextmanager
def _seconds(limit: float) -> Iterator[None]:
    """TimeoutError after so much CPU time: `re` looks for signals while it works."""

    def end(number: int, frame: object) -> None:
        raise TimeoutError(f"{limit} s of CPU time")

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _accepts(grammar: CompiledGrammar, text: str) -> bool:
    matcher = grammar.matcher()
    return matcher.accept_bytes(text.encode()) and matcher.can_end


def _each(
    work: Callable[..., None], examples: int, *strategies: st.SearchStrategy[Any], number: int
) -> None:
    """Draws that many inputs by a seed, and works on them."""

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.tuples(*strategies))
    def tried(drawn: tuple[Any, ...]) -> None:
        work(*drawn)

    tried()


def _string(draw: random.Random) -> str:
    return "".join(draw.choice(LETTERS) for _ in range(draw.randrange(9)))


# -- edits of documents ----------------------------------------------------------------------------


def _copy(value: Any) -> Any:
    """A copy; whole numbers without a fraction, as integers are written on purpose."""
    return json.loads(json.dumps(value), parse_float=_number)


def _number(text: str) -> float:
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]


def _edit(value: Any, values: list[Any], draw: random.Random) -> Any:
    """One edit somewhere in the value: a part replaced, dropped, added or moved."""
    if isinstance(value, dict) and value and draw.random() < 0.8:
        name = draw.choice(list(value))
        kind = draw.random()
        if kind < 0.5:
            return {**value, name: _edit(value[name], values, draw)}
        if kind < 0.7:
            return {key: item for key, item in value.items() if key != name}
        if kind < 0.85:
            return {**value, draw.choice(["x", name + "x", name.upper()]): draw.choice(values)}
        names = draw.sample(list(value), len(value))
        return {key: value[key] for key in names}
    if isinstance(value, list) and value and draw.random() < 0.8:
        at, kind = draw.randrange(len(value)), draw.random()
        if kind < 0.5:
            return [*value[:at], _edit(value[at], values, draw), *value[at + 1 :]]
        if kind < 0.75:
            return value[:at] + value[at + 1 :]
        return [*value, _copy(draw.choice(value))]
    if isinstance(value, str) and draw.random() < 0.5:
        at = draw.randrange(len(value) + 1)
        return value[:at] + draw.choice(["", "a", " ", "Z9", '"', "é"]) + value[at + 1 :]
    if isinstance(value, int) and not isinstance(value, bool) and draw.random() < 0.5:
        return value + draw.choice([-1000, -1, 1, 7, 10**6])
    return draw.choice(values)


PARTS = ("strings", "documents", "walks", "completions", "regex_masks")


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--share", type=float, default=1.0, help="of the full numbers")
    options.add_argument("--part", choices=PARTS, action="append")
    args = options.parse_args()
    counts = Counts(args.share)
    for part in args.part or PARTS:
        begin = time.process_time()
        getattr(counts, part)()
        print(f"{part}: {time.process_time() - begin:.0f} s of CPU time", flush=True)
        print(json.dumps(dict(counts.found)), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
