"""Averages the weights of several ends of training.

Each run ends at a point of its own around the same optimum; their mean lies nearer to it than any
of them (docs/LOG.md has what it gave Sprig).

    python -m examples.train_sprig.average OUT RUN1/model RUN2/model --weights 1 0.5
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

WEIGHTS = "model.safetensors"


def average(folders: Sequence[Path], shares: Sequence[float]) -> dict[str, torch.Tensor]:
    """The weighted mean of the models in `folders`, in the dtypes of the first. Raises ValueError
    when they are not of one shape, or the shares are not one positive number for each."""
    if len(shares) != len(folders) or min(shares, default=0) <= 0:
        raise ValueError(f"expected {len(folders)} positive weights, got {list(shares)}")
    models = [load_file(folder / WEIGHTS) for folder in folders]
    first = {name: (tensor.shape, tensor.dtype) for name, tensor in models[0].items()}
    for folder, model in zip(folders, models, strict=True):
        if {name: (tensor.shape, tensor.dtype) for name, tensor in model.items()} != first:
            raise ValueError(f"{folder} is not of the shape of {folders[0]}")
    mean = {name: torch.zeros(shape, dtype=torch.float64) for name, (shape, _) in first.items()}
    for model, share in zip(models, shares, strict=True):
        for name, tensor in model.items():
            mean[name] += tensor.double() * (share / sum(shares))
    return {name: tensor.to(first[name][1]) for name, tensor in mean.items()}


def main() -> None:
    """Writes the averaged model's folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("models", type=Path, nargs="+", help="model folders of one shape")
    parser.add_argument("--weights", type=float, nargs="+", help="one for each (default: 1)")
    options = parser.parse_args()
    mean = average(options.models, options.weights or [1.0] * len(options.models))
    shutil.copytree(options.models[0], options.out)
    save_file(mean, options.out / WEIGHTS, metadata={"format": "pt"})


if __name__ == "__main__":
    main()
