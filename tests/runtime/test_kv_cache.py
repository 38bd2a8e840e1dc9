from __future__ import annotations

import pytest
import torch

from espalier.runtime.kv_cache import KVCache, KVLayout, LayerKV


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bytes_per_token_is_theory_within_a_hundredth(dtype: torch.dtype) -> None:
    layout = KVLayout((LayerKV(4, 32, 32),) * 6)
    cache = KVCache(layout, 1000, dtype=dtype)
    theory = 6 * 4 * 32 * 2 * dtype.itemsize
    assert layout.bytes_per_token(dtype) == theory
    assert theory <= cache.bytes_per_token <= 1.01 * theory


def test_layers_may_differ_and_views_share_the_row() -> None:
    """K and V of other widths (DeepSeek-V3: 192 and 128), heads per layer."""
    cache = KVCache(KVLayout((LayerKV(2, 6, 4), LayerKV(1, 8, 8))), 5)
    assert cache.trash_slot == 5
    assert [tuple(k.shape) for k in cache.k] == [(6, 2, 6), (6, 1, 8)]
    assert [tuple(v.shape) for v in cache.v] == [(6, 2, 4), (6, 1, 8)]
    row = torch.arange(20.0)
    cache.rows[0][3] = row
    assert torch.equal(cache.k[0][3], row[:12].view(2, 6))
    assert torch.equal(cache.v[0][3], row[12:].view(2, 4))


def test_memory_is_taken_as_slots_are_written() -> None:
    """A pool of a gigabyte costs no memory before it is used."""
    import psutil

    before = psutil.Process().memory_info().rss
    cache = KVCache(KVLayout((LayerKV(8, 64, 64),) * 16), 1 << 14)
    assert cache.bytes_per_token * cache.num_slots > 1 << 30
    assert psutil.Process().memory_info().rss - before < 1 << 26
