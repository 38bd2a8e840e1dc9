"""Rotary angles: inverse frequencies with their scalings, and the table of cosines and sines."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import ModelLoadError
from .config import ModelConfig, RopeConfig


def inverse_frequencies(rope: RopeConfig, width: int) -> tuple[Tensor, float]:
    """[width / 2] float32 radians per position, and the factor on cosine and sine. width: how many
    elements of a head turn."""
    index = torch.arange(0, width, 2, dtype=torch.int64).float()
    frequency = 1.0 / (rope.theta ** (index / width))
    if rope.kind == "linear":
        return frequency / rope.get("factor"), 1.0
    if rope.kind == "llama3":
        return _llama3(frequency, rope), 1.0
    if rope.kind == "yarn":
        return _yarn(frequency, rope, width)
    if rope.kind == "longrope":
        return _longrope(frequency, rope)
    return frequency, 1.0


def _llama3(frequency: Tensor, rope: RopeConfig) -> Tensor:
    """Llama 3.1: long waves are slowed by `factor`, short ones kept, between them blended."""
    factor = rope.get("factor")
    low, high = rope.get("low_freq_factor"), rope.get("high_freq_factor")
    context = rope.get("original_max_position_embeddings")
    waves = context * frequency / (2 * math.pi)  # turns within the original context
    blend = ((waves - low) / (high - low)).clamp(0, 1)
    return (1 - blend) * frequency / factor + blend * frequency


def _yarn(frequency: Tensor, rope: RopeConfig, width: int) -> tuple[Tensor, float]:
    """YaRN (Peng et al., 2023)."""
    factor = rope.get("factor")
    context = rope.get("original_max_position_embeddings")

    def dimension(turns: float) -> float:
        """The dimension whose wave turns so often within the original context."""
        return width * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(rope.theta))

    low, high = dimension(rope.get("beta_fast", 32.0)), dimension(rope.get("beta_slow", 1.0))
    if rope.get("truncate", 1.0):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    ramp = (torch.arange(width // 2).float() - low) / max(high - low, 0.001)
    slowed = ramp.clamp(0, 1)
    return frequency / factor * slowed + frequency * (1 - slowed), _attention_factor(rope, factor)


def _longrope(frequency: Tensor, rope: RopeConfig) -> tuple[Tensor, float]:
    """LongRoPE (Ding et al., 2024), by the divisors that the configuration chose."""
    if len(rope.slowed) != len(frequency):
        raise ModelLoadError(
            expected=f"{len(frequency)} numbers",
            got=str(len(rope.slowed)),
            where="config.json: rope_parameters: short_factor or long_factor",
        )
    factor, context = rope.get("factor"), rope.get("original_max_position_embeddings")
    growth = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(context))
    return frequency / torch.tensor(rope.slowed), rope.get("attention_factor", growth)


def _attention_factor(rope: RopeConfig, factor: float) -> float:
    def growth(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    given = rope.get("attention_factor", math.nan)
    if not math.isnan(given):
        return given
    mscale, all_dim = rope.get("mscale", 0.0), rope.get("mscale_all_dim", 0.0)
    if mscale and all_dim:
        return growth(mscale) / growth(all_dim)
    return growth(1.0)


class Rotary:
    """The table [positions, 1, D] in the form `kernels.rope.rope_` reads; grows as it is needed."""

    def __init__(
        self, rope: RopeConfig, config: ModelConfig, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.width = int(config.head_dim * rope.share)
        self._frequency, self._factor = inverse_frequencies(rope, self.width)
        self._device, self._dtype = device, dtype
        self._grow(min(config.context_length, 2048))

    def _grow(self, positions: int) -> None:
        angle = torch.outer(torch.arange(positions).float(), self._frequency)
        cos, sin = angle.cos() * self._factor, angle.sin() * self._factor
        self._cos = torch.cat((cos, cos), dim=1).unsqueeze(1).to(self._device, self._dtype)
        self._sin = torch.cat((-sin, sin), dim=1).unsqueeze(1).to(self._device, self._dtype)

    def reserve(self, positions: int) -> None:
        """Make the table as long as that now."""
        if positions > len(self._cos):
            self._grow(positions)

    def __call__(self, positions: Tensor, end: int) -> tuple[Tensor, Tensor]:
        """cos and sin [T, 1, D] of `positions` [T], all of which are below `end`."""
        if end > len(self._cos):
            self._grow(max(end, 2 * len(self._cos)))
        return self._cos.index_select(0, positions), self._sin.index_select(0, positions)
