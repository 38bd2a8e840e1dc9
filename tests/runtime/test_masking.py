"""Masks made beforehand, while a device computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from espalier.errors import GrammarError
from espalier.grammar import GrammarCompiler, GrammarSpec, Matcher, Vocabulary
from espalier.runtime.client import InlineLink
from espalier.runtime.engine import Engine
from espalier.runtime.masking import Masking
from espalier.runtime.progress import Progress
from espalier.runtime.request import Request
from espalier.runtime.sequence import Sequence
from espalier.runtime.step import Step
from espalier.types import SamplingParams

COMPILER = GrammarCompiler(Vocabulary([b"", b"a", b"b"], [0], [0]))


def _step(count: int) -> tuple[Step, dict[int, Progress]]:
    """A step that samples for so many constrained requests."""
    step, live = Step(0, 99), {}
    for number in range(count):
        request = Request(id=number, prompt=[1], params=SamplingParams(), seed=0)
        seq = Sequence(request, max_length=20)
        live[number] = Progress(seq, None)
        live[number].matcher = COMPILER.compile(GrammarSpec.regex("(?:ab){3}")).matcher()
        step.samples.append(seq)
        step.plan.constrained.append(number)
    return step, live


def test_a_row_of_each_in_turn_until_the_tokens_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def prepare(self: Matcher, remaining: int) -> Iterator[None]:
        assert remaining == 18
        for _ in range(3):
            made.append(next(n for n, progress in live.items() if progress.matcher is self))
            yield

    monkeypatch.setattr(Matcher, "prepare", prepare)
    step, live = _step(3)
    masking = Masking(COMPILER.pool)
    masking.prepare(step, live, lambda: len(made) >= 5)
    assert made == [0, 1, 2, 0, 1]
    made.clear()
    del live[1]  # it ended meanwhile
    masking.prepare(step, live, lambda: False)
    assert made == [0, 2, 0, 2, 0, 2]


def test_what_fails_beforehand_fails_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(self: Matcher, remaining: int) -> Iterator[None]:
        raise GrammarError(f"too large for {remaining}")
        yield

    monkeypatch.setattr(Matcher, "prepare", prepare)
    step, live = _step(2)
    Masking(COMPILER.pool).prepare(step, live, lambda: False)


@pytest.mark.parametrize("overlap", [False, True])
def test_a_late_engine_makes_them_while_it_waits(
    overlap: bool, tiny_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits in an engine that runs one step after the other."""
    folder = str(tiny_model("llama3", text=True).folder)
    prepared: list[int] = []
    prepare = Masking.prepare

    def note(self: Masking, step: Step, *rest: Any) -> None:
        prepared.append(step.plan.step)
        prepare(self, step, *rest)

    monkeypatch.setattr(Masking, "prepare", note)
    with Engine(folder, inline=True, device="cpu", overlap=overlap) as engine:
        assert isinstance(engine.link, InlineLink)
        [result] = engine.generate(
            input_ids=[[5]],
            sampling_params=SamplingParams(max_tokens=20),
            grammar=GrammarSpec.regex("[ab]{12}"),
        )
    assert len(result.text) == 12
    assert bool(prepared) == overlap
