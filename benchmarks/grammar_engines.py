"""The grammar engines that are measured beside each other, under one protocol.

A peer is used if it can be imported, with its documented settings for the language that ours has by
default: JSON as `json.dumps` writes it, properties as declared, unless a part of the benchmark asks
for something else. Peers: XGrammar, llguidance (strict, and lenient: what it does not know is
dropped), outlines-core (regular expressions only; JSON schemas through its own translation).
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from ..grammar import CompiledGrammar, GrammarCompiler, GrammarSpec, Vocabulary

OURS = "espalier"
MODULES = {
    "XGrammar": "xgrammar",
    "llguidance": "llguidance",
    "llguidance lenient": "llguidance",
    "outlines-core": "outlines_core",
}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a JSON schema is asked for. any_order, annotate, lenient: ours alone. flexible: JSON
    with any white space, and members that the schema does not name (what a schema means).
    registry: a folder of schemas that others refer to, at localhost:1234; ours alone."""

    any_order: bool = False
    annotate: bool = False
    lenient: bool = False
    flexible: bool = False
    registry: str = ""


class Refused(Exception):
    """The engine does not take this grammar."""


class Matching(msgspec.Struct):
    """One text's way through a grammar. fill: writes the mask. take: a token; False if it may not
    come."""

    fill: Callable[[], object]
    take: Callable[[int], bool]


class GrammarEngine(Protocol):
    """mask: uint32[words], which every matcher fills. eos_ids: the tokens in it that say that a
    text may end; some engines know only the first of them."""

    mask: np.ndarray
    eos_ids: tuple[int, ...]

    def forget(self) -> None:
        """Forgets every grammar, and keeps what belongs to the vocabulary."""

    def compile(self, texts: Mapping[str, str], options: Options, /) -> Callable[[], Matching]:
        """What makes matchers of the grammar, given by its texts (by kind). Raises Refused, or
        whatever the engine raises."""
        ...


def missing() -> list[str]:
    """The peers that cannot be imported here."""
    return [name for name, module in MODULES.items() if importlib.util.find_spec(module) is None]


def make(name: str, vocabulary: Vocabulary, tokenizer_file: str) -> GrammarEngine:
    """An engine by name, made ready for the vocabulary."""
    if name == OURS:
        return Ours(vocabulary)
    if name == "XGrammar":
        return XGrammar(vocabulary)
    if name == "outlines-core":
        return OutlinesCore(vocabulary)
    return LLGuidance(vocabulary, tokenizer_file, lenient=name.endswith("lenient"))


class Ours:
    def __init__(self, vocabulary: Vocabulary) -> None:
        self.eos_ids = vocabulary.eos_ids
        self.mask = np.zeros(vocabulary.words, dtype=np.uint32)
        self.compiler = GrammarCompiler(vocabulary)

    def forget(self) -> None:
        self.compiler = GrammarCompiler(self.compiler.vocabulary, trie=self.compiler.trie)

    def grammar(self, texts: Mapping[str, str], options: Options) -> CompiledGrammar:
        return self.compiler.compile(spec_of(texts, options))

    def compile(self, texts: Mapping[str, str], options: Options) -> Callable[[], Matching]:
        grammar = self.grammar(texts, options)

        def matching() -> Matching:
            matcher = grammar.matcher()
            return Matching(lambda: matcher.fill_mask(self.mask), matcher.accept)

        return matching


def spec_of(texts: Mapping[str, str], options: Options) -> GrammarSpec:
    """Our spelling of a grammar."""
    if "regex" in texts:
        return GrammarSpec.regex(texts["regex"])
    if "ebnf" in texts or "lark" in texts:
        return GrammarSpec.ebnf(texts.get("ebnf") or texts["lark"])
    return GrammarSpec.json_schema(
        texts.get("json_schema", "true"),
        property_order="any" if options.any_order else "declared",
        format="annotate" if options.annotate else "assert",
        lenient=options.lenient,
        registry=_registry(options.registry) if options.registry else None,
    )


@cache
def _registry(folder: str) -> dict[str, str]:
    """The schemas of a folder, by the URIs that the test suite gives them."""
    root = Path(folder)
    return {
        f"http://localhost:1234/{file.relative_to(root).as_posix()}": file.read_text()
        for file in root.glob("**/*.json")
    }


class XGrammar:
    def __init__(self, vocabulary: Vocabulary) -> None:
        self.eos_ids = vocabulary.eos_ids
        xgrammar = importlib.import_module("xgrammar")
        special = vocabulary.special_ids
        tokens = [b"" if t in special else text for t, text in enumerate(vocabulary.tokens)]
        info = xgrammar.TokenizerInfo(
            tokens, vocab_size=vocabulary.size, stop_token_ids=list(vocabulary.eos_ids)
        )
        self._matcher = xgrammar.GrammarMatcher
        self._compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)
        self._bits = xgrammar.allocate_token_bitmask(1, vocabulary.size)
        self.mask = self._bits.numpy()[0].view(np.uint32)

    def forget(self) -> None:
        """It keeps none."""

    def compile(self, texts: Mapping[str, str], options: Options) -> Callable[[], Matching]:
        grammar = self._compiled(texts, options)

        def matching() -> Matching:
            matcher = self._matcher(grammar)
            bits = self._bits
            return Matching(lambda: matcher.fill_next_token_bitmask(bits), matcher.accept_token)

        return matching

    def _compiled(self, texts: Mapping[str, str], options: Options) -> Any:
        if "regex" in texts:
            return self._compiler.compile_regex(texts["regex"])
        if "ebnf" in texts:
            return self._compiler.compile_grammar(texts["ebnf"])
        if "lark" in texts:
            return self._compiler.compile_lark(texts["lark"])
        if "json" in texts:
            return self._compiler.compile_builtin_json_grammar()
        flexible = options.flexible
        return self._compiler.compile_json_schema(
            texts["json_schema"], any_whitespace=flexible, strict_mode=not flexible
        )


class LLGuidance:
    def __init__(self, vocabulary: Vocabulary, tokenizer_file: str, *, lenient: bool) -> None:
        self.eos_ids = vocabulary.eos_ids
        library = importlib.import_module("llguidance")
        fill = importlib.import_module("llguidance.numpy").fill_next_token_bitmask
        self._matcher = library.LLMatcher
        self._tokenizer = library.LLTokenizer(
            tokenizer_file, n_vocab=vocabulary.size, eos_token=list(vocabulary.eos_ids)
        )
        self._lenient = lenient
        self._bits = np.zeros((1, vocabulary.words), dtype=np.int32)
        self._fill = fill
        self.mask = self._bits[0].view(np.uint32)

    def forget(self) -> None:
        """It keeps none."""

    def compile(self, texts: Mapping[str, str], options: Options) -> Callable[[], Matching]:
        first = self._matcher(self._tokenizer, self._grammar(texts, options), log_level=0)
        if first.is_error():
            raise Refused(first.get_error())

        def matching() -> Matching:
            matcher = first.deep_copy()
            return Matching(lambda: self._fill(matcher, self._bits), matcher.consume_token)

        return matching

    def _grammar(self, texts: Mapping[str, str], options: Options) -> Any:
        if "regex" in texts:
            return self._matcher.grammar_from_regex(texts["regex"])
        if "lark" in texts:
            return self._matcher.grammar_from_lark(texts["lark"])
        if "ebnf" in texts:
            raise Refused("no GBNF")
        asked: dict[str, Any] = {"lenient": self._lenient}
        if not options.flexible:
            asked |= {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
        return self._matcher.grammar_from_json_schema(
            texts.get("json_schema", "{}"), overrides=asked
        )


class OutlinesCore:
    def __init__(self, vocabulary: Vocabulary) -> None:
        self.eos_ids = vocabulary.eos_ids
        self._library = importlib.import_module("outlines_core")
        tokens: dict[bytes, list[int]] = {}
        for token, text in enumerate(vocabulary.tokens):
            if text and token not in vocabulary.special_ids:
                tokens.setdefault(text, []).append(token)
        self._vocabulary = self._library.Vocabulary(self.eos_ids[0], tokens)
        self.mask = np.zeros(vocabulary.words, dtype=np.uint32)

    def forget(self) -> None:
        """It keeps none."""

    def compile(self, texts: Mapping[str, str], _options: Options) -> Callable[[], Matching]:
        index = self._library.Index(self._regex(texts), self._vocabulary)
        where = (self.mask.ctypes.data, self.mask.size, self.mask.itemsize)

        def matching() -> Matching:
            guide = self._library.Guide(index)

            def take(token: int) -> bool:
                try:
                    guide.advance(token, return_tokens=False)
                except ValueError:
                    return False
                return True

            return Matching(lambda: guide.write_mask_into(*where), take)

        return matching

    def _regex(self, texts: Mapping[str, str]) -> str:
        if "regex" in texts:
            return texts["regex"]
        if "json_schema" not in texts:
            raise Refused("no context-free grammars")
        # Its own default for white space is an optional single space at each place.
        text = json.dumps(json.loads(texts["json_schema"]))
        made: str = self._library.json_schema.build_regex_from_schema(text)
        return made
