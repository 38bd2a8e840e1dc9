"""Where in the user's program something was said: the nearest frame outside the language."""

from __future__ import annotations

import contextlib
import os
import sys
from types import TracebackType
from typing import NamedTuple

from ..errors import EspalierError

_HERE = os.path.dirname(os.path.abspath(__file__))
_SKIPPED = (
    _HERE + os.sep,
    os.path.join(os.path.dirname(_HERE), "compat") + os.sep,  # says what SGLang's words mean
    os.path.dirname(os.path.abspath(contextlib.__file__)) + os.sep + "contextlib.py",
)


class Where(NamedTuple):
    """A place in a program: file and line, printed as `file:line`."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    @classmethod
    def of(cls, text: str) -> Where:
        """The place that was printed so; line 0 where it tells none."""
        file, _, line = text.rpartition(":")
        return cls(file, int(line) if line.isascii() and line.isdigit() and len(line) < 10 else 0)


NOWHERE = Where("", 0)


def is_frontend(file: str) -> bool:
    """Whether the file is the frontend's own."""
    return file.startswith(_HERE)


def caller() -> Where:
    """The innermost frame of the stack that is not the frontend's own."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_SKIPPED):
        frame = frame.f_back
    return Where(frame.f_code.co_filename, frame.f_lineno)


class said_at:  # a context manager, named as contextlib names its own
    """Errors that leave the block tell the program's line, before what they tell of their place."""

    __slots__ = ("_where",)

    def __init__(self, where: Where) -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: object, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, EspalierError):
            return
        if error.where is None:
            error.where = str(self._where)
        elif not error.where.startswith(str(self._where)):
            error.where = f"{self._where}, {error.where}"
