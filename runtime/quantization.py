"""Weights in 8 bits: where that can be, and what it saves."""

from __future__ import annotations

import logging

import torch

from ..errors import NotSupportedError
from ..kernels.int8 import instructions, missing
from .loader import Weights

WHERE = "quantization"
_log = logging.getLogger("espalier.engine")


def check_device(device: torch.device) -> None:
    """Raise NotSupportedError for a device that has no such products."""
    if device.type != "cpu":
        raise NotSupportedError(
            "weights of 8 bits are multiplied by a CPU's operators alone",
            got=f"device={device}",
            where=WHERE,
            hint='Leave quantization out, or take device="cpu".',
        )


def quantised_dtype(asked: str | torch.dtype, chosen: torch.dtype) -> torch.dtype:
    """The dtype to compute in beside such weights: `chosen`, but float32 for a checkpoint in
    float16 where nothing was `asked`. Raises NotSupportedError for one that is not multiplied."""
    if chosen == torch.float16 and asked == "auto":
        chosen = torch.float32
    why = missing(chosen)
    if why is not None:
        hint = (
            'dtype="float32" or "bfloat16"'
            if chosen == torch.float16
            else "Install a C compiler (gcc or clang), or leave quantization out."
        )
        raise NotSupportedError(
            f"weights of 8 bits cannot be multiplied: {why}", where=WHERE, hint=hint
        )
    return chosen


def not_ours(architecture: str) -> NotSupportedError:
    """For a model whose layers are not Espalier's."""
    return NotSupportedError(
        f"{architecture} is run by transformers' own code, which keeps its weights as they are",
        where=WHERE,
        hint="Leave quantization out; docs/models.md lists the models that are defined here.",
    )


def told(weights: Weights) -> str:
    """How the weights are kept, in a sentence; empty where nothing was asked."""
    if weights.quantization is None:
        return ""
    dtype = str(weights.dtype).removeprefix("torch.")
    line = (
        f"Weights: {weights.quantization}, multiplied by {instructions()}: "
        f"{weights.size / 2**20:,.1f} MiB, where {dtype} takes {weights.plain_size / 2**20:,.1f}"
    )
    _log.info(line)
    return line
