"""Weights from safetensors, and nothing else: no pickle is ever opened, no code of a checkpoint is
ever run.

A tensor is read when a layer asks for it, converted and moved at once, so that the peak is the
model plus one tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm import tqdm

from ..errors import ModelLoadError
from ..kernels.int8 import Int8Weight
from .config import read_json
from .options import Quantization


@dataclass(frozen=True)
class Group:
    """The ranks that share one model; this one is `rank` of `size`."""

    rank: int = 0
    size: int = 1


ONE = Group()
_DTYPES = ("F32", "F16", "BF16")
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")


class Weights:
    """The tensors of a model folder, by name; a context manager.

    rename: what a model calls a tensor of the files, None for one that it leaves alone.
    quantization: what layers keep their weights in, None for `dtype`. Raises ModelLoadError, naming
    the file and tensor, for whatever does not fit.
    """

    def __init__(
        self,
        folder: Path,
        *,
        device: torch.device,
        dtype: torch.dtype,
        rename: Callable[[str], str | None] = str,
        quantization: Quantization | None = None,
        progress: bool = False,
    ) -> None:
        self.folder = folder
        self.device = device
        self.dtype = dtype
        self.quantization = quantization
        self.size = self.plain_size = 0
        """Bytes of the tensors taken: as they are kept, and as they would be in `dtype`."""
        files = tensor_files(folder)
        self._names = {ours: name for name in files if (ours := rename(name)) is not None}
        self._files = {ours: files[name] for ours, name in self._names.items()}
        self._open: dict[Path, Any] = {}
        self._stack = ExitStack()
        self._taken: set[str] = set()
        self._bar = tqdm(
            total=len(self._files),
            desc=f"Loading {folder.name}",
            unit=" tensors",
            disable=None if progress else True,  # None: where stderr is no terminal
            leave=False,
        )

    def __enter__(self) -> Weights:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()
        self._stack.close()
        self._open.clear()

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def take(
        self,
        name: str,
        shape: tuple[int, ...],
        *,
        cut: int | None = None,
        group: Group = ONE,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """The tensor `name`, which must have `shape`, on the device and in `dtype`, by default
        this loader's. cut: the dimension of which each rank of `group` gets its equal share."""
        path = self._files.get(name)
        if path is None:
            raise ModelLoadError(
                f"tensor {name!r} is missing",
                expected=f"shape {list(shape)}",
                where=str(self.folder),
                hint="The download may be incomplete, or config.json belongs to another model.",
            )
        part = self._slice(path, name)
        found = tuple(part.get_shape())
        if found != shape:
            raise ModelLoadError(
                f"tensor {name!r} has an unexpected shape",
                expected=str(list(shape)),
                got=str(list(found)),
                where=str(path),
                hint="config.json and the weights disagree; they must be of the same model.",
            )
        if part.get_dtype() not in _DTYPES:
            raise ModelLoadError(
                f"tensor {name!r} is quantised",
                expected=f"one of {', '.join(_DTYPES)}",
                got=str(part.get_dtype()),
                where=str(path),
                hint="Use the unquantised checkpoint.",
            )
        index: tuple[slice, ...] = (slice(None),)
        if cut is not None and group.size > 1:
            index = (*(slice(None),) * cut, _share(name, shape[cut], group))
        tensor: Tensor = part[index]
        if name not in self._taken:
            self._taken.add(name)
            self._bar.update()
        self.plain_size += tensor.numel() * self.dtype.itemsize
        # A copy: the file's own pages would change, or vanish, under a running model with the file.
        made = tensor.to(self.device, dtype or self.dtype, copy=True)
        self.size += made.nbytes
        return made

    def keep_int8(self, weight: Tensor) -> Int8Weight:
        """A `weight` that was taken, in 8 bits: the caller keeps it in nothing else."""
        kept = Int8Weight(weight)
        self.size += kept.nbytes - weight.nbytes
        return kept

    def finish(self, unused: tuple[str, ...]) -> None:
        """Raise for a tensor that nothing took and whose name does not end in one of
        `unused`: a bias left out would make another model of it in silence."""
        for name, path in self._files.items():
            if name not in self._taken and not name.endswith(unused):
                raise ModelLoadError(
                    f"tensor {self._names[name]!r} has no place in this model",
                    where=str(path),
                    hint="config.json and the weights disagree, or the checkpoint has parts that "
                    "this definition does not compute.",
                )

    def _slice(self, path: Path, name: str) -> Any:
        name = self._names[name]
        try:
            return self._file(path).get_slice(name)
        except SafetensorError as error:
            raise ModelLoadError(
                f"{path.name} lacks tensor {name!r}, which the index says it holds: {error}",
                where=str(path),
                hint="The shards are not all of one download: fetch them again.",
            ) from error

    def _file(self, path: Path) -> Any:
        if path not in self._open:
            try:
                self._open[path] = self._stack.enter_context(
                    safe_open(str(path), framework="pt", device="cpu")
                )
            except FileNotFoundError:
                raise ModelLoadError(
                    f"shard {path.name} is missing",
                    where=str(path),
                    hint="The download is incomplete: fetch the file the index names.",
                ) from None
            except (SafetensorError, OSError) as error:
                raise _unreadable(path, error) from error
        return self._open[path]


def _share(name: str, size: int, group: Group) -> slice:
    if size % group.size:
        raise ModelLoadError(
            f"tensor {name!r} cannot be cut in {group.size} equal shares", got=f"size {size}"
        )
    share = size // group.size
    return slice(group.rank * share, (group.rank + 1) * share)


def tensor_files(folder: Path) -> dict[str, Path]:
    """Tensor name -> safetensors file. Raises ModelLoadError where there are none."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        entries = read_json(index).get("weight_map")
        if not isinstance(entries, dict):
            raise ModelLoadError(
                expected="an object 'weight_map'", got=repr(entries), where=str(index)
            )
        for file in entries.values():
            beside = isinstance(file, str) and Path(file).name == file
            if not beside or not file.endswith(".safetensors"):
                raise ModelLoadError(
                    expected="names of safetensors files that lie beside it",
                    got=repr(file)[:200],
                    where=str(index),
                )
        return {name: folder / file for name, file in entries.items()}
    single = folder / "model.safetensors"
    if not single.is_file():
        raise _no_weights(folder)
    try:
        with safe_open(str(single), framework="pt", device="cpu") as file:
            return dict.fromkeys(file.keys(), single)
    except (SafetensorError, OSError) as error:
        raise _unreadable(single, error) from error


def _unreadable(path: Path, error: Exception) -> ModelLoadError:
    return ModelLoadError(
        f"{path.name} cannot be read: {error}",
        where=str(path),
        hint="The file is truncated or damaged: fetch it again.",
    )


def _no_weights(folder: Path) -> ModelLoadError:
    pickled = sorted(path.name for pattern in _PICKLED for path in folder.glob(pattern))
    if pickled:
        return ModelLoadError(
            "the weights are pickled, and pickles run code when they are opened",
            expected="model.safetensors",
            got=", ".join(pickled),
            where=str(folder),
            hint="Use a safetensors revision of this model, or convert it where you trust it: "
            "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder).",
        )
    return ModelLoadError(
        "no weights in the model folder",
        expected="model.safetensors or model.safetensors.index.json",
        got=", ".join(sorted(path.name for path in folder.iterdir())) or "an empty folder",
        where=str(folder),
    )
