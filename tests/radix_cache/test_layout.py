from __future__ import annotations

import pytest

from espalier.errors import InvalidRequestError, NotSupportedError
from espalier.radix_cache import KVGroup, KVLayout, RadixCache, SlotAllocator


def test_bytes_per_token() -> None:
    llama = KVLayout.full(32, 8 * 128, dtype="bfloat16")
    assert llama.bytes_per_token == 32 * 2 * 1024 * 2
    deepseek = KVLayout.full(61, 128 * 192, 128 * 128, dtype="float32")
    assert deepseek.bytes_per_token == 61 * (128 * 192 + 128 * 128) * 4
    assert llama.slots_in(10 * llama.bytes_per_token - 1) == 9
    assert llama.slots_in(10 * llama.bytes_per_token - 1, 4) == 8


def test_widths_may_differ_by_layer() -> None:
    group = KVGroup(layers=(0, 3), k_widths=(64, 32), v_widths=(16, 0), dtype="int8")
    assert group.bytes_per_token == 112


@pytest.mark.parametrize(
    "parts",
    [
        {"layers": ()},
        {"k_widths": (8,)},
        {"v_widths": (8, 8, 8)},
        {"dtype": "torch.float32"},
        {"kind": "window"},
        {"window": 128},
    ],
)
def test_groups_that_cannot_be(parts: dict[str, object]) -> None:
    good = {"layers": (0, 1), "k_widths": (8, 8), "v_widths": (8, 8), "dtype": "float32"}
    KVGroup(**good)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError):
        KVGroup(**(good | parts))  # type: ignore[arg-type]


def test_layers_belong_to_one_group() -> None:
    group = KVGroup(layers=(0,), k_widths=(8,), v_widths=(8,), dtype="float32")
    with pytest.raises(InvalidRequestError, match="only once"):
        KVLayout((group, group))
    with pytest.raises(InvalidRequestError, match="at least one"):
        KVLayout(())


def test_the_tree_takes_one_full_group() -> None:
    full = KVLayout.full(2, 64, dtype="float16")
    assert RadixCache(SlotAllocator(4), layout=full).layout is full
    window = KVGroup(
        layers=(9,), k_widths=(8,), v_widths=(8,), dtype="int8", kind="window", window=128
    )
    for groups in ((window,), (*full.groups, window)):
        with pytest.raises(NotSupportedError, match="window"):
            RadixCache(SlotAllocator(4), layout=KVLayout(groups))
