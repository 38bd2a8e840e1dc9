from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from espalier.errors import InvalidRequestError
from espalier.radix_cache.runs import agreed, as_array, first_mismatch, join, to_run


@given(st.integers(0, 6000), st.integers(0, 6000))
def test_first_mismatch(length: int, place: int) -> None:
    ours = np.arange(length)
    theirs = ours.copy()
    if place < length:
        theirs[place] = -1
    assert first_mismatch(ours, theirs) == min(place, length)


@given(
    st.lists(st.integers(0, 1), max_size=12),
    st.lists(st.integers(0, 1), max_size=12),
    st.integers(0, 12),
)
def test_agreed(data: list[int], run: list[int], start: int) -> None:
    rest = data[start:] if start <= len(data) else []
    start = min(start, len(data))
    count = 0
    while count < min(len(rest), len(run)) and rest[count] == run[count]:
        count += 1
    ours, theirs = to_run(np.array(data, np.int64)), to_run(np.array(run, np.int64))
    assert agreed(ours, start * 8, theirs) == count * 8


def test_there_and_back() -> None:
    values = np.arange(-3, 9)[::2]
    assert as_array(to_run(values)).tolist() == values.tolist()
    assert as_array(to_run(values, 4)).tolist() == values[4:].tolist()
    assert not as_array(to_run(values)).flags.writeable
    both = join([to_run(values), to_run(values)])
    both[0] = 5  # its own, and writable
    assert both.tolist() == [5, *values.tolist()[1:], *values.tolist()]
    assert len(join([])) == 0


@pytest.mark.parametrize(
    "values", [np.zeros(3, np.int32), np.zeros((2, 2), np.int64), np.zeros(3)], ids=str
)
def test_only_int64_runs(values: np.ndarray) -> None:
    with pytest.raises(InvalidRequestError, match="expected a 1-d int64 array, got"):
        to_run(values)
