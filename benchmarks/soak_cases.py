"""Requests of every kind, and what each must answer: the same request alone, with memory for all.

Cases share prefixes: prompts begin with one of a few stems, and a case that forks has children
whose prompts are its own, its answer, and a little more. A case with a near tie in its answer is
left out, since there two answers are right (P3).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from ..errors import EngineError
from ..grammar.spec import GrammarSpec
from ..runtime.build import build
from ..runtime.grammar_service import InlineGrammars
from ..runtime.options import EngineOptions
from ..runtime.request import Request
from ..types import Chunk, Result, SamplingParams

KINDS = ("greedy", "sampled", "grammar", "stop", "regex", "samples", "penalties", "fork")
GRAMMARS = (
    GrammarSpec.regex(r"[a-c]{3,9}(\d\d)?"),
    GrammarSpec.choices(["yes", "no", "not yet"]),
    GrammarSpec.json_schema(
        {
            "type": "object",
            "properties": {"n": {"type": "integer"}, "t": {"enum": ["a", "b"]}},
            "required": ["n"],
            "additionalProperties": False,
        }
    ),
)
STOPS = (" a", "e", "th", "in", ".")
FIRST_ID = 8  # below lie a vocabulary's special tokens


class Case(msgspec.Struct, kw_only=True, eq=False):
    """One question. answers: of each sample, as it is alone. children: what a fork goes on with."""

    kind: str
    prompt: list[int]
    params: SamplingParams
    grammar: GrammarSpec | None = None
    namespace: str = ""
    answers: list[Result] = []
    children: list[Case] = []

    def request(self, id: int, index: int, **more: Any) -> Request:
        """One of its samples as a request."""
        assert self.params.seed is not None
        return Request(
            id=id,
            prompt=self.prompt,
            params=self.params,
            seed=self.params.seed,
            index=index,
            grammar=self.grammar,
            namespace=self.namespace,
            **more,
        )

    def family(self) -> Iterator[Case]:
        """It and its children."""
        yield self
        yield from self.children


class Alone:
    """An engine that runs one request at a time, shares nothing and never lacks memory."""

    def __init__(self, model: str) -> None:
        options = EngineOptions(
            model=model, device="cpu", max_total_tokens=4096, enable_radix_cache=False
        )
        self._results: list[Result] = []
        self._core = build(options, self._emit, InlineGrammars()).core
        self._ids = 0

    def _emit(self, chunk: Chunk) -> None:
        if chunk.result is not None:
            self._results.append(chunk.result)

    def ask(self, case: Case) -> bool:
        """Fill in the case's answers; False if one of them has a near tie."""
        case.answers = []
        for index in range(case.params.n):
            self._ids += 1
            self._core.submit(case.request(self._ids, index))
            while not self._results:
                self._core.step()
            result = self._results.pop()
            if result.error is not None:
                raise EngineError(f"a case of the soak test fails alone: {result.error}")
            if result.near_ties:
                return False
            case.answers.append(result)
        return True


def make_cases(model: str, vocab: int, count: int, seed: int) -> list[Case]:
    """At least `count` cases with their answers, evenly of all kinds."""
    rng = random.Random(seed)
    stems = [[rng.randrange(FIRST_ID, vocab) for _ in range(48)] for _ in range(6)]
    alone, cases, made = Alone(model), list[Case](), 0
    number = 0
    while made < count:
        number += 1
        case = _draw(number, KINDS[number % len(KINDS)], rng, stems, vocab)
        if not alone.ask(case):
            continue
        if case.kind == "fork":
            case.children = [
                child for child in _forks(case, number, rng, vocab) if alone.ask(child)
            ]
        cases.append(case)
        made += 1 + len(case.children)
    return cases


def _draw(
    number: int, kind: str, rng: random.Random, stems: Sequence[list[int]], vocab: int
) -> Case:
    stem = rng.choice(stems)
    tail = [rng.randrange(FIRST_ID, vocab) for _ in range(rng.randint(0, 8))]
    more: dict[str, Any] = {}
    if kind != "greedy" and rng.random() < 0.8:
        more["temperature"] = rng.choice([0.5, 1.0, 1.5])
        more["top_k"] = rng.choice([0, 20])
        more["top_p"] = rng.choice([1.0, 0.9])
    if kind == "stop":
        more["stop"] = rng.sample(STOPS, 2)
    elif kind == "regex":
        more["stop_regex"] = ["[a-f]{2}"]
    elif kind == "samples":
        more["n"] = 3
    elif kind == "penalties":
        more["repetition_penalty"] = 1.2
        more["frequency_penalty"] = 0.4
    return Case(
        kind=kind,
        prompt=stem[: rng.randint(1, len(stem))] + tail,
        params=SamplingParams(
            max_tokens=24 if kind == "grammar" else rng.choice([2, 4, 8, 12, 60]),
            seed=number,
            ignore_eos=rng.random() < 0.5,
            logprobs=1 if rng.random() < 0.1 else None,
            **more,
        ),
        grammar=rng.choice(GRAMMARS) if kind == "grammar" else None,
        namespace=rng.choice(["", "", "a", "b"]),
    )


def _forks(parent: Case, number: int, rng: random.Random, vocab: int) -> list[Case]:
    [answer] = parent.answers
    prompt = parent.prompt + answer.token_ids
    return [
        Case(
            kind="child",
            prompt=[*prompt, *(rng.randrange(FIRST_ID, vocab) for _ in range(rng.randint(1, 4)))],
            params=SamplingParams(max_tokens=8, temperature=1.0, seed=number * 1000 + child),
            namespace=parent.namespace,
        )
        for child in range(rng.randint(2, 4))
    ]
