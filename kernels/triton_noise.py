"""The keyed noise of sampling in Triton: `sampling.noise_keys` and `sampling.exponential_noise`, of
the same integers, and equal but for rounding."""

import triton
import triton.language as tl


# fmt: off
@triton.jit
def mix(x):
    """MurmurHash3's finaliser of uint32."""
    x = x ^ (x >> 16)
    x = x * tl.full(x.shape, 0x85EBCA6B, tl.uint32)
    x = x ^ (x >> 13)
    x = x * tl.full(x.shape, 0xC2B2AE35, tl.uint32)
    return x ^ (x >> 16)


@triton.jit
def noise_keys(seed, index, position):
    """A row's two keys, uint32, of int64 scalars."""
    golden = tl.full([], 0x9E3779B9, tl.uint32)
    low, high = seed.to(tl.uint32), (seed >> 32).to(tl.uint32)
    mixed = mix(low ^ mix(high + golden))
    one = tl.full([], 1, tl.uint32)
    place = mix((position.to(tl.uint32) * golden) ^ mix(index.to(tl.uint32) + one))
    first = mix(mixed ^ place)
    three = tl.full([], 3, tl.uint32)
    return first, mix(first + mixed * three + golden)


@triton.jit
def hashed(first, second, token):
    """31 bits of a row's two keys and a token's id, as int32."""
    spread = mix(token.to(tl.uint32) * tl.full(token.shape, 0x9E3779B9, tl.uint32))
    bits = mix((spread ^ first.to(tl.uint32)) + second.to(tl.uint32))
    return bits.to(tl.int32) & 0x7FFFFFFF


@triton.jit
def exponential(bits):
    """-log(1 - u) of u = (bits + 0.5) / 2^31; by its series where u is small."""
    u = tl.minimum((bits.to(tl.float32) + 0.5) * (1.0 / 2147483648.0), 1.0 - 1.0 / 16777216.0)
    series = u * (1.0 / 9.0) + 1.0 / 8.0
    series = series * u + 1.0 / 7.0
    series = series * u + 1.0 / 6.0
    series = series * u + 1.0 / 5.0
    series = series * u + 1.0 / 4.0
    series = series * u + 1.0 / 3.0
    series = series * u + 1.0 / 2.0
    series = (series * u + 1.0) * u
    return tl.where(u < 0.125, series, -tl.log(1.0 - u))
# fmt: on
