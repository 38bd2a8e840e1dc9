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


async def failures(
    op: ir.Join,
    reached: Sequence[asyncio.Future[EspalierError | None]],
    set_here: Sequence[Mapping[str, Variable]],
) -> dict[int, BranchError]:
    """The branches that failed, or hold a value that cannot be read, once all are at rest. Raises
    ExceptionGroup where the join does not keep them; with fail_fast at the first."""
    failed: dict[int, BranchError] = {}
    until = asyncio.FIRST_COMPLETED if op.fail_fast else asyncio.ALL_COMPLETED
    todo = {future: number for number, future in enumerate(reached)}
    while todo:
        done, _ = await asyncio.wait(list(todo), return_when=until)
        for future in done:
            number = todo.pop(future)
            found = set_here[number].values()
            for variable in found:  # a join's or a function's is filled beside its stream
                await filled(variable)
            cause = future.result() or next((v.read_error for v in found if v.read_error), None)
            if cause is not None:
                failed[number] = BranchError(f"branch {number} failed: {cause}", where=op.where)
                failed[number].__cause__ = cause
        if failed and op.fail_fast:
            break
    raised = [failed[number] for number in sorted(failed) if number not in op.keeps]
    if raised:
        raise ExceptionGroup(
            f"{len(raised)} of {len(reached)} branches failed (at {op.where}): {raised[0].message}",
            raised,
        )
    return failed
