"""Measured tiles on disk: what is read, what is left out, and that kernels take them."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from espalier.kernels import tuned
from espalier.kernels.tuned import DEFAULT, Tiles, keep_tiles, read_tiles, tiles_for

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder with nothing in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tuned._known.cache_clear()
    yield tmp_path / "espalier"
    tuned._known.cache_clear()


def _tensors(heads: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.empty(1, heads, 8), torch.empty(9, 2, 8), torch.empty(9, 2, 4)


def test_what_was_measured_is_taken_for_its_shape_alone() -> None:
    path = tuned.tiles_file()
    assert path is not None
    assert tiles_for(*_tensors()) == DEFAULT
    best = Tiles(split=512, keys=32, warps=8)
    keep_tiles(CPU, tuned.shape_of(*_tensors()), best, path)
    assert tiles_for(*_tensors()) == best
    assert tiles_for(*_tensors(heads=2)) == DEFAULT
    q, k, v = _tensors()
    assert tiles_for(q, k.to(torch.int8), v.to(torch.int8)) == DEFAULT
    keep_tiles(CPU, "other", DEFAULT, path)
    assert tiles_for(*_tensors()) == best  # kept beside it
    assert [entry.name for entry in path.parent.iterdir()] == ["tiles.json"]


_GOOD = DEFAULT._asdict()


@pytest.mark.parametrize(
    "numbers",
    [
        None,
        [],
        {},
        _GOOD | {"split": 48},
        _GOOD | {"split": 32},
        _GOOD | {"keys": 8},
        _GOOD | {"few": 8},
        _GOOD | {"warps": 3},
        _GOOD | {"warps": True},
        _GOOD | {"stages": 0},
        _GOOD | {"keys": 64.0},
        _GOOD | {"more": 1},
    ],
    ids=str,
)
def test_an_entry_that_does_not_fit_is_left_out(folder: Path, numbers: Any) -> None:
    folder.mkdir(mode=0o700)
    shape = tuned.shape_of(*_tensors())
    other = Tiles(keys=32)._asdict()
    devices = {"cpu": {shape: numbers, "other": other}, "no device": 3}
    path = folder / "tiles.json"
    path.write_text(json.dumps({"version": tuned.VERSION, "devices": devices}))
    assert read_tiles(path) == {"cpu": {"other": Tiles(keys=32)}}
    assert tiles_for(*_tensors()) == DEFAULT


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 0}', '{"version": 1}', "\xff"])
def test_a_file_that_is_none_is_as_if_there_were_none(folder: Path, text: str) -> None:
    folder.mkdir(mode=0o700)
    path = folder / "tiles.json"
    path.write_bytes(text.encode("latin-1"))
    assert read_tiles(path) == {}
    assert tiles_for(*_tensors()) == DEFAULT


def test_a_write_that_fails_leaves_what_was_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir(mode=0o700)
    path = folder / "tiles.json"
    keep_tiles(CPU, "one", DEFAULT, path)
    before = path.read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left on the device")

    monkeypatch.setattr(tuned.json, "dump", full)
    with pytest.raises(OSError, match="no space"):
        keep_tiles(CPU, "two", DEFAULT, path)
    assert path.read_bytes() == before
    assert list(folder.iterdir()) == [path]


def test_a_folder_that_others_may_write_to_is_not_read(folder: Path) -> None:
    path = tuned.tiles_file()
    assert path is not None
    keep_tiles(CPU, tuned.shape_of(*_tensors()), Tiles(keys=32), path)
    folder.chmod(stat.S_IRWXU | stat.S_IWOTH | stat.S_IXOTH)
    tuned._known.cache_clear()
    assert tiles_for(*_tensors()) == DEFAULT
