"""A live `espalier serve` for tools that call it from outside."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_READY = re.compile(r"ready on (http\S+)")


@contextlib.contextmanager
def served(flags: Sequence[str]) -> Iterator[str]:
    """The URL of a server of its own, ended with the block. Raises RuntimeError, with what it
    said, where it does not start."""
    command = [sys.executable, "-m", "espalier.runtime.cli", "serve", "--port", "0", *flags]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
    assert process.stderr is not None
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True)
    try:
        for line in process.stderr:
            said.append(line)
            if (found := _READY.search(line)) is not None:
                break
        else:
            raise RuntimeError(f"the server did not start: {''.join(said)[-2000:]}")
        reader.start()
        yield found[1]
    finally:
        process.terminate()
        process.wait()
        if reader.ident is not None:
            reader.join()
        process.stderr.close()
        sys.stderr.writelines(said[-20:])


def install(folder: Path, *requirements: str, dependencies: bool = False) -> Path:
    """Have packages in a folder of their own; nothing of the environment changes."""
    if not folder.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder)]
        alone = [] if dependencies else ["--no-deps"]
        subprocess.run([*command, *alone, *requirements], check=True)
    return folder
