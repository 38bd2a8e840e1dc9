"""A CPU's operators in C, for what stands between the matrix products of a decode step.

torch takes four operators for a norm, eight for rotating and writing keys and values, and each is a
call of its own that finds the caches emptied by the weights that went by: for a small batch they
take as long as the products (docs/adr/0007). `native.c` is compiled once per element type by the
machine's own compiler, a few seconds' work, and kept in the user's cache folder. Where there is no
compiler, or the environment says ESPALIER_NATIVE=0, torch's operators run instead: the callers in
this folder have both.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .switches import switch

ASK = "ESPALIER_NATIVE"
"""Set to 0, the variable of the environment that leaves all to torch."""

SOURCE = Path(__file__).with_name("native.c")
_PARTS = tuple(
    SOURCE.with_name(f"native{part}.c")
    for part in ("", "_attention", "_layers", "_int8", "_int8_layer")
)
_FLAGS = [
    "-O3",
    # clang on ARM knows no -march=native, and gcc takes either.
    "-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native",
    *(["-mprefer-vector-width=512"] if platform.machine() == "x86_64" else []),
    # Sums stay in the order in which they are written: exponential() is inexact in another.
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
    "-shared",
]
_PLAIN = "-DPLAIN"
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
    "few": [],
    "linear": [_pointer] * 4 + [_long] * 3 + [_int],
    "normed_linear": [_pointer] * 2 + [_float, _int] + [_pointer] * 3 + [_long] * 3,
    "gated_linear": [_pointer, _int] + [_pointer] * 3 + [_long] * 3 + [_int],
    "layers": [_pointer, _long] + [_pointer] * 3 + [_long] + [_pointer] * 3 + [_long, _float],
    "mask": [_pointer] * 4 + [_long] * 3,
    "greedy": [_pointer] * 3 + [_long] * 2 + [_float],
    "linear8": [_pointer] * 4 + [_long, _int, _pointer, _int],
    "normed_linear8": [_pointer] * 2 + [_float, _int] + [_pointer] * 3 + [_long, _pointer, _int],
    "gated_linear8": [_pointer, _int] + [_pointer] * 3 + [_long, _int, _pointer, _int],
    "rows8": [_pointer] * 3 + [_long],
    "instructions8": [],
}
_RESULTS = {
    "few": _long,
    "linear8": _int,
    "normed_linear8": _int,
    "gated_linear8": _int,
    "rows8": _int,
    "instructions8": ctypes.c_char_p,
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
    """native.c compiled for `dtype` and loaded, or None. A compiler that fails is warned of. Raises
    InvalidRequestError for an environment that says neither yes nor no."""
    if dtype not in _DEFINES or switch(ASK) is False or not hasattr(os, "getuid"):
        return None
    try:
        compiler = shlex.split(os.environ.get("CC", "")) or _found()
        if compiler is None:
            return None
        found = _built([*compiler, *_FLAGS, *_DEFINES[dtype]])
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        warnings.warn(
            f"the C operators for a CPU were not built, torch's are taken: {said}", stacklevel=2
        )
        return None
    for name, types in _SIGNATURES.items():
        if name.endswith("8") and not has_int8(found):
            continue
        function = getattr(found, name)
        function.argtypes, function.restype = types, _RESULTS.get(name)
    return found


def has_int8(c: Any) -> bool:
    """Whether the functions for weights of 8 bits are among `library`'s."""
    return hasattr(c, "linear8")


def _built(command: list[str]) -> ctypes.CDLL:
    """`_loaded`, without the functions for weights of 8 bits and a processor's own products of
    bfloat16 where a compiler fails at them, as an assembler does that is older than the processor.
    Which is warned of."""
    try:
        return _loaded(command)
    except subprocess.CalledProcessError as error:
        if error.cmd[1:] == ["--version"]:
            raise
        try:
            found = _loaded([*command, _PLAIN])
        except subprocess.CalledProcessError:
            raise error from None  # of the first try: all fails
        warnings.warn(
            f"the C operators for weights of 8 bits were not built: {error.stderr}", stacklevel=4
        )
        return found


def _found() -> list[str] | None:
    path = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    return None if path is None else [path]


def _loaded(command: list[str]) -> ctypes.CDLL:
    """The library that `command` makes, made where it is not kept. What it depends on is in its
    name."""
    version = _run([command[0], "--version"])
    text = b"".join(part.read_bytes() for part in _PARTS)
    key = hashlib.sha256(text + repr((version, command, _machine())).encode())
    name = f"native-{key.hexdigest()[:32]}.so"
    folder = cache_folder()
    if folder is not None and (folder / name).exists():
        try:
            return ctypes.CDLL(str(folder / name))
        except OSError:
            pass  # damaged, as by a machine that lost its power: made anew
    kept = folder if folder is not None and os.access(folder, os.W_OK | os.X_OK) else None
    with tempfile.TemporaryDirectory(prefix="espalier-", dir=kept) as made:
        path = Path(made) / name
        _run([*command, str(SOURCE), "-o", str(path), "-lm"])
        if kept is not None:  # whole or not at all, for others that start at the same time
            path = path.replace(kept / name)
        return ctypes.CDLL(str(path))  # stays loaded without its file


def _run(command: list[str]) -> str:
    """What it prints. Whatever it says, in whatever encoding, must not end an engine."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=True,
        timeout=300,
    )
    return done.stdout


def cache_folder() -> Path | None:
    """The user's own cache; None where there is none, and where others could write to it: what lies
    there is run."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:  # a relative path counts as none, says the XDG specification
        base = Path(given) if os.path.isabs(given) else Path.home() / ".cache"
        folder = base / "espalier"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.stat()
    except (OSError, RuntimeError):  # RuntimeError: a user without a home
        return None
    return folder if state.st_uid == os.getuid() and not state.st_mode & 0o022 else None


def _machine() -> list[str]:
    """What `-march=native` depends on: a home folder may be shared by unlike machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return list(os.uname())
    return sorted(
        {line for line in lines if line.startswith(("model", "flags", "Features", "CPU"))}
    )
