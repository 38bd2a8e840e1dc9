"""Free host memory, by files as the kernel writes them."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from espalier.runtime.host_memory import UNKNOWN, free_host_memory, give_back_memory

GIB = 1 << 30


class System:
    """/proc and /sys/fs/cgroup in a folder."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.cgroups = folder / "proc", folder / "cgroup"

    def write(self, path: str, text: str | int) -> None:
        file = self.proc.parent / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def group(self, path: str, version: int, limit: str | int, used: int, spare: int = 0) -> None:
        names = ("memory.max", "memory.current", "inactive_file")
        if version == 1:
            path = f"memory/{path}"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        self.write(f"cgroup/{path}/{names[0]}", limit)
        self.write(f"cgroup/{path}/{names[1]}", used)
        self.write(f"cgroup/{path}/memory.stat", f"anon 5\nx{names[2]} 7\n{names[2]} {spare}")

    @property
    def free(self) -> int:
        return free_host_memory(self.proc, self.cgroups)


@pytest.fixture
def system(tmp_path: Path) -> System:
    made = System(tmp_path)
    made.write("proc/meminfo", f"MemTotal: 99 kB\nMemAvailable: {64 * GIB // 1024} kB")
    return made


def test_a_machine_without_limits(system: System) -> None:
    assert system.free == 64 * GIB
    system.write("proc/self/cgroup", "0::/user.slice/me")
    system.group("user.slice/me", 2, "max", GIB)
    assert system.free == 64 * GIB
    system.write("proc/self/cgroup", "4:cpu:/x\n3:memory:/")
    system.group("", 1, 2**63 - 4096, GIB)
    assert system.free == 64 * GIB


def test_the_tightest_of_the_groups_it_is_in(system: System) -> None:
    system.write("proc/self/cgroup", "0::/a/b")
    system.group("a/b", 2, 8 * GIB, 3 * GIB, spare=GIB)
    assert system.free == 6 * GIB
    system.group("a", 2, 10 * GIB, 9 * GIB)
    assert system.free == GIB
    system.group("a", 2, 10 * GIB, 11 * GIB)
    assert system.free == 0


def test_version_one_beside_an_empty_version_two(system: System) -> None:
    system.write("proc/self/cgroup", "5:cpu,memory:/box\n0::/")
    system.group("box", 1, 4 * GIB, 3 * GIB, spare=GIB // 2)
    assert system.free == GIB + GIB // 2


def test_a_container_sees_its_own_group_as_the_root(system: System) -> None:
    system.write("proc/self/cgroup", "0::/docker/12ab")
    system.group("", 2, 2 * GIB, GIB)
    assert system.free == GIB


def test_where_nothing_tells(tmp_path: Path) -> None:
    assert free_host_memory(tmp_path, tmp_path) == UNKNOWN
    assert free_host_memory() > 0


_HELD = """
import ctypes
from espalier.runtime.host_memory import give_back_memory

def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 1024

library = ctypes.CDLL(None)
library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
blocks = [library.malloc(100_000) for _ in range(1000)]  # below what is mapped by itself
for block in blocks:
    ctypes.memset(block, 1, 100_000)
for block in blocks[:-1]:  # the last one keeps the heap from shrinking by itself
    library.free(block)
held = resident()
give_back_memory()
print(held - resident())
"""


def test_what_was_freed_is_given_back() -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("not glibc")
    done = subprocess.run(
        [sys.executable, "-c", _HELD], capture_output=True, text=True, check=True, timeout=60
    )
    assert float(done.stdout) > 80  # MiB


def test_another_library_gives_back_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    give_back_memory()
