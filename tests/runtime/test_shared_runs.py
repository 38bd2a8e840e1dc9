"""Slots that several decoding sequences read are told; reading them once changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings, strategies as st

from espalier.kernels import native_attention
from espalier.kernels.attention import paged_attention, paged_attention_reference
from espalier.kernels.attention_plan import SharedRun
from espalier.runtime import shared_runs
from espalier.runtime.engine import Engine
from espalier.runtime.shared_runs import SharedRuns
from espalier.types import SamplingParams
from tests.attention_cases import make_case
from tests.tiny_models import save_tiny


class _Node:
    def __init__(self, parent: _Node | None, end: int) -> None:
        self.parent, self.end = parent, end

    @property
    def start(self) -> int:
        return self.parent.end if self.parent else 0


class _Seq:
    def __init__(self, node: _Node | None, pos: int) -> None:
        self.node, self.pos = node, pos


def _told(runs: SharedRuns, seqs: list[_Seq]) -> set[tuple[tuple[int, ...], int, int]]:
    return {(run.members, run.begin, run.end) for run in runs.of(seqs)}  # type: ignore[arg-type]


def test_nodes_that_several_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_runs, "LEAST", 1)
    root = _Node(None, 0)
    trunk = _Node(_Node(root, 10), 30)  # two nodes, as after a split: one run
    left, right = _Node(trunk, 50), _Node(trunk, 44)
    seqs = [_Seq(left, 60), _Seq(right, 61), _Seq(left, 70), _Seq(None, 9), _Seq(trunk, 31)]
    runs = SharedRuns()
    assert _told(runs, seqs) == {((0, 1, 2, 4), 0, 30), ((0, 2), 30, 50)}
    seqs[4].pos = 90  # a step later nothing is found anew
    assert runs.of(seqs) is runs.of(seqs)  # type: ignore[arg-type]
    seqs.pop(0)
    assert _told(runs, seqs) == {((0, 1, 3), 0, 30)}


def test_a_row_inside_a_node_has_no_part_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_runs, "LEAST", 1)
    node = _Node(_Node(None, 0), 20)
    assert _told(SharedRuns(), [_Seq(node, 21), _Seq(node, 30), _Seq(node, 20)]) == {
        ((0, 1), 0, 20)
    }


def test_little_is_not_worth_telling() -> None:
    node = _Node(_Node(None, 0), shared_runs.LEAST - 1)
    seqs = [_Seq(node, 300), _Seq(node, 300)]
    assert not _told(SharedRuns(), seqs)
    assert _told(SharedRuns(), [*seqs, _Seq(node, 300)])


@settings(max_examples=60)
@given(
    trunk=st.integers(1, 300),
    branches=st.lists(
        st.tuples(st.integers(0, 40), st.integers(1, 5), st.integers(1, 3)), min_size=1, max_size=3
    ),
    heads=st.sampled_from([(2, 2), (4, 2), (5, 1)]),
    width=st.sampled_from([16, 32, 64]),
    softcap=st.sampled_from([None, 3.0]),
    sinks=st.booleans(),
    window=st.sampled_from([None, 20]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    heads_needed=st.sampled_from([0, 6]),
    seed=st.integers(0, 99),
)
def test_attention_is_the_same(
    trunk: int,
    branches: list[tuple[int, int, int]],
    heads: tuple[int, int],
    width: int,
    softcap: float | None,
    sinks: bool,
    window: int | None,
    dtype: torch.dtype,
    heads_needed: int,
    seed: int,
) -> None:
    """A trunk, some branches of it, some sequences of each; a run that follows none is left."""
    shapes: list[tuple[int, int]] = []
    shared = []
    for more, count, rows in branches:
        members = tuple(range(len(shapes), len(shapes) + count))
        shapes += [(rows, trunk + more + rows + i) for i in range(count)]
        if more:
            shared.append(SharedRun(members, trunk, trunk + more))
    shared.append(SharedRun(tuple(range(len(shapes))), 0, trunk))
    if seed % 2 and trunk > 2:
        shared[-1] = SharedRun(shared[-1].members, 0, trunk - 1)
    case = make_case(
        shapes, heads=heads, widths=(width, width), shared=shared, dtype=dtype, seed=seed
    )
    options: Any = {
        "scale": width**-0.5,
        "window": window,
        "softcap": softcap,
        "sinks": torch.randn(heads[0]) if sinks else None,
    }
    tensors = case.q, case.k, case.v, case.batch
    near = 1e-5 if dtype == torch.float32 else 2e-2
    with mock.patch.object(native_attention, "_HEADS", heads_needed):
        found = paged_attention(*tensors, **options)
    expected = paged_attention_reference(*tensors, **options)
    torch.testing.assert_close(found, expected, rtol=near, atol=near)


def test_forks_generate_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tiny("llama3", tmp_path, hidden_size=64, num_attention_heads=4)
    told: list[int] = []
    of = SharedRuns.of

    def note(self: SharedRuns, seqs: Any) -> Any:
        runs = of(self, seqs)
        told.append(len(runs))
        return runs

    monkeypatch.setattr(SharedRuns, "of", note)
    monkeypatch.setattr(native_attention, "_HEADS", 0)
    trunk = [3 + 7 * i % 190 for i in range(100)]
    prompts = [trunk + [5 + i // 2] * (1 + i // 2) for i in range(8)]
    params = SamplingParams(max_tokens=24, temperature=0.7, seed=3, ignore_eos=True)
    found = []
    for least in (1, 1 << 40):
        monkeypatch.setattr(shared_runs, "LEAST", least)
        told.clear()
        with Engine(model=str(tmp_path), inline=True) as engine:
            engine.generate(input_ids=[trunk], sampling_params=SamplingParams(max_tokens=1))
            found.append(engine.generate(input_ids=prompts, sampling_params=params))
            engine.check_invariants()
        assert (max(told) > 0) == (least == 1)
    for once, plainly in zip(*found, strict=True):
        assert once.token_ids == plainly.token_ids
