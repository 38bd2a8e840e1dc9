"""The golden matrix of docs/models.md, but for the models that test_golden.py runs at length."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden_matrix import CELLS, CLOSE, run_cells
from tests.tiny_foreign import FOREIGN, save_foreign
from tests.tiny_models import save_tiny

OWN = ("phi3", "phi4-mini", "gemma2", "gemma3", "gemma3-images", "mistral3-images")


@pytest.mark.parametrize("name", [*OWN, *FOREIGN])
def test_the_same_logits_and_tokens(name: str, tmp_path: Path) -> None:
    save = save_tiny if name in OWN else save_foreign
    found = dict(run_cells(tmp_path, save(name, tmp_path)))
    assert list(found) == list(CELLS)
    for cell, (difference, near_ties, wrong) in found.items():
        assert (difference < CLOSE, near_ties, wrong) == (True, 0, 0), cell
