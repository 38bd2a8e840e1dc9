"""A hundredth of the numbers of full_counts.py."""

from __future__ import annotations

import pytest

from .full_counts import PARTS, Counts


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_a_hundredth(part: str) -> None:
    counts = Counts(0.01)
    getattr(counts, part)()
    assert counts.found
