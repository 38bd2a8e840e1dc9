"""Where the engine meets the world around it: forks, ^C, callers' slips, arrays, chats."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import espalier as esp
from espalier.runtime.inputs import as_prompts
from espalier.runtime.locate import SPRIG
from espalier.runtime.tokenizer import Tokenizer

SHORT = esp.SamplingParams(max_tokens=2, ignore_eos=True)


@pytest.fixture(scope="module")
def engine() -> Iterator[esp.Engine]:
    with esp.Engine("null") as made:
        yield made


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(esp.InvalidRequestError, match="Did you mean 'device'"):
        esp.Engine("null", devic="cpu")


def test_abort_of_no_number_harms_nobody(engine: esp.Engine) -> None:
    with pytest.raises(esp.InvalidRequestError, match="request_id"):
        engine.abort("x")  # type: ignore[arg-type]
    assert engine.generate(input_ids=[[1]], sampling_params=SHORT)[0].generated_tokens == 2


def test_a_message_that_cannot_be_read_is_dropped(engine: esp.Engine) -> None:
    engine.link._sock.sendall(b"\x00\x00\x00\x01\xc1")  # type: ignore[attr-defined]
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
        long = esp.SamplingParams(max_tokens=100_000, ignore_eos=True)
        with pytest.raises(KeyboardInterrupt):
            engine.generate(input_ids=[[i + 1] for i in range(8)], sampling_params=long)
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
    from espalier.runtime.client import uninterrupted

    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
    try:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            assert seen == []
        assert seen == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)
