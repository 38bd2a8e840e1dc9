"""One engine's process in `espalier bench grammar`: takes jobs from a file, answers line by line.

`python -m espalier.benchmarks.grammar_worker ENGINE JOBS ANSWERS`: JSON, one a line; the first line
of the jobs names the tokenizer and the tokens that end a text, the first answer is that of the
set-up. The caller (grammar_runs.py) kills a process that takes too long over a job, or sees it
crash, and starts another one behind that job: so no engine stops the rest.
"""

from __future__ import annotations

import gc
import json
import random
import resource
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, TextIO

import msgspec
import numpy as np

from ..grammar import CompiledGrammar, MaskPool, Vocabulary
from ..grammar.arena import Arena
from ..grammar.masks import Rows
from ..grammar.node import Node
from ..grammar.trie import TokenTrie
from .grammar_engines import GrammarEngine, Matching, Options, Ours, make
from .radix import resident

ROUNDS = 3  # times that a cold start is measured, while they take less than LONG
LONG = 2.0  # seconds
NOTHING = ("no value satisfies", "nsatisfiable")  # said of a schema that nothing fits
MEMORY = 12 << 30  # bytes of address space that an engine may take
Answer = dict[str, Any]


def cpu() -> float:
    """CPU seconds of this process and of its children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


class Steps:
    """Microseconds of CPU time of masks and of accepts, one by one."""

    def __init__(self) -> None:
        self.masks: list[int] = []
        self.accepts: list[int] = []
        clock = time.process_time_ns
        empty = []
        for _ in range(1000):
            begin = clock()
            empty.append(clock() - begin)
        self._empty = sorted(empty)[500]

    def allows(self, engine: GrammarEngine, matching: Matching, tokens: Iterable[int]) -> bool:
        """Whether the mask of each step has the next token, and the last one the end; each step is
        measured."""
        clock, mask, fill, take = time.process_time_ns, engine.mask, matching.fill, matching.take
        for token in tokens:
            begin = clock()
            fill()
            self.masks.append(clock() - begin - self._empty)
            allowed = bool(mask[token >> 5] >> (token & 31) & 1)
            begin = clock()
            taken = allowed and take(token)
            self.accepts.append(clock() - begin - self._empty)
            if not taken:
                return False
        begin = clock()
        fill()
        self.masks.append(clock() - begin - self._empty)
        return may_end(engine)

    def answer(self) -> Answer:
        """Microseconds: masks, and masks with the accepts after them."""
        both = np.array(self.masks[: len(self.accepts)]) + np.array(self.accepts)
        return {"masks": _microseconds(self.masks), "steps": _microseconds(both.tolist())}


def _microseconds(nanoseconds: Sequence[int]) -> list[float]:
    return [max(spent, 0) / 1000 for spent in nanoseconds]


def may_end(engine: GrammarEngine) -> bool:
    """Whether the mask filled last allows an end."""
    return any(int(engine.mask[token >> 5]) >> (token & 31) & 1 for token in engine.eos_ids)


def accepts(engine: GrammarEngine, matching: Matching, tokens: Iterable[int]) -> bool:
    """Whether the engine takes the tokens, and an end after them."""
    if not all(matching.take(token) for token in tokens):
        return False
    matching.fill()
    return may_end(engine)


# -- jobs ------------------------------------------------------------------------------------------


def case(engine: GrammarEngine, job: Answer) -> Answer:
    """One grammar: cold, its verdicts, and masks of documents behind half of the walks."""
    options = Options()
    found: Answer = {}
    rounds: list[dict[str, float]] = []
    while True:
        engine.forget()
        gc.collect()
        begin, begin_wall = cpu(), time.perf_counter()
        matching = engine.compile(job["texts"], options)
        compiled, compiled_wall = cpu(), time.perf_counter()
        Steps().allows(engine, matching(), job["valid"][0])
        rounds.append(
            {
                "compile": compiled - begin,
                "compile wall": compiled_wall - begin_wall,
                "cold": cpu() - begin,
                "cold wall": time.perf_counter() - begin_wall,
            }
        )
        if len(rounds) == ROUNDS or rounds[0]["cold wall"] > LONG:
            break
    for name in rounds[0]:
        found[name] = sorted(one[name] for one in rounds)[len(rounds) // 2]
    found["rejected"] = sum(not accepts(engine, matching(), tokens) for tokens in job["valid"])
    found["accepted"] = sum(accepts(engine, matching(), tokens) for tokens in job["invalid"])
    walks = job["walks"]
    for tokens in walks[: len(walks) // 2]:
        Steps().allows(engine, matching(), tokens)
    gc.collect()
    steps = Steps()
    followed = [steps.allows(engine, matching(), tokens) for tokens in walks[len(walks) // 2 :]]
    return found | steps.answer() | {"walks": sum(followed)}


def suite(engine: GrammarEngine, job: Answer) -> Answer:
    """Verdicts on the tests of one schema."""
    try:
        matching = engine.compile({"json_schema": job["schema"]}, _options(job))
    except Exception as error:
        if any(words in str(error) for words in NOTHING):
            return {"verdicts": [False for _ in job["tests"]]}
        raise
    return {"verdicts": [accepts(engine, matching(), tokens) for tokens in job["tests"]]}


def real(engine: GrammarEngine, job: Answer) -> Answer:
    """One schema: compile, first mask, every step of its tests."""
    gc.collect()
    begin, begin_wall = cpu(), time.perf_counter()
    matching = engine.compile({"json_schema": job["schema"]}, _options(job))
    compiled = cpu()
    matching().fill()
    first, first_wall = cpu(), time.perf_counter()
    steps = Steps()
    verdicts = [steps.allows(engine, matching(), tokens) for tokens in job["tests"]]
    found = {
        "compile": compiled - begin,
        "first": first - begin,
        "first wall": first_wall - begin_wall,
    }
    if isinstance(engine, Ours):
        grammar = engine.grammar({"json_schema": job["schema"]}, _options(job))
        pool = len(grammar.pool) * grammar.pool.words * 4
        found |= {"grammar bytes": own_bytes(grammar), "pool bytes": pool}
    return found | {"verdicts": verdicts} | steps.answer()


def own_bytes(grammar: CompiledGrammar) -> int:
    """Bytes of what is the grammar's alone: not the arena, the rows, the pool, the vocabulary."""
    shared = (Arena, Node, Rows, MaskPool, TokenTrie, Vocabulary, type, ModuleType, FunctionType)
    waiting: list[object] = [grammar]
    seen = {id(grammar)}
    total = 0
    while waiting:
        here = waiting.pop()
        total += sys.getsizeof(here)
        for inner in gc.get_referents(here):
            if id(inner) not in seen and not isinstance(inner, shared):
                seen.add(id(inner))
                waiting.append(inner)
    return total


def walk(engine: GrammarEngine, job: Answer) -> Answer:
    """Documents of one grammar, by random walks: of allowed tokens, every other document takes any
    one, the others rather those with small ids (which a tokenizer gives to what is common)."""
    assert isinstance(engine, Ours)
    grammar = engine.grammar(job["texts"], Options())
    random_ = random.Random(job["seed"])
    documents: list[list[int]] = []
    while len(documents) < job["documents"]:
        matcher = grammar.matcher()
        tokens: list[int] = []
        for left in range(job["tokens"], 0, -1):
            if matcher.can_end and (matcher.must_end or random_.random() < 0.1):
                break
            matcher.fill_mask(engine.mask, remaining=left)
            bits = np.unpackbits(engine.mask.view(np.uint8), bitorder="little")
            allowed = np.flatnonzero(bits)
            share = random_.random()
            at = share * len(allowed) if len(documents) % 2 else len(allowed) ** share - 1
            token = int(allowed[int(at)])
            if token in engine.eos_ids or not matcher.accept(token):
                break
            tokens.append(token)
        documents.append(tokens)
    return {"documents": documents}


JOBS = {"case": case, "suite": suite, "real": real, "walk": walk}


def _options(job: Answer) -> Options:
    return msgspec.convert(job.get("options", {}), Options)


def set_up(engine: str, header: Answer) -> tuple[GrammarEngine, Answer]:
    """The engine, and what it took to make it ready (the tokenizer's own loading apart)."""
    from tokenizers import Tokenizer

    tokenizer_file = header["tokenizer"]
    tokenizer = Tokenizer.from_file(tokenizer_file)
    gc.collect()
    before, begin, begin_wall = resident(), cpu(), time.perf_counter()
    vocabulary = Vocabulary.from_tokenizer(tokenizer, eos_ids=header["eos_ids"])
    made = make(engine, vocabulary, tokenizer_file)
    found = {
        "set-up": cpu() - begin,
        "set-up wall": time.perf_counter() - begin_wall,
        "set-up bytes": resident() - before,
    }
    return made, found


def answer(engine: GrammarEngine, job: Answer) -> Answer:
    """The job's result, or the error it ended in."""
    try:
        return JOBS[job["kind"]](engine, job)
    except Exception as error:  # what a peer raises is its own affair
        return {"error": f"{type(error).__name__}: {error}"[:300]}


def main(argv: Sequence[str]) -> int:
    engine_name, jobs, answers = argv
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with Path(jobs).open() as lines, Path(answers).open("w") as out:
        engine, found = set_up(engine_name, json.loads(lines.readline()))
        _say(out, found)
        for line in lines:
            _say(out, answer(engine, json.loads(line)))
    return 0


def _say(out: TextIO, found: Answer) -> None:
    out.write(json.dumps(found) + "\n")
    out.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
