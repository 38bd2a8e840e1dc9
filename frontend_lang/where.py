"""Where in the user's program something was said: the nearest frame outside this package."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NamedTuple

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_SKIPPED = (_HERE, os.path.dirname(os.path.abspath(contextlib.__file__)) + os.sep + "contextlib.py")


class Where(NamedTuple):
    """A place in a program: file and line, printed as `file:line`."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def caller() -> Where:
    """The innermost frame of the stack that is not the frontend's own."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_SKIPPED):
        frame = frame.f_back
    return Where(frame.f_code.co_filename, frame.f_lineno)
