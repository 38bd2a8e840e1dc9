"""What the answers of `espalier bench grammar` say, as rows."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from .grammar_engines import OURS
from .grammar_runs import Job
from .report import Row

Answers = Mapping[str, Sequence[Job]]  # by engine, in the order of the jobs
COMPARED = ("XGrammar", "llguidance")  # of which the better one is the bar
TAILS = (2, 10, 100, 1_000, 10_000)  # one step in so many is slower than the figure
_Figure = Callable[[Job], float]


def row(name: str, unit: str, figures: Mapping[str, float]) -> list[Row]:
    """One row, if ours is among the figures. Counts stay whole."""
    if OURS not in figures:
        return []
    rounded = {
        engine: figure if isinstance(figure, int) else float(f"{figure:.4g}")
        for engine, figure in figures.items()
    }
    ours = rounded.pop(OURS)
    return [Row(name=f"grammar/{name}", value=ours, unit=unit, peers=rounded)]


def set_up_rows(set_ups: Mapping[str, Job]) -> list[Row]:
    """What it takes to make the vocabulary ready."""
    found = {engine: answer for engine, answer in set_ups.items() if "set-up" in answer}
    return [
        *row("set-up", "s", {e: answer["set-up"] for e, answer in found.items()}),
        *row("set-up: wall", "s", {e: answer["set-up wall"] for e, answer in found.items()}),
        *row("set-up: memory", "MiB", {e: a["set-up bytes"] / (1 << 20) for e, a in found.items()}),
    ]


# -- the yardstick's grammars ----------------------------------------------------------------------

_CASE_FIGURES: Sequence[tuple[str, str, _Figure]] = (
    ("compile", "ms", lambda answer: answer["compile"] * 1000),
    ("cold total", "ms", lambda answer: answer["cold"] * 1000),
    ("cold total, wall", "ms", lambda answer: answer["cold wall"] * 1000),
    ("warm mask p50", "us", lambda answer: _at(answer["masks"], 50)),
    ("warm mask p99", "us", lambda answer: _at(answer["masks"], 99)),
    ("wrong verdicts", "texts", lambda answer: answer["rejected"] + answer["accepted"]),
)


def case_rows(jobs: Sequence[Job], answers: Answers) -> list[Row]:
    """All figures of each grammar, then how many are ahead."""
    found: list[Row] = []
    standing: Counter[str] = Counter()
    for number, job in enumerate(jobs):
        here = {e: those[number] for e, those in answers.items() if "error" not in those[number]}
        for figure, unit, of in _CASE_FIGURES:
            figures = {engine: of(answer) for engine, answer in here.items()}
            found += row(f"{job['name']}: {figure}", unit, figures)
        if not job["name"].endswith(")"):  # a second spelling of the same grammar
            standing += _standing(here)
    names = (
        "warm mask p99 ahead of the better peer",
        "cold total ahead of XGrammar",
        "cold total within 5x of llguidance",
        "every verdict right",
    )
    if not set(COMPARED) <= set(answers):
        return found
    return found + [r for n in names for r in row(f"cases: {n}", "grammars", {OURS: standing[n]})]


def _standing(here: Mapping[str, Job]) -> Counter[str]:
    """Which of the bars one grammar meets; a peer that has no answer is behind."""
    ours = here.get(OURS)
    if ours is None:
        return Counter()
    far = float("inf")
    p99 = {e: _at(here[e]["masks"], 99) if e in here else far for e in COMPARED}
    cold = {e: here[e]["cold"] if e in here else far for e in COMPARED}
    met = {
        "warm mask p99 ahead of the better peer": _at(ours["masks"], 99) < min(p99.values()),
        "cold total ahead of XGrammar": ours["cold"] < cold["XGrammar"],
        "cold total within 5x of llguidance": ours["cold"] <= 5 * cold["llguidance"],
        "every verdict right": ours["rejected"] + ours["accepted"] == 0,
    }
    return Counter(name for name, is_met in met.items() if is_met)


# -- the JSON-Schema-Test-Suite --------------------------------------------------------------------

VERDICTS = ("right", "refused", "accepts invalid", "rejects valid")


def suite_rows(jobs: Sequence[Job], answers: Answers) -> list[Row]:
    """Tests by verdict, for each keyword and in all."""
    counts: dict[str, dict[str, Counter[str]]] = {}
    for engine, those in answers.items():
        for job, answer in zip(jobs, those, strict=True):
            found = verdicts(job, answer)
            for keyword in (job["name"], "all"):
                by_engine = counts.setdefault(keyword, {})
                by_engine.setdefault(engine, Counter()).update(found)
    return [
        made
        for keyword in sorted(counts, key=lambda name: (name == "all", name))
        for verdict in VERDICTS
        for made in row(
            f"suite/{keyword}: {verdict}",
            "tests",
            {engine: count[verdict] for engine, count in counts[keyword].items()},
        )
    ]


def verdicts(job: Job, answer: Job) -> Counter[str]:
    """One schema's tests by verdict."""
    if "error" in answer:
        return Counter(refused=len(job["valid"]))
    found: Counter[str] = Counter()
    for valid, got in zip(job["valid"], answer["verdicts"], strict=True):
        found["right" if got is valid else "rejects valid" if valid else "accepts invalid"] += 1
    return found


# -- schemas from the wild -------------------------------------------------------------------------


def real_rows(jobs: Sequence[Job], answers: Answers) -> list[Row]:
    """Verdicts by schema, then times, then memory."""
    standing = {e: _schemas(jobs, those) for e, those in answers.items()}
    found: list[Row] = []
    for name in ("passing", "refused", "accepting an invalid instance", "rejecting a valid one"):
        found += row(f"real/{name}", "schemas", {e: count[name] for e, count in standing.items()})
    good = {e: [a for a in those if "error" not in a] for e, those in answers.items()}
    good = {engine: those for engine, those in good.items() if those}
    for name, key in (
        ("compile", "compile"),
        ("first mask", "first"),
        ("first mask, wall", "first wall"),
    ):
        for percent in (50, 99):
            figures = {e: _at([a[key] for a in those], percent) * 1000 for e, those in good.items()}
            found += row(f"real/{name} p{percent}", "ms", figures)
    steps = {e: [step for a in those for step in a["steps"]] for e, those in good.items()}
    for tail in (50.0, 99.0, 99.9):
        figures = {engine: _at(those, tail) for engine, those in steps.items()}
        found += row(f"real/mask and accept p{tail:g}", "us", figures)
    for of in TAILS:
        figures = {engine: _at(those, 100 - 100 / of) for engine, those in steps.items()}
        found += row(f"real/the slowest mask and accept of @ {of}", "us", figures)
    return found + _memory(good.get(OURS, []))


def order_rows(jobs: Sequence[Job], any_order: Sequence[Job], declared: Sequence[Job]) -> list[Row]:
    """What taking properties in any order costs: the schemas that do, in declared order beside."""
    chosen = [n for n, job in enumerate(jobs) if job["options"]["any_order"]]
    own, other = [any_order[n] for n in chosen], [declared[n] for n in chosen]
    both = {OURS: own, "declared order": other}
    few = [jobs[n] for n in chosen]
    standing = {e: _schemas(few, those) for e, those in both.items()}
    found: list[Row] = []
    for name in ("passing", "rejecting a valid one"):
        found += row(
            f"real, any order/{name}", "schemas", {e: c[name] for e, c in standing.items()}
        )
    good = {e: [a for a in those if "error" not in a] for e, those in both.items()}
    for what, percent in (("compile", 50), ("compile", 99), ("first", 50), ("first", 99)):
        figures = {e: _at([a[what] * 1000 for a in those], percent) for e, those in good.items()}
        name = {"first": "first mask"}.get(what, what)
        found += row(f"real, any order/{name} p{percent}", "ms", figures)
    for percent in (50, 99):
        figures = {e: _at([s for a in g for s in a["steps"]], percent) for e, g in good.items()}
        found += row(f"real, any order/mask and accept p{percent}", "us", figures)
    return found


def _schemas(jobs: Sequence[Job], answers: Sequence[Job]) -> Counter[str]:
    found: Counter[str] = Counter()
    for job, answer in zip(jobs, answers, strict=True):
        counts = verdicts(job, answer)
        found["refused"] += "error" in answer
        found["passing"] += set(counts) <= {"right"}
        found["accepting an invalid instance"] += counts["accepts invalid"] > 0
        found["rejecting a valid one"] += counts["rejects valid"] > 0
    return found


def _memory(ours: Iterable[Job]) -> list[Row]:
    known = [answer for answer in ours if "grammar bytes" in answer]
    if not known:
        return []
    sizes = [answer["grammar bytes"] / (1 << 20) for answer in known]
    return [
        *row("real/memory of a grammar, median", "MiB", {OURS: statistics.median(sizes)}),
        *row("real/memory of a grammar, largest", "MiB", {OURS: max(sizes)}),
        *row("real/pool at the end", "MiB", {OURS: known[-1]["pool bytes"] / (1 << 20)}),
    ]


def _at(values: Sequence[float], percent: float) -> float:
    return float(np.percentile(values, percent)) if len(values) else 0.0
