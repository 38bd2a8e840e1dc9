"""How much host memory can still be had: what the machine has, or less where a container or a
service is allowed less (cgroups, both versions); and giving back what is not needed."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path

UNKNOWN = 4 << 30
"""What is taken for free where nothing tells."""

# Of each version: its limit, its use, and the part of that which the kernel would give back.
_FILES = {
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def free_host_memory(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes: the least of /proc/meminfo's MemAvailable and what is left of each limit that this
    process's groups, and those they are in, are under."""
    found = [*_of_machine(proc), *_of_groups(proc, cgroups)]
    return max(0, min(found, default=UNKNOWN))


def _of_machine(proc: Path) -> Iterator[int]:
    for line in _lines(proc / "meminfo"):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _of_groups(proc: Path, cgroups: Path) -> Iterator[int]:
    for line in _lines(proc / "self" / "cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, version = cgroups, 2
        elif "memory" in controllers.split(","):
            root, version = cgroups / "memory", 1
        else:
            continue
        group = root / path.strip().lstrip("/")
        while True:  # in a container the path may be the host's: then its root alone is there
            yield from _of_group(group, *_FILES[version])
            if group == root:
                break
            group = group.parent


def _of_group(group: Path, limit: str, usage: str, reclaimable: str) -> Iterator[int]:
    most, used = _lines(group / limit), _lines(group / usage)
    if not most or not used or most[0] == "max":
        return
    spare = [
        line.split()[1] for line in _lines(group / "memory.stat") if line.split()[0] == reclaimable
    ]
    yield int(most[0]) - int(used[0]) + sum(map(int, spare))


def _lines(path: Path) -> list[str]:
    """None of them where it cannot be read."""
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def give_back_memory() -> None:
    """Have the C library return what was freed to the system, where it can: after a model is
    loaded it holds hundreds of megabytes."""
    with contextlib.suppress(OSError, AttributeError):  # another library than glibc
        ctypes.CDLL(None).malloc_trim(0)
