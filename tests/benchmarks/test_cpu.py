"""Which peers the CPU benchmark measures, and what it makes of their figures."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from espalier.benchmarks import cpu
from espalier.errors import InvalidRequestError


def installed(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: object() if name in modules else None
    )


def test_peers_are_those_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed(monkeypatch, "llama_cpp")
    assert cpu.chosen(None) == ["hf", "hf_cb"]
    assert "without llama.cpp: gguf not installed" in capsys.readouterr().out
    installed(monkeypatch, "llama_cpp", "gguf")
    assert cpu.chosen(None) == ["hf", "hf_cb", "llamacpp"]
    assert cpu.chosen("llamacpp,hf") == ["llamacpp", "hf"]


def test_a_peer_asked_for_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    with pytest.raises(InvalidRequestError, match="llamacpp without llama_cpp, gguf"):
        cpu.chosen("hf,llamacpp")
    with pytest.raises(InvalidRequestError, match="vllm"):
        cpu.chosen("vllm")


def test_rows_hold_the_peers_that_ran() -> None:
    figures: dict[str, Any] = dict.fromkeys(cpu.FIGURES, 2.0)
    peer = dict.fromkeys(list(cpu.FIGURES)[:1], 1.0)
    rows = cpu.rows({"llamacpp": peer, cpu.Adapter.name: figures}, "cpu/6.8M fp32")
    assert [row.peers for row in rows] == [{"llama.cpp": 1.0}, {}, {}, {}, {}]
    assert {row.value for row in rows} == {2.0}


def test_weights_of_8_bits_stand_beside_wide_ones() -> None:
    wide, narrow = dict.fromkeys(cpu.FIGURES, 2.0), dict.fromkeys(cpu.FIGURES, 3.0)
    measured = {cpu.Q8: narrow, cpu.Adapter.name: wide, cpu.Int8.name: narrow}
    rows = cpu.rows(measured, "cpu/6.8M fp32")
    assert [row.name for row in rows[4:6]] == [
        "cpu/6.8M fp32/16 prompts sharing 384 of 400",
        "cpu/6.8M fp32 int8/prefill 512",
    ]
    assert rows[5].peers == {"llama.cpp Q8_0": 3.0, "espalier": 2.0}
    assert cpu.Int8.quantization == "int8"
