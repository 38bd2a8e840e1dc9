"""What a compiled run waits for: variables, and the branches of a join."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from ...errors import BranchError, EspalierError
from ..variables import Variable
from . import ir


async def filled(variable: Variable) -> None:
    """Until the variable has its value, or the reason why it has none."""
    if variable.done:
        return
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def tell() -> None:
        if not done.done() and variable.done:
            done.set_result(None)

    def wake() -> None:
        loop.call_soon_threadsafe(tell)

    variable.feed.listen(wake)
    try:
        tell()
        await done
    finally:
        variable.feed.unlisten(wake)


def failures(
    op: ir.Join,
    errors: Sequence[EspalierError | None],
    set_here: Sequence[Mapping[str, Variable]],
) -> dict[int, BranchError]:
    """The branches that failed, or hold a value that cannot be read. Raises ExceptionGroup where
    the join says so."""
    failed: dict[int, BranchError] = {}
    for number, (error, found) in enumerate(zip(errors, set_here, strict=True)):
        cause = error or next((v.read_error for v in found.values() if v.read_error), None)
        if cause is not None:
            failed[number] = BranchError(f"branch {number} failed: {cause}", where=op.where)
            failed[number].__cause__ = cause
    if failed and op.errors == "raise":
        first = next(iter(failed.values()))
        raise ExceptionGroup(
            f"{len(failed)} of {len(errors)} branches failed (at {op.where}): {first.message}",
            list(failed.values()),
        )
    return failed
