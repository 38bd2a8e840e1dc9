"""A CPU's operators in C, for what stands between the matrix products of a decode step.

torch takes four operators for a norm, eight for rotating and writing keys and values, and each is a
call of its own that finds the caches emptied by the weights that went by: for a small batch they
take as long as the products (docs/adr/0006). `native.c` is compiled once per element type by the
machine's own compiler, a few seconds' work, and kept in the user's cache folder. Where there is no
compiler, or the environment says ESPALIER_NATIVE=0, torch's operators run instead: the callers in
this folder have both.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ASK = "ESPALIER_NATIVE"
"""Set to 0, the variable of the environment that leaves all to torch."""

SOURCE = Path(__file__).with_name("native.c")
_FLAGS = [
    "-O3",
    "-march=native",
    *(["-mprefer-vector-width=512"] if platform.machine() == "x86_64" else []),
    # What changes no number but a sum's last bits: infinities and NaN keep their meaning.
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
    "-fassociative-math",
    "-fPIC",
    "-shared",
]
_DEFINES = {torch.float32: [], torch.bfloat16: ["-DBF16"]}
_PARALLEL = 1 << 16
"""Elements from which torch's operators, where they have several threads, are left to do it: these
have one."""

_pointer, _long, _float, _int = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float, ctypes.c_int
_SIGNATURES: dict[str, list[Any]] = {
    "rms_norm": [_pointer] * 3 + [_long] * 2 + [_float, _int],
    "gated": [_pointer] * 2 + [_long] * 2 + [_int],
    "turn_and_write": [_pointer] * 5 + [_long] * 5 + [_pointer] * 2 + [_float] * 2 + [_int],
    "attention": [_pointer] * 6,
    "linear": [_pointer] * 4 + [_long] * 3 + [_int],
    "normed_linear": [_pointer] * 2 + [_float, _int] + [_pointer] * 3 + [_long] * 3,
    "gated_linear": [_pointer, _int] + [_pointer] * 3 + [_long] * 3 + [_int],
    "mask": [_pointer] * 4 + [_long] * 3,
    "greedy": [_pointer] * 3 + [_long] * 2 + [_float],
}


def operators(x: Tensor, work: int, *, threads: int = 1) -> Any | None:
    """The functions of native.c for x's element type, None where torch is to be taken: for want of
    a compiler, for another device or type, and for so much `work` (elements) that torch's threads,
    if they are more than `threads`, are worth their while."""
    if not x.is_cpu or (work > _PARALLEL and torch.get_num_threads() > threads):
        return None
    return library(x.dtype)


@cache
def library(dtype: torch.dtype) -> Any | None:
    """native.c compiled for `dtype` and loaded, or None. A compiler that fails is warned of."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if dtype not in _DEFINES or compiler is None or os.environ.get(ASK) == "0":
        return None
    try:
        found = ctypes.CDLL(str(_compiled(compiler, _DEFINES[dtype])))
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        warnings.warn(
            f"the C operators for a CPU were not built, torch's are taken: {said}", stacklevel=2
        )
        return None
    for name, types in _SIGNATURES.items():
        function = getattr(found, name)
        function.argtypes, function.restype = types, None
    return found


def _compiled(compiler: str, defines: list[str]) -> Path:
    """The path of the library, made where it is not there. What it depends on is in its name."""
    command = [*compiler.split(), *_FLAGS, *defines]
    version = subprocess.run([command[0], "--version"], capture_output=True, check=True).stdout
    key = hashlib.sha256(SOURCE.read_bytes() + version + repr((command, _machine())).encode())
    folder = _folder()
    path = folder / f"native-{key.hexdigest()[:32]}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=folder) as made:
            fresh = Path(made) / path.name
            subprocess.run(
                [*command, str(SOURCE), "-o", str(fresh), "-lm"],
                capture_output=True,
                text=True,
                check=True,
                timeout=300,
            )
            fresh.replace(path)  # whole or not at all, for others that start at the same time
    return path


def _folder() -> Path:
    """Where compiled code is kept: the user's own cache, or a new folder of this process where
    that cannot be written."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "espalier"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(folder, os.W_OK) and folder.stat().st_uid == os.getuid():
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="espalier-"))


def _machine() -> list[str]:
    """What `-march=native` depends on: a home folder may be shared by unlike machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return list(os.uname())
    return sorted(
        {line for line in lines if line.startswith(("model", "flags", "Features", "CPU"))}
    )
