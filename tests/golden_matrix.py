"""One model in the engine against transformers, in every way that work is cut, shared or repeated.

What the engine generates greedily is given to transformers in one piece: at each step its logits
must agree over the whole vocabulary, and the token must be its best, but for near ties.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch

from espalier.runtime import models
from espalier.runtime.engine import Engine
from espalier.types import Result, SamplingParams

CLOSE = 1e-4
CELLS: dict[str, dict[str, Any]] = {
    "plain": {},
    "cached": {},
    "chunked by 7": {"step_tokens": 7},
    "batched": {},
    "retracted": {"max_total_tokens": 112},
    "page 16": {"page_size": 16, "max_total_tokens": 4096},
}
"""How the engine is used -> its options."""

STEPS = 24
_VOCABULARY = 199


class Cell(NamedTuple):
    """difference: the largest of any logit (of log softmaxes). near_ties: steps at which another
    token than transformers' best came, from it by less than `CLOSE`. wrong: other such steps."""

    difference: float
    near_ties: int
    wrong: int


def prompt(length: int, seed: int) -> list[int]:
    """Random tokens."""
    generator = random.Random(seed)
    return [generator.randrange(3, _VOCABULARY) for _ in range(length)]


_PROMPTS = [prompt(41, 1), prompt(6, 2)]
_OTHERS = [_PROMPTS[0][:20] + prompt(5 + i, 10 + i) if i % 3 else prompt(9, i) for i in range(6)]


def run_cells(folder: Path, reference: Any) -> Iterator[tuple[str, Cell]]:
    """Each cell of the model in `folder`, of which `reference` is transformers' own."""
    with _loaded_once():
        for name, options in CELLS.items():
            yield name, _run(name, folder, reference, options)


def _run(name: str, folder: Path, reference: Any, options: dict[str, Any]) -> Cell:
    params = SamplingParams(max_tokens=STEPS, ignore_eos=True, logprobs=_VOCABULARY)
    prompts = _PROMPTS + (_OTHERS if name in ("batched", "retracted") else [])
    with Engine(str(folder), device="cpu", dtype="float32", inline=True, **options) as engine:
        results = engine.generate(input_ids=prompts, sampling_params=params)
        if name == "cached":
            results = engine.generate(input_ids=prompts, sampling_params=params)
            assert all(result.cached_tokens for result in results), "nothing was cached"
        retracted = engine.stats()["retractions"]
        assert (retracted > 0) == (name == "retracted"), f"{retracted} retractions"
        engine.check_invariants()
    cells = [compare(*pair, reference) for pair in zip(prompts, results, strict=True)]
    differences, near, wrong = zip(*cells, strict=True)
    return Cell(max(differences), sum(near), sum(wrong))


def compare(given: list[int], result: Result, reference: Any) -> Cell:
    """A greedy generation of `STEPS` tokens, all of whose log probabilities were asked for."""
    with torch.inference_mode():
        logits = reference(torch.tensor([given + result.token_ids])).logits[0].float()
    wanted = logits[len(given) - 1 : -1].log_softmax(dim=-1)
    assert len(wanted) == STEPS
    ours = torch.empty_like(wanted)
    for row, entry in zip(ours, result.logprobs or [], strict=True):
        for token, value in entry.top:
            row[token] = value
    lost = wanted.max(dim=-1).values - wanted[range(STEPS), result.token_ids]
    return Cell(
        difference=float((ours - wanted).abs().max()),
        near_ties=int(((lost > 0) & (lost < CLOSE)).sum()),
        wrong=int((lost >= CLOSE).sum()),
    )


@contextmanager
def _loaded_once() -> Iterator[None]:
    """Engines of one matrix share one model: it keeps nothing of a sequence."""
    loaded: dict[str, models.CausalLM] = {}
    load = models.load_model

    def once(model: str, **options: Any) -> models.CausalLM:
        if model not in loaded:
            loaded[model] = load(model, progress=False, **options)
        return loaded[model]

    with mock.patch.object(models, "load_model", once):
        yield
