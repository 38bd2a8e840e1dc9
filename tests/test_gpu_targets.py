"""`make test-gpu` and `make bench-gpu` begin where a GPU machine has torch and little else."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.gpu import shards
from tests.gpu.shards import kept
from tests.support import ROOT, gone, python_that_starts_another

BARE = """
import sys
ABSENT = {"msgspec", "interegular", "lark", "fastapi", "uvicorn", "starlette"}

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


def _bare(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BARE + code], cwd=ROOT, capture_output=True, text=True
    )


def test_gpu_tests_are_collected_or_skipped_with_a_reason() -> None:
    done = _bare(
        "import pytest; sys.exit(pytest.main(['--collect-only', '-q', '-m', 'gpu', 'tests/gpu']))"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_kernels.py::test_attention[" in done.stdout
    assert "the engine needs msgspec" in done.stdout


def test_the_benchmark_of_kernels_refuses_a_cpu_by_name() -> None:
    done = _bare(
        "from espalier.runtime import cli; sys.exit(cli.main(['bench', 'kernels', '--device=cpu']))"
    )
    assert done.returncode == 2, done.stderr
    assert "expected a CUDA device, and triton" in done.stderr
    assert "no CUDA device (at --device cpu)" in done.stderr


def test_each_gpu_test_runs_in_one_process_of_several() -> None:
    shards = ["0/3", "1/3", "2/3", "alone"]
    for place, alone in enumerate([False, True, False, False, True, False, False]):
        assert [kept(shard, place, alone=alone) for shard in shards].count(True) == 1
        assert kept("alone", place, alone=alone) == alone


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ("def test_one(): pass\ndef test_two(): assert not 'so'", 1, "1 failed, 1 passed in"),
        ("import os\ndef test_one(): os._exit(7)", 1, "ended with status 7"),
        ("def test_one(): pass", 0, "== 1 passed in"),
        (
            "import atexit\natexit.register(print, '1 passed at exit')\n"
            "def test_one(): pass\ndef test_two(): assert not 'so'",
            1,
            "== 1 failed, 1 passed in",
        ),
    ],
)
def test_what_comes_of_shards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], body: str, code: int, says: str
) -> None:
    """Failures are told, and so is what dies, with the test it was in."""
    _write(tmp_path, body)
    assert shards.main(["--shards", "1", "--seconds", "200"], tests=str(tmp_path)) == code
    said = capsys.readouterr().out
    assert says in said
    if code:
        assert "test_one" in said or "test_two" in said


def test_a_shard_that_hangs_is_ended_and_its_test_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, wait = tmp_path / "begun", shards.Process.wait
    _write(
        tmp_path,
        f"import pathlib, time\ndef test_one():\n    pathlib.Path({str(begun)!r}).touch()\n"
        "    time.sleep(99)",
    )

    def once_it_has_begun(process: shards.Process, seconds: float) -> Counter[str]:
        end = time.monotonic() + 100
        while not begun.exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        return wait(process, seconds)

    monkeypatch.setattr(shards.Process, "wait", once_it_has_begun)
    assert shards.main(["--shards", "1", "--seconds", "0"], tests=str(tmp_path)) == 1
    said = capsys.readouterr().out
    assert "shard 0/1 ended with status -9" in said
    assert "test_it.py::test_one" in said


def _write(folder: Path, body: str) -> None:
    """Tests as those of a GPU."""
    text = "import pytest\npytestmark = pytest.mark.gpu\n" + body
    (folder / "test_it.py").write_text(text)
    shared = "from tests.gpu.conftest import pytest_collection_modifyitems\n"
    (folder / "conftest.py").write_text(shared)


@pytest.mark.parametrize(
    ("lines", "code", "came"),
    [
        (["== 1 failed, 2 passed in 0.10s ==", "3 passed"], 1, {"failed": 1, "passed": 2}),
        (["== 1 failed, 2 passed, 2 errors in 9.10s (0:00:09) =="], 1,
         {"failed": 1, "passed": 2, "error": 2}),
        (["== 2 passed, 1 xfailed in 0.10s =="], 1, {"passed": 2, "error": 1}),
        (["== 2 passed in 0.10s =="], -9, {"passed": 2, "error": 1}),
        (["2 passed"], 0, {"error": 1}),
        ([], 1, {"error": 1}),
        (["== 2 passed, 4 deselected in 0.10s =="], 0, {"passed": 2}),
        (["== no tests ran in 0.10s =="], 5, {}),
    ],
)  # fmt: skip
def test_an_exit_status_that_no_summary_explains_is_an_error(
    lines: list[str], code: int, came: dict[str, int]
) -> None:
    assert shards.told(lines, code) == came


@pytest.mark.parametrize("hangs", [True, False])
def test_a_shard_ends_with_what_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    started = python_that_starts_another(tmp_path, monkeypatch, hangs=hangs)
    shards.Process.start("alone", []).wait(2.0 if hangs else 99.0)
    assert gone(int(started.read_text()))
