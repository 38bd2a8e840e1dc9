"""The Triton sampler against the reference, by Triton's interpreter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from espalier.kernels.sampling import exponential_noise, masked_sample, noise_keys, unpack_mask
from tests.triton_interpreter import interpreted

pytest.importorskip("triton", reason="triton is not installed here")

import triton
import triton.language as tl

from espalier.kernels import triton_sampling


@triton.jit
def _noise_kernel(keys, bits, noise, COUNT: tl.constexpr):
    token = tl.arange(0, COUNT)
    found = triton_sampling.hashed(tl.load(keys), tl.load(keys + 1), token)
    tl.store(bits + token, found)
    tl.store(noise + token, triton_sampling.exponential(found))


def _keys(seeds: list[int]) -> torch.Tensor:
    many = torch.tensor(seeds, dtype=torch.int64)
    return noise_keys(many, many % 3, many * 7 + 1)


@given(seed=st.integers(-(2**63), 2**63 - 1))
@settings(max_examples=10)
def test_the_noise_is_of_the_same_integers(seed: int) -> None:
    keys = _keys([seed])
    bits = torch.empty(256, dtype=torch.int32)
    noise = torch.empty(256)
    with interpreted():
        _noise_kernel[(1,)](keys, bits, noise, COUNT=256)
    word = np.uint64(0xFFFFFFFF)

    def mix(x: np.ndarray) -> np.ndarray:
        x = ((x ^ (x >> np.uint64(16))) * np.uint64(0x85EBCA6B)) & word
        x = ((x ^ (x >> np.uint64(13))) * np.uint64(0xC2B2AE35)) & word
        return x ^ (x >> np.uint64(16))

    first, second = (np.uint64(int(key) & 0xFFFFFFFF) for key in keys[0])
    token = (np.arange(256, dtype=np.uint64) * np.uint64(0x9E3779B9)) & word
    wanted = mix(((mix(token) ^ first) + second) & word) & np.uint64(0x7FFFFFFF)
    assert bits.tolist() == wanted.tolist()
    torch.testing.assert_close(noise, exponential_noise(keys, 256)[0], rtol=2e-6, atol=0.0)


@given(
    temperatures=st.lists(st.sampled_from([0.0, 1e-30, 0.7, 1.0, 50.0]), min_size=1, max_size=4),
    vocab=st.sampled_from([1, 31, 70, 4097]),
    ties=st.booleans(),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=25)
def test_equals_the_reference(temperatures: list[float], vocab: int, ties: bool, seed: int) -> None:
    """Rows with a mask and without; tokens differ only where both say that they might."""
    rng = np.random.default_rng(seed)
    count = len(temperatures)
    logits = torch.from_numpy(rng.normal(size=(count, vocab)) * 4).float()
    if ties:
        logits = logits.round()
    pool = torch.from_numpy(rng.integers(-(2**31), 2**31, (3, -(-vocab // 32)), dtype=np.int32))
    pool[:, 0] |= 1  # a mask lets some token through
    rows = torch.from_numpy(rng.integers(-1, 3, count))
    allowed = unpack_mask(pool[rows.clamp(min=0)], vocab) | (rows < 0).unsqueeze(1)
    keys, temperature = _keys([seed + i for i in range(count)]), torch.tensor(temperatures)
    free = torch.zeros(count)
    wanted, wanted_near = masked_sample(
        logits,
        temperature=temperature,
        top_k=free.long(),
        top_p=free + 1,
        min_p=free,
        keys=keys,
        allowed=allowed,
        filtered=False,
    )
    with interpreted():
        found, near = triton_sampling.masked_sample(
            logits, temperature=temperature, keys=keys, pool=pool, rows=rows
        )
    assert torch.equal(near, wanted_near)
    assert all(a == b or tie for a, b, tie in zip(found, wanted, near, strict=True))
    if ties:  # of equals the lowest, where no noise parts them
        greedy = temperature == 0
        assert torch.equal(found[greedy], wanted[greedy])
    assert allowed.gather(1, found.unsqueeze(1)).all()
