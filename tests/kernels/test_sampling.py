"""Masked sampling against a naive numpy implementation, and its noise against chi-square."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from espalier.kernels.sampling import (
    NEAR_TIE,
    exponential_noise,
    masked_sample,
    noise_keys,
    penalise,
    unpack_mask,
)


def _tensor(values: Any, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype)


def _keys(seeds: list[int], index: int = 0, position: int = 0) -> torch.Tensor:
    count = len(seeds)
    return noise_keys(
        _tensor(seeds, torch.int64),
        _tensor([index] * count, torch.int64),
        _tensor([position] * count, torch.int64),
    )


def _sample(
    logits: Any,
    *,
    temperature: float | list[float] = 1.0,
    top_k: int | list[int] = 0,
    top_p: float | list[float] = 1.0,
    min_p: float | list[float] = 0.0,
    keys: torch.Tensor | None = None,
    allowed: Any = None,
) -> tuple[list[int], list[bool]]:
    rows = _tensor(logits)
    count = len(rows)

    def each(value: Any, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return _tensor(value if isinstance(value, list) else [value] * count, dtype)

    tokens, near = masked_sample(
        rows,
        temperature=each(temperature),
        top_k=each(top_k, torch.int64),
        top_p=each(top_p),
        min_p=each(min_p),
        keys=keys,
        allowed=None if allowed is None else _tensor(allowed, torch.bool),
    )
    return tokens.tolist(), near.tolist()


def _kept(logits: np.ndarray, top_k: int, top_p: float, min_p: float) -> np.ndarray:
    """Which tokens top-k, then top-p of what is left, then min-p leave; float64, one by one."""
    order = sorted(range(len(logits)), key=lambda token: (-logits[token], token))
    if top_k:
        order = order[:top_k]
    weights = np.exp(np.array([logits[token] for token in order]) - logits.max())
    probs = weights / weights.sum()
    kept = np.zeros(len(logits), dtype=bool)
    mass = 0.0
    for token, prob in zip(order, probs, strict=True):
        if (top_p >= 1 or mass < top_p) and prob >= min_p * probs[0]:
            kept[token] = True
        mass += prob
    return kept


@st.composite
def _cases(draw: st.DrawFn) -> dict[str, Any]:
    size = draw(st.integers(2, 40))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    return {
        "logits": rng.permutation(np.linspace(-6, 6, size)) * draw(st.sampled_from([0.3, 1.0])),
        "top_k": draw(st.sampled_from([0, 1, 2, 5, 100])),
        "top_p": draw(st.sampled_from([1.0, 0.9, 0.55, 0.05])),
        "min_p": draw(st.sampled_from([0.0, 0.05, 0.4, 1.0])),
        "temperature": draw(st.sampled_from([0.5, 1.0, 2.0])),
        "allowed": rng.random(size) < 0.7,
        "masked": draw(st.booleans()),
        "seed": draw(st.integers(-(2**63), 2**63 - 1)),
    }


@settings(max_examples=150)
@given(case=_cases())
def test_against_naive_numpy(case: dict[str, Any]) -> None:
    """The naive one: filter, then the greatest of scaled logit minus log of the same noise."""
    logits, allowed = case["logits"], case["allowed"] | ~np.array(case["masked"])
    if not allowed.any():
        allowed[0] = True
    keys = _keys([case["seed"]])
    [token], _ = _sample(
        [logits.tolist()],
        temperature=case["temperature"],
        top_k=case["top_k"],
        top_p=case["top_p"],
        min_p=case["min_p"],
        keys=keys,
        allowed=[allowed.tolist()],
    )
    scaled = np.where(allowed, logits / case["temperature"], -1e9)
    kept = _kept(scaled, case["top_k"], case["top_p"], case["min_p"]) & allowed
    noise = exponential_noise(keys, len(logits))[0].double().numpy()
    scores = np.where(kept, scaled - np.log(noise), -np.inf)
    assert scores[token] >= scores.max() - 1e-4
    assert kept[token]


def test_greedy_takes_the_greatest_and_of_equals_the_lowest() -> None:
    logits = [[0.0, 3.0, 1.0, 3.0], [2.0, 2.0 - 0.5 * NEAR_TIE, 0.0, 0.0], [0.0, 1.0, 2.0, 3.0]]
    assert _sample(logits, temperature=0.0) == ([1, 0, 3], [True, True, False])
    allowed = [[True, False, True, True], [False, True, True, True], [True, True, False, False]]
    assert _sample(logits, temperature=0.0, allowed=allowed) == ([3, 1, 1], [False] * 3)


def test_greedy_and_sampled_rows_mix() -> None:
    logits = [[1.0, 5.0, 2.0]] * 3
    keys = _keys([1, 2, 3])
    tokens, _ = _sample(logits, temperature=[0.0, 1e-6, 100.0], keys=keys)
    assert tokens[:2] == [1, 1]
    alone = [_sample([logits[i]], temperature=t, keys=keys[i : i + 1])[0] for i, t in ((2, 100.0),)]
    assert alone == [[tokens[2]]]


@pytest.mark.parametrize("temperature", [1e-30, 1e-38, 1e-42])
def test_a_temperature_near_zero_is_greedy(temperature: float) -> None:
    """Not the lowest id of those whose quotient overflows."""
    logits = [[10.0, 30.0, 20.0, -50.0]]
    assert _sample(logits, temperature=temperature, keys=_keys([1])) == ([1], [False])


def test_a_biased_row_whose_mask_leaves_one_token() -> None:
    """A token held back by a bias of minus infinity is still chosen if the grammar has no other."""
    logits = [[5.0, -1e30, 7.0]]
    for temperature in (0.0, 1e-9, 1.0):
        keys = _keys([3]) if temperature else None
        allowed = [[False, True, False]]
        tokens, _ = _sample(logits, temperature=temperature, keys=keys, allowed=allowed)
        assert tokens == [1]


def test_equals_at_the_border_all_stay() -> None:
    for more in ({"top_k": 2}, {"top_p": 0.6}, {"min_p": 1.0}):
        seen = set()
        for seed in range(60):
            [token], _ = _sample([[1.0, 1.0, 1.0, -9.0]], keys=_keys([seed]), **more)
            seen.add(token)
        assert seen == {0, 1, 2}


@pytest.mark.parametrize("more", [{"top_p": 0.9}, {"top_k": 1500}, {"min_p": 1e-6}, {"top_k": 40}])
def test_a_large_vocabulary_looks_further_where_it_must(more: dict[str, Any]) -> None:
    """3,000 tokens, more than are looked at first; flat enough that 0.9 of the mass needs most."""
    rng = np.random.default_rng(1)
    logits = rng.permutation(np.linspace(-2, 2, 3000))
    kept = _kept(logits, more.get("top_k", 0), more.get("top_p", 1.0), more.get("min_p", 0.0))
    rows = torch.from_numpy(logits).float().expand(400, -1)
    tokens, _ = _sample(rows.tolist(), keys=_keys(list(range(400))), **more)
    assert kept[tokens].all()
    assert len(set(tokens)) > 30
    peaked = (logits * 30).tolist()
    both, _ = _sample([peaked, logits.tolist()], keys=_keys([5, 5]), **more)
    alone, _ = _sample([peaked], keys=_keys([5]), **more)
    assert both[0] == alone[0]


def test_top_p_always_keeps_one_and_never_counts_the_dropped() -> None:
    for seed in range(40):
        [token], _ = _sample([[0.0, 4.0, 1.0]], top_p=1e-6, keys=_keys([seed]))
        assert token == 1
        # Of the two that top-k leaves, 0.6 is more than 0.55: top-p is of the renormalised rest.
        logits = [math.log(0.3), math.log(0.2), math.log(0.5)]
        [token], _ = _sample([logits], top_k=2, top_p=0.55, keys=_keys([seed]))
        assert token == 2


def test_rows_without_filters_are_not_touched_by_a_neighbour_with_them() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 50)).tolist()
    for seed in range(20):
        keys = _keys([seed, seed + 1])
        both, _ = _sample(logits, top_k=[0, 3], top_p=[1.0, 0.5], keys=keys)
        alone, _ = _sample(logits[:1], keys=keys[:1])
        assert both[0] == alone[0]


# -- near ties -------------------------------------------------------------------------------------


def test_logits_near_each_other_are_near_ties_at_any_temperature() -> None:
    """Two logits trade places, 1e-5 apart: wherever that changes the token, the row says so."""
    keys = _keys(list(range(3000)))
    one, other = [[1.0, 1.00001, -9.0]] * 3000, [[1.00001, 1.0, -9.0]] * 3000
    for temperature in (1e-20, 1e-3, 0.01, 1.0):
        first, first_near = _sample(one, temperature=temperature, keys=keys)
        second, second_near = _sample(other, temperature=temperature, keys=keys)
        changed = [a != b for a, b in zip(first, second, strict=True)]
        assert any(changed) or temperature == 1.0
        told = zip(changed, first_near, second_near, strict=True)
        assert all(a or b for change, a, b in told if change)
        if temperature >= 0.01:
            assert sum(first_near) < 0.02 * len(first_near)


BORDERS: list[tuple[list[float], dict[str, Any]]] = [
    ([0.5, 0.25, 0.25], {"top_k": 2}),
    ([0.5, 0.3, 0.2], {"top_p": 0.8}),
    ([0.5, 0.25, 0.25], {"top_p": 0.75}),
    ([0.5, 0.3, 0.2], {"min_p": 0.4}),
    ([0.45, 0.2, 0.15, 0.2], {"top_k": 3, "top_p": 0.65 / 0.85}),
    ([0.5, 0.3, 0.2], {"top_p": 0.8, "min_p": 0.4}),
]


@pytest.mark.parametrize("temperature", [1.0, 0.01])
@pytest.mark.parametrize(("probs", "more"), BORDERS)
def test_a_flip_at_a_filters_border_is_a_near_tie(
    probs: list[float], more: dict[str, Any], temperature: float
) -> None:
    """Tokens that lie just on the border, and logits less than NEAR_TIE from where they were."""
    count = 1500
    logits = (torch.tensor(probs, dtype=torch.float64).log() * temperature).float()
    rng = torch.Generator().manual_seed(3)
    apart = (torch.rand((count, len(probs)), generator=rng) - 0.5) * 0.9 * NEAR_TIE
    keys = _keys(list(range(count)))
    first, first_near = _sample(
        logits.expand(count, -1).tolist(), temperature=temperature, keys=keys, **more
    )
    second, second_near = _sample(
        (logits + apart).tolist(), temperature=temperature, keys=keys, **more
    )
    changed = [a != b for a, b in zip(first, second, strict=True)]
    assert sum(changed) > 20
    told = zip(changed, first_near, second_near, strict=True)
    assert all(a and b for change, a, b in told if change)


def test_what_no_small_change_reaches_is_no_near_tie() -> None:
    """The same filters, their borders clear of every token."""
    logits = torch.tensor([0.5, 0.3, 0.2]).log().tolist()
    keys = _keys(list(range(2000)))
    for more in ({"top_k": 2}, {"top_p": 0.7}, {"min_p": 0.5}, {"top_k": 2, "top_p": 0.9}):
        _, near = _sample([logits] * 2000, keys=keys, **more)
        assert sum(near) < 10
    _, near = _sample([[0.0, 1.0, 0.0]], temperature=1e-6, min_p=0.05, top_p=0.9, keys=_keys([1]))
    assert near == [False]  # a flip of min-p's border, but for the best, which cannot leave


@pytest.mark.parametrize("more", [{"top_p": 0.9}, {"top_k": 1500}, {"min_p": 1e-6}, {}])
def test_near_ties_of_a_large_vocabulary_are_few_and_told(more: dict[str, Any]) -> None:
    rng = np.random.default_rng(2)
    logits = torch.from_numpy(rng.normal(size=3000) * 2).float().expand(300, -1)
    apart = torch.from_numpy(rng.uniform(-0.45, 0.45, (300, 3000)) * NEAR_TIE).float()
    keys = _keys(list(range(300)))
    first, near = _sample(logits.tolist(), keys=keys, **more)
    second, _ = _sample((logits + apart).tolist(), keys=keys, **more)
    assert all(told for a, b, told in zip(first, second, near, strict=True) if a != b)
    assert sum(near) < 6


def test_bounds_that_float32_does_not_hold() -> None:
    """A nucleus of next to nothing is the likeliest alone; the highest temperature is uniform."""
    keys = _keys(list(range(50)))
    tokens, _ = _sample([[0.0, 1.0, 5.0]] * 50, top_p=1e-46, keys=keys)
    assert set(tokens) == {2}
    for allowed in ([[False, True, True]] * 50, None):
        tokens, _ = _sample(
            [[9.0, 1.0, 2.0]] * 50, temperature=math.inf, keys=keys, allowed=allowed
        )
        assert set(tokens) == ({1, 2} if allowed else {0, 1, 2})


# -- noise -----------------------------------------------------------------------------------------


def test_noise_depends_on_seed_index_position_and_token_alone() -> None:
    seeds, indices, positions = [5, 5, 5, 6, -5, 5 + 2**32], [0, 1, 0, 0, 0, 0], [7, 7, 8, 7, 7, 7]
    keys = noise_keys(*(_tensor(x, torch.int64) for x in (seeds, indices, positions)))
    noise = exponential_noise(keys, 100)
    assert len({tuple(row) for row in noise.tolist()}) == 6
    for row in range(6):
        alone = noise_keys(*(_tensor([x[row]], torch.int64) for x in (seeds, indices, positions)))
        assert torch.equal(exponential_noise(alone, 100)[0], noise[row])
        assert torch.equal(exponential_noise(alone, 60)[0], noise[row, :60])
        many = exponential_noise(alone.expand(5000, -1).contiguous(), 100)  # hashed in pieces
        assert torch.equal(many, noise[row].expand(5000, -1))


def _chi_square(observed: np.ndarray, expected: np.ndarray) -> float:
    """How many standard deviations the statistic lies from its mean (Wilson and Hilferty)."""
    statistic = float(((observed - expected) ** 2 / expected).sum())
    freedom = len(expected) - 1
    spread = 2 / (9 * freedom)
    return ((statistic / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)


@pytest.mark.parametrize("varying", ["seed", "index", "position"])
def test_samples_follow_the_softmax(varying: str) -> None:
    """20,000 draws by keys that differ in one part alone, as those of a run do."""
    count, probs = 20_000, np.array([0.4, 0.25, 0.15, 0.1, 0.06, 0.03, 0.01])
    parts = {name: torch.full((count,), 11) for name in ("seed", "index", "position")}
    parts[varying] = torch.arange(count)
    keys = noise_keys(parts["seed"], parts["index"], parts["position"])
    logits = torch.from_numpy(np.log(probs)).float().expand(count, -1)
    ones = torch.ones(count)
    tokens, _ = masked_sample(
        logits,
        temperature=ones,
        top_k=torch.zeros(count, dtype=torch.int64),
        top_p=ones,
        min_p=ones * 0,
        keys=keys,
        filtered=False,
    )
    observed = np.bincount(tokens.numpy(), minlength=len(probs))
    assert abs(_chi_square(observed, probs * count)) < 4


def test_noise_is_exponential_and_uncorrelated() -> None:
    keys = _keys(list(range(200)), position=3)
    noise = exponential_noise(keys, 500).double().numpy()
    assert (noise > 0).all()
    bins = np.floor(-np.log1p(-np.linspace(0, 1, 21)[:-1]) * 1e6) / 1e6
    observed, _ = np.histogram(noise, bins=[*bins, np.inf])
    assert abs(_chi_square(observed, np.full(20, noise.size / 20))) < 4
    for a, b in ((noise[:-1], noise[1:]), (noise[:, :-1], noise[:, 1:])):
        correlation = np.corrcoef(a.ravel(), b.ravel())[0, 1]
        assert abs(correlation) * math.sqrt(a.size) < 4


def test_the_smallest_noise_of_a_large_vocabulary_is_not_a_tie() -> None:
    noise = exponential_noise(_keys([1, 2, 3]), 128_256)
    assert (noise > 0).all()
    for row in noise:
        ordered = row.sort().values[:50]
        assert len(set(ordered.tolist())) == 50


# -- masks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("vocab", [1, 31, 32, 33, 70, 100])
def test_unpack_mask(vocab: int) -> None:
    rng = np.random.default_rng(vocab)
    wanted = rng.random((3, vocab)) < 0.5
    words = np.zeros((3, -(-vocab // 32)), dtype=np.uint32)
    for row, token in zip(*np.nonzero(wanted), strict=True):
        words[row, token >> 5] |= np.uint32(1 << (int(token) & 31))
    rows = torch.from_numpy(words.view(np.int32))
    assert unpack_mask(rows, vocab).numpy().tolist() == wanted.tolist()


def test_a_mask_narrower_than_the_logits_allows_nothing_beyond() -> None:
    rows = torch.tensor([[-1]], dtype=torch.int32)
    assert unpack_mask(rows, 40).tolist() == [[True] * 32 + [False] * 8]


@given(data=st.data())
def test_penalise_against_the_definition(data: st.DataObject) -> None:
    rows, vocab = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 6))
    number = st.floats(-5, 5, width=32)
    logits = [[data.draw(number) for _ in range(vocab)] for _ in range(rows)]
    counts = [[data.draw(st.integers(0, 3)) for _ in range(vocab)] for _ in range(rows)]
    seen = [[data.draw(st.booleans()) for _ in range(vocab)] for _ in range(rows)]
    repetition = [data.draw(st.floats(0.25, 4, width=32)) for _ in range(rows)]
    frequency = [data.draw(st.floats(-2, 2, width=32)) for _ in range(rows)]
    presence = [data.draw(st.floats(-2, 2, width=32)) for _ in range(rows)]
    got = penalise(
        _tensor(logits),
        _tensor(counts, torch.int32),
        _tensor(seen, torch.bool),
        repetition=_tensor(repetition),
        frequency=_tensor(frequency),
        presence=_tensor(presence),
    )
    for i in range(rows):
        for token, value in enumerate(logits[i]):
            if counts[i][token] or seen[i][token]:
                value = value / repetition[i] if value > 0 else value * repetition[i]
            value -= frequency[i] * counts[i][token] + presence[i] * (counts[i][token] > 0)
            assert got[i, token].item() == pytest.approx(value, abs=1e-5, rel=1e-5)


SAMPLERS = [
    {"temperature": 0.5},
    {"temperature": 2.0},
    {"top_k": 3},
    {"top_p": 0.75},
    {"min_p": 0.2},
    {"allowed": [True, False, True, True, True, False, True]},
    {"temperature": 1.5, "top_k": 5, "top_p": 0.9, "min_p": 0.1},
]


@pytest.mark.parametrize("more", SAMPLERS, ids=[" ".join(each) for each in SAMPLERS])
def test_each_sampler_follows_its_distribution(more: dict[str, Any]) -> None:
    """20,000 draws against the probabilities of what the filters leave, renormalised."""
    count, probs = 20_000, np.array([0.4, 0.25, 0.15, 0.1, 0.06, 0.03, 0.01])
    allowed = np.array(more.get("allowed", [True] * 7))
    scaled = np.where(allowed, np.log(probs) / more.get("temperature", 1.0), -1e9)
    kept = _kept(scaled, more.get("top_k", 0), more.get("top_p", 1.0), more.get("min_p", 0.0))
    kept &= allowed
    expected = np.where(kept, np.exp(scaled), 0)
    expected *= count / expected.sum()
    given = {**more, "allowed": [allowed.tolist()] * count if "allowed" in more else None}
    tokens, _ = _sample([np.log(probs).tolist()] * count, keys=_keys(list(range(count))), **given)
    observed = np.bincount(tokens, minlength=7)
    assert observed[~kept].sum() == 0
    assert abs(_chi_square(observed[kept], expected[kept])) < 4
