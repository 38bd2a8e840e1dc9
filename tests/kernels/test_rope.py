from __future__ import annotations

import pytest
import torch

from espalier.kernels.norm import RMSNorm
from espalier.kernels.rope import (
    rope_,
    rope_reference,
    turn_and_write,
    turn_and_write_reference,
    write_kv,
)

pytestmark = pytest.mark.usefixtures("both_operators")


def test_in_place_equals_the_reference_on_a_view() -> None:
    torch.manual_seed(0)
    whole = torch.randn(5, 7, 16)
    angle = torch.randn(5, 8)
    cos, sin = angle.cos(), angle.sin()
    expected = rope_reference(whole[:, :4], cos, sin)
    rest = whole[:, 4:].clone()
    rope_(
        whole[:, :4],
        torch.cat((cos, cos), -1).unsqueeze(1),
        torch.cat((-sin, sin), -1).unsqueeze(1),
    )
    torch.testing.assert_close(whole[:, :4], expected)
    assert torch.equal(whole[:, 4:], rest)


def test_scores_depend_on_distance_alone() -> None:
    """Su et al.: the product of a query at m and a key at n depends on m - n."""
    torch.manual_seed(0)
    q, k = torch.randn(1, 1, 8).double(), torch.randn(1, 1, 8).double()
    frequency = 100.0 ** (-torch.arange(4).double() / 4)

    def score(m: int, n: int) -> float:
        turned = [
            rope_reference(x, (p * frequency).cos()[None], (p * frequency).sin()[None])
            for x, p in ((q, m), (k, n))
        ]
        return float((turned[0] * turned[1]).sum())

    assert abs(score(9, 4) - score(105, 100)) < 1e-9
    assert abs(score(9, 4) - score(10, 4)) > 1e-6


def test_write_kv_touches_its_slots_only() -> None:
    rows = torch.zeros(6, 4)
    values = torch.arange(12.0).view(3, 4) + 1
    write_kv(rows, torch.tensor([4, 0, 5]), values)
    assert torch.equal(rows[[4, 0, 5]], values)
    assert torch.equal(rows[[1, 2, 3]], torch.zeros(3, 4))


@pytest.mark.parametrize("turning", [8, 4])
@pytest.mark.parametrize("normed", [False, True])
def test_turn_and_write_like_the_reference(turning: int, normed: bool) -> None:
    torch.manual_seed(0)
    qkv = torch.randn(3, (4 + 2 + 2) * 8)
    angle = torch.randn(3, turning // 2)
    cos = torch.cat((angle.cos(), angle.cos()), -1).unsqueeze(1)
    sin = torch.cat((-angle.sin(), angle.sin()), -1).unsqueeze(1)
    norms = (RMSNorm(torch.randn(8), 1e-6), RMSNorm(torch.randn(8), 1e-6)) if normed else None
    cache, slots = torch.zeros(6, 2 * 2 * 8), torch.tensor([5, 0, 2])
    expected = cache.clone()
    wanted = turn_and_write_reference(
        qkv, cos, sin, slots, expected, heads=4, kv_heads=2, width=8, norms=norms
    )
    values = qkv[:, 6 * 8 :].clone()
    found = turn_and_write(qkv, cos, sin, slots, cache, heads=4, kv_heads=2, width=8, norms=norms)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(cache, expected)
    assert torch.equal(cache[slots, 16:], values)
