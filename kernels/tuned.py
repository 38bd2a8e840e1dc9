"""How attention is cut in tiles, as measured to be fastest, kept on disk by device and shape.

`espalier bench kernels --tune` writes what it finds to a file in the user's cache folder; kernels
read it when they are first needed. What is not there, or is not what this version writes, is as if
nothing had been measured.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .native import cache_folder

_log = logging.getLogger("espalier.kernels")
VERSION = 1
"""Of the file's form, and of the kernels that its numbers are for: raised with either."""


class Tiles(NamedTuple):
    """split: keys of a piece. keys: keys read at once. few, many: packed query rows of a program
    where every sequence has one row, and elsewhere. merged: partial results read at once. warps: of
    a program. stages: how many reads are under way."""

    split: int = 256
    keys: int = 64
    few: int = 16
    many: int = 64
    merged: int = 16
    warps: int = 4
    stages: int = 3

    @property
    def fits(self) -> bool:
        """Whether kernels run with them: powers of two, of the sizes that matrix units take, and
        pieces of whole reads."""
        if not all(type(number) is int and number > 0 for number in self):
            return False
        powers = all(number & (number - 1) == 0 for number in self[:-1])
        rows = min(self.keys, self.few, self.many) >= 16 and max(self.few, self.many) <= 256
        small = self.warps <= 16 and self.stages <= 8 and 2 <= self.merged <= 64
        return powers and rows and small and self.keys <= self.split <= 4096


DEFAULT = Tiles()


def tiles_for(q: Tensor, k_cache: Tensor, v_cache: Tensor) -> Tiles:
    """The tiles of attention of q [., heads, Dk] over caches [., kv_heads, Dk or Dv]."""
    return _known(_device(q.device), shape_of(q, k_cache, v_cache))


def shape_of(q: Tensor, k_cache: Tensor, v_cache: Tensor) -> str:
    """What a measurement is for: heads, KV heads, widths, and the types of both."""
    sizes = q.shape[1], k_cache.shape[1], k_cache.shape[2], v_cache.shape[2]
    return "-".join(map(str, (*sizes, q.dtype, k_cache.dtype))).replace("torch.", "")


@cache
def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@cache
def _known(device: str, shape: str) -> Tiles:
    path = tiles_file()
    found = read_tiles(path).get(device, {}).get(shape) if path is not None else None
    return DEFAULT if found is None else found


def tiles_file() -> Path | None:
    """Where measured tiles are kept; None where there is no cache folder of the user's own."""
    folder = cache_folder()
    return None if folder is None else folder / "tiles.json"


def read_tiles(path: Path) -> dict[str, dict[str, Tiles]]:
    """By device and shape. Whatever is wrong with the file or an entry, that is left out."""
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        _log.warning("%s cannot be read and is left out: %s", path, error)
        return {}
    if not isinstance(written, dict) or written.get("version") != VERSION:
        _log.info("%s is of another version and is left out", path)
        return {}
    devices = written.get("devices")
    found: dict[str, dict[str, Tiles]] = {}
    for device, shapes in devices.items() if isinstance(devices, dict) else ():
        for shape, numbers in shapes.items() if isinstance(shapes, dict) else ():
            tiles = _tiles(numbers)
            if tiles is not None:
                found.setdefault(device, {})[shape] = tiles
    return found


def _tiles(numbers: Any) -> Tiles | None:
    if not isinstance(numbers, dict) or set(numbers) != set(Tiles._fields):
        return None
    tiles = Tiles(**numbers)
    return tiles if tiles.fits else None


def keep_tiles(device: torch.device, shape: str, tiles: Tiles, path: Path) -> None:
    """Writes what was measured beside what is there, whole or not at all. Two at a time: one of
    them is lost, never the file. Raises OSError."""
    devices = read_tiles(path)
    devices.setdefault(_device(device), {})[shape] = tiles
    shown = {
        name: {of: each._asdict() for of, each in shapes.items()}
        for name, shapes in devices.items()
    }
    handle, name = tempfile.mkstemp(prefix=path.name, dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"version": VERSION, "devices": shown}, file, indent=1)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _known.cache_clear()
