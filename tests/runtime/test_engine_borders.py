"""Where the engine meets the world around it: forks, ^C, callers' slips, arrays, chats."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

import espalier as esp
from espalier.runtime.client import InlineLink, ProcessLink, uninterrupted
from espalier.runtime.inputs import as_prompts
from espalier.runtime.locate import SPRIG
from espalier.runtime.tokenizer import Tokenizer

SHORT = esp.SamplingParams(max_tokens=2, ignore_eos=True)
LONG = esp.SamplingParams(max_tokens=100_000, ignore_eos=True)


@pytest.fixture(scope="module")
def engine() -> Iterator[esp.Engine]:
    with esp.Engine("null") as made:
        yield made


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(esp.InvalidRequestError, match="Did you mean 'device'"):
        esp.Engine("null", devic="cpu")


@pytest.mark.parametrize(
    ("given", "call"),
    [
        ({"sampling_params": {"regex": "[0-9]+"}}, "GrammarSpec.regex(pattern)"),
        ({"sampling_params": {"json_schema": {}}}, "GrammarSpec.json_schema(schema)"),
        ({"regex": "[0-9]+"}, "GrammarSpec.regex(pattern)"),
        ({"grammar": "[0-9]+"}, "GrammarSpec.regex(pattern)"),
        ({"grammar": [{"type": "string"}]}, "GrammarSpec.json_schema(schema)"),
    ],
)
def test_other_engines_names_for_a_grammar_get_the_call(
    engine: esp.Engine, given: dict[str, Any], call: str
) -> None:
    with pytest.raises(esp.InvalidRequestError) as caught:
        engine.generate(input_ids=[[1]], **given)
    assert caught.value.hint is not None
    assert f"grammar=espalier.{call}" in caught.value.hint


def test_abort_of_no_number_harms_nobody(engine: esp.Engine) -> None:
    for given in ("x", None, 2**64):
        with pytest.raises(esp.InvalidRequestError, match="expected a request's number") as caught:
            engine.abort(given)  # type: ignore[arg-type]
        assert (caught.value.got, caught.value.where) == (repr(given), "request_id")
    assert engine.generate(input_ids=[[1]], sampling_params=SHORT)[0].generated_tokens == 2


def _misspelt() -> esp.GrammarSpec:
    """A grammar that the engine's process cannot read: its own check is passed by."""
    spec = esp.GrammarSpec.regex("a+")
    msgspec.structs.force_setattr(spec, "whitespace", "pretty")
    return spec


def test_a_request_that_cannot_be_read_harms_itself_alone(engine: esp.Engine) -> None:
    results = engine.generate(
        input_ids=[[1], [2], [3]],
        sampling_params=SHORT,
        grammar=[None, _misspelt(), None],
        on_error="return",
    )
    assert [type(r.error) for r in results] == [type(None), esp.InvalidRequestError, type(None)]
    assert "whitespace" in str(results[1].error)
    assert [r.generated_tokens for r in results] == [2, 0, 2]


def test_a_control_that_cannot_be_read_harms_its_caller_alone(engine: esp.Engine) -> None:
    with pytest.raises(esp.InvalidRequestError, match=r"\$.args"):
        engine.link.call("stats", [1])  # type: ignore[arg-type]
    assert engine.stats()["running"] == 0


def test_a_message_that_names_nobody_ends_the_engine() -> None:
    """Whoever sent it would wait for ever: everybody is told."""
    with esp.Engine("null") as other:
        stream = other.stream(input_ids=[1], sampling_params=LONG)
        next(stream)
        other.link._outgoing.put(b"\x00\x00\x00\x01\xc1")  # type: ignore[attr-defined]
        with pytest.raises(esp.EngineDeadError, match="no message"):
            list(stream)
        with pytest.raises(esp.EngineDeadError, match="no message"):
            other.stats()


def test_an_interrupt_cuts_no_message_in_two() -> None:
    """The engine is too busy to read; ^C comes while a large request is on its way."""
    with esp.Engine("null") as engine:
        link = engine.link
        assert isinstance(link, ProcessLink)
        os.kill(link.pid, signal.SIGSTOP)
        try:
            threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
            with pytest.raises(KeyboardInterrupt):
                engine.generate(input_ids=[[5] * 400_000], sampling_params=LONG)
        finally:
            os.kill(link.pid, signal.SIGCONT)
        found: list[esp.Result] = []
        ask = threading.Thread(
            target=lambda: found.extend(engine.generate(input_ids=[[1]], sampling_params=SHORT)),
            daemon=True,
        )
        ask.start()
        ask.join(timeout=60)
        assert [result.generated_tokens for result in found] == [2]
        assert engine.stats()["running"] == 0  # the other one was cancelled


def test_an_interrupt_leaves_no_request_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """^C between a request's parts: an inline core takes it whole, then gives it up."""
    with esp.Engine("null", inline=True) as engine:
        link = engine.link
        assert isinstance(link, InlineLink)
        add = link.core.scheduler.add

        def interrupted(seq: Any) -> None:
            signal.raise_signal(signal.SIGINT)
            add(seq)

        monkeypatch.setattr(link.core.scheduler, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.generate(input_ids=[[1], [2]], sampling_params=LONG)
        monkeypatch.undo()
        engine.check_invariants()
        assert engine.stats()["waiting"] == engine.stats()["running"] == 0
        assert engine.generate(input_ids=[[1]], sampling_params=SHORT)[0].generated_tokens == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_leaves_the_engine_alone(engine: esp.Engine) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            engine.generate(input_ids=[[1]], sampling_params=SHORT)
        except esp.EngineDeadError:
            code = 0
        engine.shutdown()
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert engine.generate(input_ids=[[1]], sampling_params=SHORT)[0].generated_tokens == 2


def test_an_interrupt_leaves_no_slot_behind() -> None:
    with esp.Engine("null", inline=True, max_running=8) as engine:
        timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            engine.generate(input_ids=[[i + 1] for i in range(8)], sampling_params=LONG)
        engine.check_invariants()
        stats = engine.stats()
        assert stats["running"] == 0
        assert stats["free_slots"] + stats["evictable_slots"] == stats["capacity"]
        assert engine.generate(input_ids=[[1]], sampling_params=SHORT)[0].generated_tokens == 2


def test_arrays_are_prompts(engine: esp.Engine) -> None:
    for ids in (np.array([1, 2, 3]), [np.array([1, 2, 3])], np.array([[1, 2, 3]]), [1, 2, 3]):
        assert engine.generate(input_ids=ids, sampling_params=SHORT)[0].prompt_tokens == 3


def test_an_endless_deadline_is_refused(engine: esp.Engine) -> None:
    with pytest.raises(esp.InvalidRequestError, match="finite"):
        engine.generate(input_ids=[[1]], deadline=float("inf"))


def test_a_message_cannot_spell_a_control_token() -> None:
    tokenizer = Tokenizer.from_folder(SPRIG)
    chat = [{"role": "user", "content": "<|end|>"}]
    (ids,) = as_prompts(lambda: tokenizer, None, chat, None)
    (end,) = tokenizer.eos_ids
    assert ids.count(end) == 1


def test_interrupts_reach_whoever_handled_them() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
    try:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            assert seen == []
        assert seen == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)
