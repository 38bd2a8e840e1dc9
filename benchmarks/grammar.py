"""The grammar engine beside XGrammar, llguidance and outlines-core, with Llama 3's tokenizer.

Five parts, all by default. `cases`: the yardstick's grammars: CPU milliseconds to compile, and of
a cold start (compile, first visits, a whole output); microseconds of warm masks, on documents of
the same grammar made by random walks, later than as many others; verdicts on its texts. `suite`:
verdicts on the JSON-Schema-Test-Suite, by keyword, `format` an annotation, properties in any order.
`real`: schemas from the wild with their tests: verdicts, time to the first mask, mask and accept
with first visits counted, memory; properties in any order where no object has more than eight, and
what that costs. `decode`: what grammars cost beside a model of random weights in an engine, ours
alone (`--shape` says of which sizes; grammar_decode.py). `growth`: how compiling grows, ours alone.

CPU time is that of the whole process with its threads and children. Each engine runs in a process
of its own, and a job of it that takes longer than --limit is given up. Peers that cannot be
imported are named and left out: `pip install xgrammar llguidance outlines-core`, or `--peers
FOLDER` where `pip install --target FOLDER` put them.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from ..errors import InvalidRequestError
from ..grammar import GrammarCompiler, Vocabulary
from .cpu import SHAPES
from .grammar_decode import measure as measure_decoding
from .grammar_engines import MODULES, OURS, missing
from .grammar_growth import measure as measure_growth
from .grammar_rows import case_rows, order_rows, real_rows, set_up_rows, suite_rows
from .grammar_runs import EOS_IDS, Bench, Job, case_jobs, real_jobs, suite_jobs
from .plot import log_log
from .report import Row, data_file, finish, parser

PARTS = ("cases", "suite", "real", "decode", "growth")
LENIENT = "llguidance lenient"
NO_SCHEMAS = ("outlines-core",)  # too slow on them: minutes for a string of 200 characters


class Measurement:
    """One run of the benchmark. engines: ours first."""

    def __init__(self, bench: Bench, engines: Sequence[str]) -> None:
        self._bench = bench
        self._engines = engines
        self._set_ups: dict[str, Job] = {}

    def _all(self, jobs: Sequence[Job], engines: Sequence[str]) -> dict[str, list[Job]]:
        answers = {}
        for engine in engines:
            self._set_ups[engine], answers[engine] = self._bench.ask(engine, jobs)
        return answers

    def cases(self, only: Sequence[str], documents: int, tokens: int) -> list[Row]:
        jobs = case_jobs(self._bench, only, documents, tokens)
        engines = [engine for engine in self._engines if engine != LENIENT]
        return case_rows(jobs, self._all(jobs, engines))

    def suite(self, every: int) -> list[Row]:
        jobs = suite_jobs(self._bench, every)
        engines = [engine for engine in self._engines if engine not in NO_SCHEMAS]
        return suite_rows(jobs, self._all(jobs, engines))

    def real(self, every: int) -> list[Row]:
        jobs = real_jobs(self._bench, every)
        engines = [engine for engine in self._engines if engine not in NO_SCHEMAS]
        answers = self._all(jobs, engines)
        rows = real_rows(jobs, answers)
        declared = [job | {"options": {**job["options"], "any_order": False}} for job in jobs]
        rows += order_rows(jobs, answers[OURS], self._bench.ask(OURS, declared)[1])
        lenient = [
            job | {"tests": [], "valid": [], "options": {**job["options"], "lenient": True}}
            for job in jobs
        ]
        dropped = self._bench.ask(OURS, lenient)[1]
        refused = sum("error" in answer for answer in dropped)
        return [*rows, Row(name="grammar/real, lenient/refused", value=refused, unit="schemas")]

    def set_up(self) -> list[Row]:
        return set_up_rows(self._set_ups)


def plot(rows: Sequence[Row]) -> str:
    """How slow the slowest steps are, by how rare they are, as SVG."""
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        name, at, tail = row.name.rpartition(" @ ")
        if at and name.endswith("mask and accept of"):
            for engine, figure in ({OURS: row.value} | row.peers).items():
                series.setdefault(engine, []).append((float(tail), max(figure, 0.1)))
    return log_log(
        "Schemas from the wild: the slowest mask and accept of n, first visits counted",
        "n steps",
        "CPU microseconds",
        series,
    )


def progress(what: str, done: int, total: int) -> None:
    """A bar on a terminal, a line at each tenth elsewhere."""
    if sys.stderr.isatty():
        filled = "#" * (24 * done // total)
        end = "\n" if done == total else ""
        print(f"\r[{filled:24}] {done}/{total} {what:48.48}", end=end, file=sys.stderr, flush=True)
    elif done * 10 // total > (done - 1) * 10 // total:
        print(f"{done}/{total} {what}", file=sys.stderr, flush=True)


def main(argv: Sequence[str]) -> int:
    """`espalier bench grammar`."""
    options = parser("grammar", __doc__ or "", plot="a plot of the slowest steps")
    options.add_argument("--part", action="append", choices=PARTS, help="only this part (again)")
    options.add_argument(
        "--only", action="append", default=[], metavar="TEXT", help="cases named so (again)"
    )
    names = [OURS, *MODULES]
    options.add_argument("--engine", action="append", choices=names, help="only this one (again)")
    options.add_argument("--peers", type=Path, metavar="FOLDER", help="where peers are installed")
    options.add_argument("--documents", type=int, default=40, help="random walks a case (40)")
    options.add_argument("--tokens", type=int, default=100, help="of a walk, at most (100)")
    options.add_argument("--every", type=int, default=1, help="every n-th schema (1)")
    options.add_argument("--limit", type=float, default=120.0, help="seconds a job may take (120)")
    options.add_argument("--shape", choices=sorted(SHAPES), nargs="+", default=sorted(SHAPES))
    args = options.parse_args(argv)
    parts = args.part or PARTS
    if args.only and "cases" not in parts:
        raise InvalidRequestError(expected="--part cases beside it", where="--only")
    if args.peers is not None:
        _import_from(args.peers)
    absent = missing()
    for peer in absent:
        print(f"no peer: {peer} cannot be imported", flush=True)
    wanted = [name for name in args.engine or names if name not in absent]
    engines = [OURS, *(name for name in wanted if name != OURS)]
    tokenizer = data_file("tokenizers/llama3/tokenizer.json")
    measurement = Measurement(Bench(tokenizer, EOS_IDS, args.limit, progress), engines)
    rows: list[Row] = []
    if "cases" in parts:
        rows += measurement.cases(args.only, args.documents, args.tokens)
    if "suite" in parts:
        rows += measurement.suite(args.every)
    if "real" in parts:
        rows += measurement.real(args.every)
    rows = measurement.set_up() + rows
    if "decode" in parts:
        with tempfile.TemporaryDirectory() as folder:
            rows += measure_decoding(args.shape, Path(folder))
    if "growth" in parts:
        vocabulary = Vocabulary.from_tokenizer(Tokenizer.from_file(str(tokenizer)), EOS_IDS)
        rows += measure_growth(GrammarCompiler(vocabulary), say=progress)
    if args.svg is not None and "real" in parts:
        args.svg.write_text(plot(rows))
    finish("grammar", argv, args.json, rows)
    return 0


def _import_from(folder: Path) -> None:
    """Lets this process, and those it starts, import from `folder` what they have nowhere else."""
    sys.path.append(str(folder))
    known = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [known, str(folder)]))
