"""Settings of every test run: one torch thread, hypothesis without deadlines, ^C as in a shell, and
short searches for garbage."""

from __future__ import annotations

import gc
import importlib.util
import os
import signal

import pytest

# A shell's background jobs are started with ^C ignored; tests that send it expect Python's handler.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

if importlib.util.find_spec("hypothesis"):  # the tests on a GPU do without
    from hypothesis import HealthCheck, settings

    settings.register_profile(
        "espalier", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("espalier")


def pytest_configure(config: pytest.Config) -> None:
    """Triton's kernels are interpreted (`tests/triton_interpreter.py`), but for the tests marked
    gpu; that must be known before anything imports triton."""
    if config.getoption("markexpr") != "gpu":
        os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_unconfigure() -> None:
    """What is freed at exit may lie in cycles."""
    gc.unfreeze()


@pytest.fixture(autouse=True, scope="module")
def what_is_there_stays() -> None:
    """Searches for garbage, tests' own too, look at what this file has made: all that the other
    files hold took each of them half a second."""
    gc.collect()
    gc.freeze()
