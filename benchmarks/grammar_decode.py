"""What a grammar costs while decoding: schemas from the wild on models of random weights with
Llama-3's vocabulary, beside the same requests without their grammars.

Every request of the constrained run is decoded again free, to the same length, in the same batches,
so that forwards, sampling and prefill are equal and the difference is masks, matchers and what
visits states for the first time. Compiling is not in it: one token of each grammar is asked for
before. Wall and process CPU time, the least of several rounds of the free run and the only round
of the constrained one (its second would find its masks made).
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from ..grammar.spec import GrammarSpec
from ..runtime.engine import Engine
from ..types import Result, SamplingParams
from .cpu import random_model
from .report import Row, data_file

VOCABULARY = 128_256
EOS = (128_001, 128_009)
BATCHES = (1, 16, 64)
SCHEMAS = 50
PROMPT = 16


class Load(msgspec.Struct, frozen=True):
    """One measurement: so many requests of at most so many tokens, `batch` at once."""

    batch: int
    requests: int
    max_tokens: int


class Spent(msgspec.Struct):
    """Seconds of a run, and the tokens it generated."""

    wall: float
    cpu: float
    tokens: int


def measure(
    shapes: Sequence[str],
    folder: Path,
    *,
    dtype: str = "fp32",
    loads: Sequence[Load] = (),
    say: Callable[[str], None] = print,
) -> list[Row]:
    """Rows of each shape and load: constrained over free time per token."""
    rows = []
    for shape in shapes:
        path = folder / f"{shape}-{dtype}-llama3"
        if not (path / "tokenizer.json").exists():
            random_model(path, shape, dtype, VOCABULARY)
            for name in ("config.json", "generation_config.json"):
                config = json.loads((path / name).read_text()) | {"eos_token_id": list(EOS)}
                (path / name).write_text(json.dumps(config))
            shutil.copy(data_file("tokenizers/llama3/tokenizer.json"), path)
        for load in loads or default_loads(shape):
            with Engine(model=str(path), inline=True, max_running=load.batch) as engine:
                say(f"{shape} {dtype}: {load.requests} requests, {load.batch} at once")
                rows += _rows(f"grammar/decode/{shape} {dtype}", load, _run(engine, load))
    return rows


def default_loads(shape: str) -> list[Load]:
    """Each schema at least once, fewer tokens where a step takes long."""
    tokens = 24 if shape == "387M" else 64
    return [Load(batch, max(SCHEMAS, 2 * batch), tokens) for batch in BATCHES]


def schemas(engine: Engine, count: int) -> list[GrammarSpec]:
    """The first `count` schemas, in an order drawn by seed 0, that the grammar engine takes. Each
    one is compiled by then, and one token of it asked for."""
    lines = data_file("real-schemas/schemas.jsonl").read_text().splitlines()
    random.Random(0).shuffle(lines)
    found: list[GrammarSpec] = []
    one = SamplingParams(max_tokens=1, temperature=1.0, seed=0)
    for line in lines:
        spec = GrammarSpec.json_schema(json.loads(line)["schema"])
        done = engine.generate(
            input_ids=[[1] * PROMPT], sampling_params=one, grammar=spec, on_error="return"
        )
        if done[0].error is None:
            found.append(spec)
        if len(found) == count:
            break
    return found


def _run(engine: Engine, load: Load) -> tuple[Spent, Spent]:
    """The constrained run, then the free one of the same lengths."""
    grammars = schemas(engine, min(SCHEMAS, load.requests))
    rng = random.Random(1)
    prompts = [[rng.randrange(1000, 100_000) for _ in range(PROMPT)] for _ in range(load.requests)]
    chosen = [grammars[i % len(grammars)] for i in range(load.requests)]
    params = [
        SamplingParams(max_tokens=load.max_tokens, temperature=1.0, seed=i)
        for i in range(load.requests)
    ]
    constrained, results = _timed(engine, prompts, params, chosen)
    free_params = [
        SamplingParams(max_tokens=result.generated_tokens, temperature=1.0, seed=i, ignore_eos=True)
        for i, result in enumerate(results)
    ]
    rounds = [_timed(engine, prompts, free_params, None)[0] for _ in range(2)]
    assert all(spent.tokens == constrained.tokens for spent in rounds)
    return constrained, min(rounds, key=lambda spent: spent.cpu)


def _timed(
    engine: Engine,
    prompts: list[list[int]],
    params: list[SamplingParams],
    grammars: list[GrammarSpec] | None,
) -> tuple[Spent, list[Result]]:
    engine.flush_cache()
    wall, cpu = time.perf_counter(), time.process_time()
    results = engine.generate(input_ids=prompts, sampling_params=params, grammar=grammars)
    spent = Spent(
        wall=time.perf_counter() - wall,
        cpu=time.process_time() - cpu,
        tokens=sum(result.generated_tokens for result in results),
    )
    return spent, results


def _rows(prefix: str, load: Load, found: tuple[Spent, Spent]) -> list[Row]:
    constrained, free = found
    name = f"{prefix}, batch {load.batch}"
    return [
        Row(name=f"{name}/wall", value=round(constrained.wall / free.wall, 4), unit="x free"),
        Row(name=f"{name}/CPU", value=round(constrained.cpu / free.cpu, 4), unit="x free"),
        Row(
            name=f"{name}/per token",
            value=round(1e3 * constrained.cpu / constrained.tokens, 4),
            unit="CPU ms",
            peers={"free": round(1e3 * free.cpu / free.tokens, 4)},
        ),
    ]
