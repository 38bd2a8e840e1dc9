"""The seam every weight passes through.

A model asks for its layers by what they are (column, row, replicated); how a weight is cut over
ranks, stored and multiplied is decided here, so that tensor parallelism, quantisation and adapters
come without touching a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import NotSupportedError
from .loader import Weights

Kind = Literal["column", "row", "replicated"]


@dataclass(frozen=True)
class Group:
    """The ranks that share one model; this one is `rank` of `size`."""

    rank: int = 0
    size: int = 1


class Linear:
    """`y = x W^T + b` for x [T, in] -> [T, out]; several weights that read the same x are fused
    into one by listing their names.

    kind: column cuts the outputs over the group, row the inputs, replicated nothing.
    """

    __slots__ = ("bias", "weight")

    def __init__(
        self,
        weights: Weights,
        names: Sequence[str],
        outputs: Sequence[int],
        inputs: int,
        *,
        kind: Kind,
        bias: bool = False,
        group: Group = Group(),
        format: Literal["plain"] = "plain",
    ) -> None:
        if group.size != 1:
            raise NotSupportedError(f"tensor parallelism over {group.size} ranks")
        parts = [
            weights.take(f"{name}.weight", (size, inputs))
            for name, size in zip(names, outputs, strict=True)
        ]
        self.weight: Tensor = parts[0] if len(parts) == 1 else torch.cat(parts)
        self.bias: Tensor | None = None
        if bias:
            biases = [
                weights.take(f"{name}.bias", (size,))
                for name, size in zip(names, outputs, strict=True)
            ]
            self.bias = torch.cat(biases)

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)
