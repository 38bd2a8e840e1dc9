"""Products with weights of 8 bits: to the last bit those of whole numbers, by every instruction
set, in any number of threads, beside any other rows."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import Tensor

from espalier.kernels import int8, native
from espalier.kernels.activation import silu_mul
from espalier.kernels.int8 import Int8Weight, linear, linear_of_gate, linear_of_norm
from espalier.kernels.norm import RMSNorm

pytestmark = pytest.mark.skipif(
    native.library(torch.float32) is None, reason="no C compiler: there are no such products"
)
_types = st.sampled_from([torch.float32, torch.bfloat16])
_sizes = st.sampled_from([0.0, 1e-42, 1e-30, 1e-3, 1.0, 1e4, 1e30])


def _drawn(rows: int, width: int, size: float, seed: int) -> Tensor:
    """Rows of sizes that differ, some elements 0."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, width, generator=draw) * size
    x *= torch.rand(rows, 1, generator=draw)
    return x * (torch.rand(rows, width, generator=draw) < 0.9)


def _expected(x: Tensor, weight: Int8Weight, bias: Tensor | None, y: Tensor | None) -> Tensor:
    product = int8.linear_reference(x, *weight.parts())
    if bias is not None:
        product += bias.float()
    return (product if y is None else y.float() + product).to(x.dtype)


def _check(
    rows: int,
    inputs: int,
    outputs: int,
    *,
    dtype: torch.dtype = torch.float32,
    sizes: tuple[float, float] = (1.0, 1.0),
    biased: bool = True,
    add: bool = False,
    seed: int = 0,
) -> None:
    weight = Int8Weight(_drawn(outputs, inputs, sizes[0], seed))
    x = _drawn(rows, inputs, sizes[1], seed + 1).to(dtype)
    bias = _drawn(1, outputs, 1.0, seed + 2)[0].to(dtype) if biased else None
    y = _drawn(rows, outputs, 1.0, seed + 3).to(dtype)
    expected = _expected(x, weight, bias, y if add else None)
    found = linear(x, weight, bias, y if add else torch.full_like(y, math.nan), add=add)
    assert torch.equal(found, expected)


@settings(max_examples=300)
@given(
    rows=st.integers(0, 40),
    inputs=st.one_of(st.integers(1, 200), st.sampled_from([4096, 4160, 9000])),
    outputs=st.integers(1, 70),
    dtype=_types,
    sizes=st.tuples(_sizes, _sizes),
    biased=st.booleans(),
    add=st.booleans(),
    seed=st.integers(0, 99),
)
def test_it_is_the_reference_to_the_last_bit(
    rows: int,
    inputs: int,
    outputs: int,
    dtype: torch.dtype,
    sizes: tuple[float, float],
    biased: bool,
    add: bool,
    seed: int,
) -> None:
    kind = {"dtype": dtype, "sizes": sizes, "biased": biased, "add": add, "seed": seed}
    _check(rows, inputs, outputs, **kind)  # type: ignore[arg-type]


def test_the_greatest_sums_there_can_be() -> None:
    """No digit times a weight overflows, with more inputs than 32 bits would hold the sum of."""
    for sign in (1.0, -1.0):
        weight = Int8Weight(torch.full((17, 140_000), sign))
        x = torch.full((5, 140_000), float((1 << 24) - 1))
        y = linear(x, weight, None, torch.empty(5, 17), add=False)
        assert torch.equal(y, int8.linear_reference(x, *weight.parts()))
        assert y[0, 0] == pytest.approx(sign * 140_000 * (1 << 24), rel=1e-6)


@given(
    rows=st.integers(1, 8),
    inputs=st.integers(1, 300),
    outputs=st.integers(1, 40),
    size=st.sampled_from([1e-20, 1.0, 1e15]),
    seed=st.integers(0, 99),
)
def test_how_far_it_is_from_what_was_meant(
    rows: int, inputs: int, outputs: int, size: float, seed: int
) -> None:
    """By half a step of each output's weights at most, and 2^-23 of a row's largest element."""
    wide = _drawn(outputs, inputs, size, seed).double()
    x = _drawn(rows, inputs, size, seed + 1)
    weight = Int8Weight(wide.float())
    q, scale = weight.parts()
    assert ((q * scale[:, None].double() - wide).abs() <= scale[:, None] * 0.5001).all()
    found = linear(x, weight, None, torch.empty(rows, outputs), add=False)
    largest = x.abs().amax(1, keepdim=True).double()
    rounding = 2**-23 * largest * wide.abs().sum(1) + 1e-6 * found.abs() + 2**-149
    bound = 0.5001 * scale.double() * x.double().abs().sum(1, keepdim=True) + rounding
    assert ((found - x.double() @ wide.T).abs() <= bound).all()


@pytest.mark.parametrize("bits", ["normal", "bfloat16"])
def test_relative_error_of_a_layer(bits: str) -> None:
    """Of weights and activations as drawn ones are: 0.7 % of a result's norm with 896 inputs."""
    torch.manual_seed(0)
    weight, x = torch.randn(512, 896), torch.randn(32, 896)
    dtype = torch.bfloat16 if bits == "bfloat16" else torch.float32
    found = linear(
        x.to(dtype), Int8Weight(weight), None, torch.empty(32, 512, dtype=dtype), add=False
    )
    expected = x.to(dtype).double() @ weight.double().T
    error = (found.double() - expected).norm() / expected.norm()
    assert 0.005 < error < 0.009


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_is_its_own(dtype: torch.dtype) -> None:
    """In every number of rows, and beside one that is no number."""
    weight = Int8Weight(_drawn(70, 300, 1.0, 0))
    x = _drawn(200, 300, 1.0, 1).to(dtype)
    whole = linear(x, weight, None, x.new_empty(200, 70), add=False)
    for rows in (1, 2, 3, 4, 5, 15, 16, 17, 33, 100):
        for first in (0, 7, 99):
            part = x[first : first + rows]
            found = linear(part, weight, None, x.new_empty(rows, 70), add=False)
            assert torch.equal(found, whole[first : first + rows])
    for broken in (math.nan, math.inf, -math.inf):
        x[17, 3] = broken
        found = linear(x, weight, None, x.new_empty(200, 70), add=False)
        assert found.isnan().all(1).nonzero().flatten().tolist() == [17]
        assert torch.equal(found[:17], whole[:17])


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert int8._start() is not None
    weight, x = Int8Weight(_drawn(700, 500, 1.0, 0)), _drawn(40, 500, 1.0, 1)
    one = linear(x, weight, None, torch.empty(40, 700), add=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    monkeypatch.setattr(int8, "_PARALLEL", 0)
    for rows in (1, 2, 7, 40):
        found = linear(x[:rows], weight, None, torch.empty(rows, 700), add=False)
        assert torch.equal(found, one[:rows])


@given(_types, st.integers(0, 40), st.integers(1, 150), st.integers(1, 40), st.integers(0, 99))
def test_after_a_norm_and_after_a_gate(
    dtype: torch.dtype, rows: int, inputs: int, outputs: int, seed: int
) -> None:
    weight = Int8Weight(_drawn(outputs, inputs, 1.0, seed))
    x, gate_up, y, bias = (
        _drawn(count, width, 1.0, seed + n).to(dtype)
        for n, (count, width) in enumerate(
            [(rows, inputs), (rows, 2 * inputs), (rows, outputs), (1, outputs)]
        )
    )
    norm = RMSNorm(torch.rand(inputs).to(dtype), 1e-5)
    expected = _expected(norm(x), weight, bias[0], None)
    assert torch.equal(linear_of_norm(norm, x, weight, bias[0], torch.empty_like(y)), expected)
    expected = _expected(silu_mul(gate_up.clone()), weight, None, y)
    assert torch.equal(linear_of_gate(gate_up, weight, None, y), expected)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_is_its_own_after_a_norm_and_after_a_gate(dtype: torch.dtype) -> None:
    """Among so many that torch would run them in threads, and among few."""
    wide = 2048
    weight = Int8Weight(_drawn(48, wide, 1.0, 0))
    norm = RMSNorm(torch.rand(wide).to(dtype) + 0.5, 1e-6)
    x, gate_up = _drawn(300, wide, 1.0, 1).to(dtype), _drawn(300, 2 * wide, 1.0, 2).to(dtype)
    normed = linear_of_norm(norm, x, weight, None, x.new_empty(300, 48))
    gated = linear_of_gate(gate_up.clone(), weight, None, x.new_zeros(300, 48))
    for rows in (1, 5, 16, 32, 33):
        found = linear_of_norm(norm, x[:rows], weight, None, x.new_empty(rows, 48))
        assert torch.equal(found, normed[:rows])
        found = linear_of_gate(gate_up[:rows].clone(), weight, None, x.new_zeros(rows, 48))
        assert torch.equal(found, gated[:rows])


def test_as_many_rows_as_no_stack_holds() -> None:
    weight = Int8Weight(_drawn(20, 300, 1.0, 0))
    norm, x = RMSNorm(torch.rand(300), 1e-5), _drawn(300, 300, 1.0, 1)
    found = linear_of_norm(norm, x, weight, None, torch.empty(300, 20))
    assert torch.equal(found, _expected(norm(x), weight, None, None))
    gate_up = _drawn(300, 600, 1.0, 2)
    expected = _expected(silu_mul(gate_up.clone()), weight, None, torch.zeros(300, 20))
    assert torch.equal(linear_of_gate(gate_up, weight, None, torch.zeros(300, 20)), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_of_weights(dtype: torch.dtype) -> None:
    wide = _drawn(37, 70, 1.0, 0)
    weight = Int8Weight(wide)
    q, scale = weight.parts()
    ids = torch.tensor([[0, 36, 5], [5, 16, 15]]).T[:, 0]
    found = weight.rows(ids, dtype)
    assert torch.equal(found, (q[ids] * scale[ids, None]).to(dtype))
    with pytest.raises(IndexError, match="37"):
        weight.rows(torch.tensor([37]), dtype)
    with pytest.raises(IndexError):
        weight.rows(torch.tensor([-1]), dtype)


def test_what_it_takes() -> None:
    assert Int8Weight(torch.zeros(4096, 1024)).nbytes == 4096 * 1024 + 8 * 4096


def test_weights_are_rounded_alike_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = _drawn(100, 130, 1.0, 0)
    q, scale = int8.quantise(wide)
    monkeypatch.setattr(int8, "_AT_ONCE", 5000)
    found = Int8Weight(wide).parts()
    assert torch.equal(found[0], q)
    assert torch.equal(found[1], scale)
    assert q.abs().amax(1).tolist() == [127] * 100


def test_broken_weights_break_their_output() -> None:
    wide = torch.randn(5, 32)
    wide[1, 3], wide[2, 4] = math.nan, math.inf
    y = linear(torch.randn(2, 32), Int8Weight(wide), None, torch.empty(2, 5), add=False)
    assert y.isfinite().tolist() == [[True, False, False, True, True]] * 2


def test_what_it_would_misread_is_refused() -> None:
    weight, y = Int8Weight(torch.randn(5, 32)), torch.empty(2, 5)
    for x in (torch.zeros(2, 31), torch.zeros(2, 32).half(), torch.zeros(2, 32).bfloat16()):
        with pytest.raises((ValueError, RuntimeError), match=r"expected|float16"):
            linear(x, weight, None, y, add=False)
    with pytest.raises(ValueError, match="contiguous"):
        linear(torch.zeros(2, 32), weight, None, torch.empty(5, 2).T, add=False)
    with pytest.raises(ValueError, match="expected"):
        linear(torch.zeros(2, 32), weight, torch.zeros(4), y, add=False)
    turned = torch.randn(32, 2).T
    found = linear(turned, weight, None, y, add=False)
    assert torch.equal(found, int8.linear_reference(turned, *weight.parts()))


_BUILDS = {
    "plain C": ["-march=x86-64"],
    "AVX2": ["-march=x86-64-v3"],
    "AVX-VNNI": ["-march=x86-64-v3", "-mavxvnni"],
    "AVX-512 VNNI": ["-march=x86-64-v4", "-mavx512vnni", "-mprefer-vector-width=512"],
}
_NEEDS = {"AVX2": "avx2", "AVX-VNNI": "avx_vnni", "AVX-512 VNNI": "avx512_vnni"}


@pytest.fixture(params=list(_BUILDS))
def build(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The operators as another processor would have them."""
    name: str = request.param
    if platform.machine() != "x86_64":
        pytest.skip("the builds are of x86-64")
    if _NEEDS.get(name, "") not in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
        pytest.skip(f"no {name}")
    kept = [flag for flag in native._FLAGS if not flag.startswith(("-march", "-mprefer"))]
    monkeypatch.setattr(native, "_FLAGS", [*kept, "-Wno-psabi", *_BUILDS[name]])
    native.library.cache_clear()
    yield name
    native.library.cache_clear()


def test_every_instruction_set_gives_the_same(build: str) -> None:
    assert int8.instructions() == build
    for dtype in (torch.float32, torch.bfloat16):
        for rows in (1, 2, 3, 4, 7, 19):
            for inputs, outputs in ((1, 1), (67, 33), (256, 48), (4200, 17)):
                _check(rows, inputs, outputs, dtype=dtype, add=rows % 2 == 1)
    test_the_greatest_sums_there_can_be()
    test_a_row_is_its_own(torch.float32)


def test_a_matrix_unit_that_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_threads: None
) -> None:
    """By a system that does not let this process use it: the instructions are compiled all the
    same, and vectors multiply."""
    for source in native._PARTS:
        text = source.read_text(encoding="utf-8")
        asks = "syscall(SYS_arch_prctl, 0x1023, 18) == 0"
        (tmp_path / source.name).write_text(text.replace(asks, "0"), encoding="utf-8")
    told = int8.instructions()
    if told != "AMX":
        pytest.skip("no AMX")
    parts = tuple(tmp_path / source.name for source in native._PARTS)
    monkeypatch.setattr(native, "_PARTS", parts)
    monkeypatch.setattr(native, "SOURCE", parts[0])
    native.library.cache_clear()
    try:
        test_every_instruction_set_gives_the_same("AVX-512 VNNI")
        for rows in (1, 3, 19, 40):
            _check(rows, 700, 500)
    finally:
        native.library.cache_clear()


def test_why_it_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert int8.missing(torch.float32) is None
    assert "float16" in str(int8.missing(torch.float16))
    monkeypatch.setattr(int8, "library", lambda dtype: None)
    assert "compiler" in str(int8.missing(torch.float32))
    monkeypatch.setattr(int8, "library", lambda dtype: object())
    assert "failed at their instructions" in str(int8.missing(torch.float32))
    assert int8.instructions() == ""
    monkeypatch.setattr("sys.byteorder", "big")
    assert "big-endian" in str(int8.missing(torch.float32))


def test_the_reference_is_the_product() -> None:
    q, scale = int8.quantise(torch.randn(20, 48))
    x = torch.randn(3, 48)
    found = int8.linear_reference(x, q, scale)
    torch.testing.assert_close(found, F.linear(x, q * scale[:, None]), rtol=1e-4, atol=1e-5)
