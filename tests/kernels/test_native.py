"""The CPU's operators in C against the references, and what happens where they cannot be built."""

from __future__ import annotations

import ctypes
import itertools
import math
import platform
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import given, settings, strategies as st

from espalier.errors import InvalidRequestError
from espalier.kernels import int8, native, native_attention
from espalier.kernels.activation import gelu_mul, gelu_mul_reference, silu_mul, silu_mul_reference
from espalier.kernels.attention import paged_attention, paged_attention_reference
from espalier.kernels.attention_plan import SharedRun
from espalier.kernels.native_attention import FEW, attend_few
from espalier.kernels.norm import RMSNorm, rms_norm_reference
from espalier.kernels.sampling import NEAR_TIE, mask_logits, masked_greedy
from espalier.runtime import torch_runner
from espalier.runtime.engine import Engine
from tests.attention_cases import make_case
from tests.tiny_models import save_tiny

pytestmark = pytest.mark.skipif(
    native.library(torch.float32) is None, reason="no C compiler: torch's operators are taken"
)

_types = st.sampled_from([torch.float32, torch.bfloat16])


def _tolerance(dtype: torch.dtype) -> dict[str, float]:
    near = 2e-6 if dtype == torch.float32 else 2e-2
    return {"rtol": near, "atol": near}


@given(_types, _types, st.integers(1, 5), st.integers(1, 100), st.sampled_from([1e-4, 1.0, 1e3]))
def test_norm(dtype: torch.dtype, weighs: torch.dtype, rows: int, width: int, size: float) -> None:
    torch.manual_seed(width)
    x = (torch.randn(rows, width) * size).to(dtype)
    weight = torch.randn(width).to(weighs if dtype == torch.bfloat16 else torch.float32)
    ours = RMSNorm(weight, 1e-6)(x)
    theirs = rms_norm_reference(x.to(weight.dtype), weight, 1e-6).to(dtype)
    torch.testing.assert_close(ours, theirs, **_tolerance(dtype))


@given(_types, st.booleans(), st.integers(1, 4), st.integers(1, 70), st.sampled_from([1, 10, 300]))
def test_gates(dtype: torch.dtype, gelu: bool, rows: int, inner: int, size: float) -> None:
    torch.manual_seed(inner)
    gate_up = (torch.randn(rows, 2 * inner) * size).to(dtype)
    kernel, reference = (gelu_mul, gelu_mul_reference) if gelu else (silu_mul, silu_mul_reference)
    expected = reference(gate_up)
    torch.testing.assert_close(kernel(gate_up), expected, **_tolerance(dtype))


def test_what_is_broken_stays_broken() -> None:
    x = torch.randn(2, 64)
    x[1, 5] = math.nan
    assert RMSNorm(torch.ones(64), 1e-6)(x).isnan().any(1).tolist() == [False, True]
    assert silu_mul(x).isnan().any(1).tolist() == [False, True]
    case = make_case([(1, 20), (1, 20)], widths=(16, 16))
    case.q[1, 0, 3] = math.nan
    mixed = paged_attention(case.q, case.k, case.v, case.batch, scale=0.3)
    assert mixed.isnan().flatten(1).any(1).tolist() == [False, True]
    logits = torch.randn(2, 40)
    logits[1, 7] = math.nan
    assert masked_greedy(logits, None)[0][1] == 7


_few = st.integers(1, FEW).flatmap(
    lambda rows: st.tuples(st.just(rows), st.integers(rows, rows + 300))
)
_many = st.tuples(st.integers(FEW + 1, 20), st.integers(20, 60))


@settings(max_examples=150)
@given(
    shapes=st.lists(st.one_of(_few, _few, _many), min_size=1, max_size=4),
    heads=st.sampled_from([(1, 1), (2, 2), (4, 2), (3, 1), (7, 1), (8, 1), (12, 2)]),
    widths=st.sampled_from([(16, 16), (32, 32), (48, 16), (64, 64), (80, 80), (128, 128)]),
    window=st.sampled_from([None, 1, 7, 130]),
    softcap=st.sampled_from([None, 2.0]),
    sinks=st.booleans(),
    dtype=_types,
    page=st.sampled_from([1, 4]),
    scattered=st.booleans(),
    seed=st.integers(0, 99),
)
def test_attention(
    shapes: list[tuple[int, int]],
    heads: tuple[int, int],
    widths: tuple[int, int],
    window: int | None,
    softcap: float | None,
    sinks: bool,
    dtype: torch.dtype,
    page: int,
    scattered: bool,
    seed: int,
) -> None:
    case = make_case(
        shapes,
        heads=heads,
        widths=widths,
        dtype=dtype,
        page=page,
        scattered=scattered,
        seed=seed,
    )
    options: Any = {
        "scale": widths[0] ** -0.5,
        "window": window,
        "softcap": softcap,
        "sinks": torch.randn(heads[0]) if sinks else None,
    }
    tensors = case.q, case.k, case.v, case.batch
    out, others = attend_few(*tensors, **options)
    assert (out is not None) == any(rows <= FEW for rows, _ in shapes)
    assert others == any(rows > FEW for rows, _ in shapes)
    expected = paged_attention_reference(*tensors, **options)
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else _tolerance(dtype)
    torch.testing.assert_close(paged_attention(*tensors, **options), expected, **tolerance)


@settings(max_examples=60)
@given(
    branches=st.integers(2, 40),
    prefix=st.integers(1, 300),
    heads=st.sampled_from([(1, 1), (2, 2), (4, 2), (3, 1), (12, 2)]),
    widths=st.sampled_from([(16, 16), (32, 32), (48, 16), (128, 128)]),
    softcap=st.sampled_from([None, 2.0]),
    sinks=st.booleans(),
    dtype=_types,
    size=st.sampled_from([0.1, 1.0, 30.0]),
    seed=st.integers(0, 99),
)
def test_rows_that_share_keys(
    branches: int,
    prefix: int,
    heads: tuple[int, int],
    widths: tuple[int, int],
    softcap: float | None,
    sinks: bool,
    dtype: torch.dtype,
    size: float,
    seed: int,
) -> None:
    """Some of them, over the first of two pieces or over both; scores of -60 to 60, too."""
    case = make_case(
        [(1 + b % 3, prefix + 3 + b) for b in range(branches)],
        heads=heads,
        widths=widths,
        dtype=dtype,
        shared=[
            SharedRun(tuple(range(branches)), 0, (prefix + 1) // 2),
            SharedRun(tuple(range(0, branches, 2)), (prefix + 1) // 2, prefix),
        ],
        scattered=True,
        seed=seed,
    )
    case.q *= size
    options: Any = {
        "scale": widths[0] ** -0.5,
        "window": None,
        "softcap": softcap,
        "sinks": torch.randn(heads[0]) if sinks else None,
    }
    tensors = case.q, case.k, case.v, case.batch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native_attention, "_HEADS", 1)  # also where it would not pay
        found, _ = attend_few(*tensors, **options)
    assert found is not None
    expected = paged_attention_reference(*tensors, **options)
    tolerance = {"rtol": 2e-5, "atol": 2e-5} if dtype == torch.float32 else _tolerance(dtype)
    torch.testing.assert_close(found, expected, **tolerance)


def test_a_row_that_is_no_number_stays_so_among_those_that_share_keys() -> None:
    shared = [SharedRun(tuple(range(20)), 0, 100)]
    case = make_case([(1, 110)] * 20, heads=(2, 1), widths=(32, 32), shared=shared)
    case.q[7, 1, 3] = math.nan
    mixed = paged_attention(case.q, case.k, case.v, case.batch, scale=0.3)
    assert mixed.isnan().flatten(1).any(1).nonzero().flatten().tolist() == [7]


@pytest.fixture(params=["x86-64-v3", "x86-64"])
def narrower(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The operators as a processor with vectors of 8, or of 4, floats would have them."""
    if platform.machine() != "x86_64":
        pytest.skip("the builds are of x86-64")
    if "avx2" not in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
        pytest.skip("no AVX2")
    kept = [flag for flag in native._FLAGS if not flag.startswith(("-march", "-mprefer"))]
    monkeypatch.setattr(native, "_FLAGS", [*kept, "-Wno-psabi", f"-march={request.param}"])
    native.library.cache_clear()
    yield
    native.library.cache_clear()


@pytest.mark.usefixtures("narrower")
def test_processors_with_narrower_vectors() -> None:
    test_a_row_that_is_no_number_stays_so_among_those_that_share_keys()
    test_what_is_broken_stays_broken()
    attend, share = (
        test.hypothesis.inner_test  # type: ignore[attr-defined]
        for test in (test_attention, test_rows_that_share_keys)
    )
    for dtype, width, cap in itertools.product(native._DEFINES, (16, 32, 80, 128), (None, 2.0)):
        kind: Any = {"widths": (width, width), "softcap": cap, "sinks": True, "dtype": dtype}
        plain = {"window": None, "page": 1, "scattered": True, "seed": 1}
        attend([(1, 200), (2, 77), (8, 9)], heads=(7, 1), **kind, **plain)
        share(branches=20, prefix=150, heads=(4, 2), size=1.0, seed=1, **kind)
    x, weight = torch.randn(7, 48), torch.randn(40, 48)
    for rows in range(1, 8):
        out = torch.empty(rows, 40)
        done = native.library(torch.float32)
        assert done is not None
        done.linear(x.data_ptr(), weight.data_ptr(), None, out.data_ptr(), rows, 48, 40, 0)
        torch.testing.assert_close(out, x[:rows] @ weight.T, rtol=1e-4, atol=1e-4)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    case = make_case([(1, 200), (2, 77), (1, 3)], widths=(32, 32))
    together = paged_attention(case.q, case.k, case.v, case.batch, scale=0.2)
    for b, (first, end) in enumerate([(0, 1), (1, 3), (3, 4)]):
        alone = make_case([(1, 200), (2, 77), (1, 3)], widths=(32, 32)).batch
        batch = type(alone)(
            [0, end - first], [alone.seq_len[b]], alone.slot_tables, table_of=[alone.table_of[b]]
        )
        found = paged_attention(case.q[first:end], case.k, case.v, batch, scale=0.2)
        assert torch.equal(found, together[first:end])


@given(
    st.integers(1, 4),
    st.integers(1, 70),
    st.booleans(),
    st.integers(0, 99),
    st.sampled_from([1, 9]),
)
def test_greedy(rows: int, vocab: int, masked: bool, seed: int, levels: int) -> None:
    torch.manual_seed(seed)
    logits = torch.randint(0, levels, (rows, vocab)).float()
    logits += torch.randint(0, 2, (rows, vocab)) * (NEAR_TIE / 2)
    allowed = torch.rand(rows, vocab) < 0.7 if masked else None
    if allowed is not None:
        allowed[:, seed % vocab] = True
    tokens, ties = masked_greedy(logits, allowed)
    with mock.patch.object(native, "library", return_value=None):
        for ours, torchs in zip((tokens, ties), masked_greedy(logits, allowed), strict=True):
            assert torch.equal(ours, torchs)
    for row in range(rows):
        scores = [
            float(x) if allowed is None or allowed[row, i] else -math.inf
            for i, x in enumerate(logits[row])
        ]
        best = max(scores)
        assert int(tokens[row]) == scores.index(best)
        close = sum(x >= float(torch.tensor(best) - NEAR_TIE) for x in scores)
        assert bool(ties[row]) == (close > 1)


@given(
    count=st.integers(1, 4),
    vocab=st.integers(1, 200),
    words=st.integers(1, 7),
    seed=st.integers(0, 99),
    in_c=st.booleans(),
)
def test_masks(count: int, vocab: int, words: int, seed: int, in_c: bool) -> None:
    torch.manual_seed(seed)
    logits = torch.randn(4, vocab)
    logits[0, 0] = math.nan
    pool = torch.randint(-(1 << 31), 1 << 31, (5, words), dtype=torch.int64).to(torch.int32)
    pool[1], pool[2] = -1, 0
    samples, rows = torch.randperm(4)[:count], torch.randint(0, 5, (count,))
    expected = logits.clone()
    for sample, row in zip(samples.tolist(), rows.tolist(), strict=True):
        for token in range(vocab):
            word = int(pool[row, token // 32]) if token // 32 < words else 0
            if not word >> token % 32 & 1:
                expected[sample, token] = -math.inf
    library = native.library
    with mock.patch.object(native, "library", lambda dtype: library(dtype) if in_c else None):
        mask_logits(logits, pool, rows, samples)
    torch.testing.assert_close(logits, expected, equal_nan=True, rtol=0, atol=0)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """As in a new process of a user who has nothing yet. What is compiled is not made fast, which
    takes ten times as long."""
    monkeypatch.setattr(native, "_FLAGS", ["-O0", *native._FLAGS[1:]])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    native.library.cache_clear()
    yield tmp_path
    native.library.cache_clear()


def test_compiled_once_for_all_processes(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert native.library(torch.float32) is not None
    (made,) = (fresh / "espalier").iterdir()
    native.library.cache_clear()
    compiled = []

    def run(command: list[str], **options: Any) -> Any:
        compiled.append(command)
        return original(command, **options)

    original = subprocess.run
    monkeypatch.setattr(subprocess, "run", run)
    assert native.library(torch.float32) is not None
    assert [command[1:] for command in compiled] == [["--version"]]
    assert list((fresh / "espalier").iterdir()) == [made]


def test_left_to_torch_where_asked(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(native.ASK, "0")
    assert native.library(torch.float32) is None
    assert not list(fresh.iterdir())


def test_what_says_neither_yes_nor_no_is_refused(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(native.ASK, "off")
    with pytest.raises(InvalidRequestError, match=r"1 or 0.*'off'.*ESPALIER_NATIVE"):
        native.library(torch.float32)
    assert not list(fresh.iterdir())


def test_left_to_torch_without_a_compiler(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(fresh))
    monkeypatch.delenv("CC", raising=False)
    assert native.library(torch.float32) is None
    x = torch.randn(2, 16)
    found = RMSNorm(torch.ones(16), 1e-6)(x)
    torch.testing.assert_close(found, rms_norm_reference(x, torch.ones(16), 1e-6))


def test_a_compiler_that_fails_is_warned_of(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = fresh / "cc"
    bad.write_text("#!/bin/sh\n[ $1 = --version ] && exit 0\necho no such flag >&2\nexit 1\n")
    bad.chmod(0o755)
    monkeypatch.setenv("CC", str(bad))
    with pytest.warns(UserWarning, match="no such flag"):
        assert native.library(torch.float32) is None


def test_a_compiler_that_fails_at_8_bits_builds_the_rest(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an assembler does that knows no AMX."""
    found = native._found()
    assert found is not None
    old = fresh / "cc"
    old.write_text(
        "#!/bin/sh\n"
        "[ $1 = --version ] && exit 0\n"
        f'for given; do [ "$given" = -DPLAIN ] && exec {found[0]} "$@"; done\n'
        "echo no such instruction: ldtilecfg >&2\nexit 1\n"
    )
    old.chmod(0o755)
    monkeypatch.setenv("CC", str(old))
    with pytest.warns(UserWarning, match="8 bits were not built.*ldtilecfg"):
        c = native.library(torch.float32)
    assert c is not None
    assert not native.has_int8(c)
    assert "failed at their instructions" in str(int8.missing(torch.float32))
    with pytest.warns(UserWarning, match="8 bits were not built"):
        plain = native.library(torch.bfloat16)
    assert plain is not None
    assert plain.few() == 0  # nor a processor's own products
    x = torch.randn(2, 16)
    found_norm = RMSNorm(torch.ones(16), 1e-6)(x)
    torch.testing.assert_close(found_norm, rms_norm_reference(x, torch.ones(16), 1e-6))


def test_whatever_a_compiler_says_ends_no_engine(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = fresh / "cc"
    bad.write_text("#!/bin/sh\nprintf 'caf\\351' >&2\nexit 1\n")
    bad.chmod(0o755)
    for compiler in (str(bad), "gcc 'unbalanced", str(fresh / "absent")):
        monkeypatch.setenv("CC", compiler)
        native.library.cache_clear()
        with pytest.warns(UserWarning, match="were not built"):
            assert native.library(torch.float32) is None


def _no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.parametrize("why", ["a file in its place", "others may write", "no home"])
def test_where_code_cannot_be_kept(fresh: Path, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """It is compiled for this process alone, and nothing is left behind."""
    folder, temporary = fresh / "espalier", fresh / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    if why == "a file in its place":
        folder.write_text("")
    elif why == "others may write":
        folder.mkdir()
        folder.chmod(0o777)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", "a/relative/path")
        monkeypatch.setattr(Path, "home", _no_home)
    assert native.library(torch.float32) is not None
    x = torch.randn(2, 16)
    found = RMSNorm(torch.ones(16), 1e-6)(x)
    torch.testing.assert_close(found, rms_norm_reference(x, torch.ones(16), 1e-6))
    assert not list(temporary.iterdir())
    assert not folder.is_dir() or not list(folder.iterdir())


def test_a_damaged_library_is_made_anew(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert native.library(torch.float32) is not None
    (made,) = (fresh / "espalier").iterdir()
    other = fresh / "other" / "espalier"  # what is loaded from a path stays so for this process
    other.mkdir(mode=0o700, parents=True)
    (other / made.name).write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(other.parent))
    native.library.cache_clear()
    assert native.library(torch.float32) is not None
    assert (other / made.name).stat().st_size > 0


def test_what_it_would_misread_is_left_to_torch() -> None:
    """Its functions take addresses: another width or type must never reach them."""
    with pytest.raises(RuntimeError):
        RMSNorm(torch.ones(64), 1e-6)(torch.randn(2, 16))
    logits = torch.randn(2, 1 << 12).bfloat16()
    tokens, _ = masked_greedy(logits.clone(), None)
    assert torch.equal(tokens, logits.argmax(-1))
    case = make_case([(1, 20), (2, 30)], widths=(16, 16))
    options: Any = {"scale": 0.3, "window": None, "softcap": None, "sinks": None}
    mixed, _ = attend_few(case.q.bfloat16(), case.k, case.v, case.batch, **options)
    assert mixed is None
    sinks = torch.randn(8)[::2]
    options["sinks"] = sinks
    tensors = case.q, case.k, case.v, case.batch
    torch.testing.assert_close(
        paged_attention(*tensors, **options), paged_attention_reference(*tensors, **options)
    )


def test_exponentials_are_exact() -> None:
    """Within 2 units in the last place, whatever order a compiler would like to sum in."""
    x = torch.linspace(-87, -0.5, 1 << 15)
    found = silu_mul(torch.stack((x, torch.ones_like(x)), 1))[:, 0]
    wide = x.double()
    torch.testing.assert_close(found.double(), wide * wide.sigmoid(), rtol=3e-7, atol=0)


def test_other_types_and_large_work_are_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert native.library(torch.float16) is None
    x = torch.zeros(4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert isinstance(native.operators(x, 1 << 30), ctypes.CDLL)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert native.operators(x, 1 << 30) is None
    assert native.operators(x, 1 << 30, threads=4) is not None
    assert native.operators(x, 1 << 10) is not None


def test_compiled_before_the_first_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tiny("qwen2", tmp_path, dtype=torch.bfloat16)
    asked: list[torch.dtype] = []
    monkeypatch.setattr(torch_runner, "library", asked.append)
    with Engine(model=str(tmp_path), inline=True, dtype="bfloat16"):
        assert asked == [torch.bfloat16, torch.float32]
