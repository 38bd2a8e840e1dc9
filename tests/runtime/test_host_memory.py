"""Free host memory, by files as the kernel writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from espalier.runtime.host_memory import UNKNOWN, free_host_memory

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
