"""Seeds differ wherever something differs, and are the same everywhere else."""

from __future__ import annotations

import pytest

from espalier.errors import InvalidRequestError
from espalier.frontend_lang import seeds


def test_every_part_counts() -> None:
    found = {
        seeds.derive(seed, path, index)
        for seed in (0, 1, -1, 12)
        for path in ((), (0,), (0, 0), (1, 0), (0, 1), (0, 0, 0, 0), (12,))
        for index in range(5)
    }
    assert len(found) == 4 * 7 * 5
    assert all(0 <= seed < 2**63 for seed in found)


def test_a_written_down_value() -> None:
    """Programs repeat across machines and versions: this number must not change."""
    assert seeds.derive(0, (0, 1), 2) == 5621747477335179852


def test_draws_differ() -> None:
    assert seeds.draw() != seeds.draw()


@pytest.mark.parametrize("seed", [True, "1", 2**63, 1.0])
def test_what_is_no_seed(seed: object) -> None:
    with pytest.raises(InvalidRequestError, match="seed"):
        seeds.checked(seed)
    assert seeds.checked(-5) == -5
