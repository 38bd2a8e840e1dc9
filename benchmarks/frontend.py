"""What a program costs beside its model: forks, constants, and calls.

`fork` and `constant` are CPU microseconds of the caller, by the tokens of the state; `forks` by how
many are made at once. `gens/s, null engine` is wall time of programs of three calls each, with the
engine in its own process and nothing to compute, `gens per CPU second of the caller` what this
process spends on them; `answered at once` the same with a backend that has its answer ready, where
SGLang's frontend stands beside ours if it can be imported (`pip install --no-deps sglang`, or
PYTHONPATH=FOLDER of its unpacked wheel).
"""

from __future__ import annotations

import gc
import importlib
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import InvariantError
from ..frontend_lang.backends.base import Call
from ..frontend_lang.backends.scripted import Scripted
from ..frontend_lang.function import function
from ..frontend_lang.primitives import gen
from ..frontend_lang.state import ProgramState
from ..runtime.engine import Engine
from ..types import Result
from .plot import growth
from .radix import Rows
from .report import Row, finish, parser

TOKENS = (128, 512, 2_048, 8_192)
FORKS = (10, 100, 1_000)
PROGRAMS = (100, 1_000, 10_000)
ROUNDS = 5
ANSWER = " a b c d"
NULL_ENGINE = (
    ("gens/s", "gens/s", time.perf_counter),
    ("gens per CPU second of the caller", "gens/CPU s", time.process_time),
)


class Ready(Scripted):
    """Has one answer for every gen, and takes note of nothing."""

    async def generate(self, call: Call) -> Result:  # noqa: ARG002
        return Result(request_id=1, text=ANSWER, token_ids=[*ANSWER.encode()])


@function
def three(s: ProgramState, name: str) -> None:
    """Three calls and what stands between them."""
    s += "Question: who is " + name + "? Answer:"
    s += gen("first", max_tokens=4)
    s += "\nAnd why?"
    s += gen("second", max_tokens=4)
    s += "\nIn short:"
    s += gen("third", max_tokens=4)


def _timed(body: Callable[[], object]) -> float:
    """Median CPU microseconds of this process, of several calls."""
    spent = []
    for _ in range(ROUNDS):
        gc.collect()
        begin = time.process_time_ns()
        body()
        spent.append(time.process_time_ns() - begin)
    return statistics.median(spent) / 1000


def forks(engine: Engine, tokens: int, count: int) -> tuple[float, float]:
    """Microseconds of one of `count` forks of a state of so many tokens, and of a constant there.

    Raises InvariantError if forks start threads.
    """
    taken: list[float] = []

    @function
    def program(s: ProgramState) -> None:
        s += "x" * tokens
        s.sync()
        before = threading.active_count()
        kept: list[object] = []
        taken.append(_timed(lambda: kept.append(s.fork(count))) / count)
        if threading.active_count() > before:
            raise InvariantError("a fork has started a thread")

        def say() -> None:
            for _ in range(100):
                s.__iadd__("and")

        taken.append(_timed(say) / 100)

    program.run(backend=engine)
    return taken[0], taken[1]


def calls_per_second(
    run_batch: Callable[..., Sequence[Any]],
    count: int,
    clock: Callable[[], float] = time.perf_counter,
    **options: Any,
) -> float:
    """Calls that `count` programs make, over their time. Raises what a program failed by."""
    batch = [{"name": f"person {number}"} for number in range(count)]
    begin = clock()
    states = run_batch(batch, **options)
    spent = clock() - begin
    for state in states:
        if (error := state.error()) is not None:
            raise error
    return 3 * count / spent


def best_per_cpu_second(
    run_batch: Callable[..., Sequence[Any]], count: int, **options: Any
) -> float:
    """The best of several runs with as many threads as it chooses itself, and with one."""
    found = [
        calls_per_second(run_batch, count, time.process_time, num_threads=threads, **options)
        for threads in ("auto", 1)
        for _ in range(ROUNDS)
    ]
    return max(found)


def sglang_per_cpu_second(count: int) -> float | None:
    """The same program in SGLang's frontend, answered at once; None where it cannot be imported."""
    try:
        sgl = importlib.import_module("sglang.lang.api")
        base = importlib.import_module("sglang.lang.backend.base_backend").BaseBackend
        templates = importlib.import_module("sglang.lang.chat_template")
    except ImportError as error:
        print(f"no peer: SGLang's frontend cannot be imported ({error})", flush=True)
        return None

    class Peer(base):  # type: ignore[misc,valid-type]  # a module that may not be there
        def get_chat_template(self) -> Any:
            return templates.get_chat_template("default")

        # Its interpreter names the second argument when it calls.
        def generate(self, s: Any, sampling_params: Any) -> tuple[str, dict[str, Any]]:  # noqa: ARG002
            return ANSWER, {}

    def body(s: Any, name: str) -> None:
        s += "Question: who is " + name + "? Answer:"
        s += sgl.gen("first", max_tokens=4)
        s += "\nAnd why?"
        s += sgl.gen("second", max_tokens=4)
        s += "\nIn short:"
        s += sgl.gen("third", max_tokens=4)

    run_batch = sgl.function(body).run_batch
    return best_per_cpu_second(run_batch, count, backend=Peer(), progress_bar=False)


def measure(
    tokens: Sequence[int] = TOKENS,
    counts: Sequence[int] = FORKS,
    programs: Sequence[int] = PROGRAMS,
    say: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """All rows, slopes last."""
    rows = Rows()
    gc.collect()
    gc.freeze()  # what the process holds already is not looked at again before each figure
    with Engine("null", tokenizer="sprig", max_total_tokens=1 << 18) as engine:
        for size in tokens:
            fork, constant = forks(engine, size, max(counts))
            rows.add("frontend/fork, by tokens of the state", size, fork)
            rows.add("frontend/constant, by tokens of the state", size, constant)
        for count in counts:
            rows.add("frontend/fork, by how many at once", count, forks(engine, 2048, count)[0])
        say("forks done")
        for count in programs:
            for what, unit, clock in NULL_ENGINE:
                speed = calls_per_second(three.run_batch, count, clock, backend=engine)
                rows.add(f"frontend/{what}, null engine, by programs", count, speed, unit)
        say("null engine done")
    gc.unfreeze()
    count = programs[-1] // 10
    ready = best_per_cpu_second(three.run_batch, count, backend=Ready())
    peer = sglang_per_cpu_second(count)
    found = rows.rows + rows.slopes()
    found.append(
        Row(
            name="frontend/gens/s, answered at once",
            value=ready,
            unit="gens/CPU s",
            peers={} if peer is None else {"SGLang": peer},
        )
    )
    return found


def plot(rows: Sequence[Row]) -> str:
    """The rows' growth as SVG."""
    return growth("CPU time of a program's parts", "tokens, or forks", rows)


def main(argv: Sequence[str]) -> int:
    """`espalier bench frontend`."""
    options = parser("frontend", __doc__ or "", plot="a plot of the growth")
    args = options.parse_args(argv)
    rows = measure(say=lambda text: print(text, flush=True))
    if args.svg is not None:
        args.svg.write_text(plot(rows))
    finish("frontend", argv, args.json, rows)
    return 0
