"""README's results, made from the committed files under benchmarks/results/, and the demo's output.

`python -m espalier.benchmarks.readme_table` rewrites what stands between the marks in README.md; a
test keeps the results up to date. `--demo` runs the demo and puts its output there too.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .report import number, read

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
RESULTS_MARKS = ("<!-- results: made by benchmarks/readme_table.py -->", "<!-- end of results -->")
DEMO_MARKS = ("<!-- demo: made by benchmarks/readme_table.py --demo -->", "<!-- end of demo -->")
Rows = list[dict[str, Any]]


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table; every column but the first is aligned right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rule, *lines])


def made_by(rows: Rows) -> str:
    """Where the figures come from."""
    first = rows[0]
    versions = ", ".join(
        f"{package} {first['versions'][package]}"
        for package in ("torch", "transformers")
        if package in first["versions"]
    )
    return f"`{first['command']}`, {first['machine']}, {versions}, commit {first['commit']}"


def prefix(rows: Rows) -> str:
    """Workloads down, models and arrivals across."""
    columns: dict[str, dict[str, str]] = {"no sharing": {}}
    for row in rows:
        if row["unit"] == "computed/Belady":
            continue
        _, model, arrival, workload = row["name"].split("/")
        columns["no sharing"].setdefault(workload, number(row["peers"]["no sharing"]))
        how = {"all": "all at once", "eight": "8 at a time"}[arrival]
        columns.setdefault(f"{model}, {how}", {})[workload] = f"{row['value']:.2f}"
    lines = [
        [workload, *(column.get(workload, "") for column in columns.values())]
        for workload in columns["no sharing"]
    ]
    return markdown(["workload", *columns], lines)


def bounded(rows: Rows) -> str:
    """Workloads down, capacities and arrivals across; LRU in the given order beside them."""
    columns: dict[str, dict[str, str]] = {}
    for row in rows:
        if row["unit"] != "computed/Belady":
            continue
        _, _, arrival, workload, capacity = row["name"].split("/")
        how = {"all": "all at once", "eight": "8 at a time"}[arrival]
        columns.setdefault(f"{capacity}, {how}", {})[workload] = f"{row['value']:.2f}"
        columns.setdefault(f"{capacity}, LRU", {})[workload] = f"{row['peers']['LRU']:.2f}"
    workloads = list(next(iter(columns.values()), {}))
    lines = [[name, *(column[name] for column in columns.values())] for name in workloads]
    return markdown(["workload", *columns], lines)


def prefix_sections(rows: Rows) -> str:
    """What is shared where everything fits, and where it does not."""
    if not any(row["unit"] == "computed/Belady" for row in rows):
        return prefix(rows)
    title = (
        "**The same in a cache of half and of a quarter of the distinct tokens**, over what "
        "Belady's rule computes, which knows the future (prompts in their given order, one by one)."
    )
    return f"{prefix(rows)}\n\n{title}\n\n{bounded(rows)}"


def cpu(rows: Rows) -> str:
    """Figures down, engines across."""
    peers = list(dict.fromkeys(peer for row in rows for peer in row["peers"]))
    lines = []
    for row in rows:
        others = [number(row["peers"][peer]) if peer in row["peers"] else "" for peer in peers]
        what = row["name"].removeprefix("cpu/")
        lines.append([f"{what}, {row['unit']}", number(row["value"]), *others])
    return markdown(["", "Espalier", *peers], lines)


def growth(rows: Rows) -> str:
    """Each figure at its largest size, and how it grows with size."""
    slopes = {
        row["name"].removesuffix(": slope"): row["value"]
        for row in rows
        if row["name"].endswith(": slope")
    }
    largest: dict[str, tuple[str, float, str]] = {}
    for row in rows:
        name, at, size = row["name"].partition(" @ ")
        if at or not name.endswith(": slope"):
            largest[name] = (f"{float(size):,.0f}" if at else "", row["value"], row["unit"])
    lines = [
        [
            name.removeprefix("scheduler/"),
            size,
            f"{number(value)} {unit}",
            f"{slopes[name]:.2f}" if name in slopes else "",
        ]
        for name, (size, value, unit) in largest.items()
    ]
    return markdown(["", "at size", "CPU time or bytes", "log-log slope"], lines)


GRAMMAR_ROWS = {
    "suite/all: right": "JSON-Schema-Test-Suite: tests right",
    "suite/all: refused": "refused, the keyword named",
    "suite/all: accepts invalid": "invalid accepted",
    "suite/all: rejects valid": "valid rejected",
    "real/passing": "schemas from the wild: every test right",
    "real/accepting an invalid instance": "accepting an invalid instance",
    "real/first mask p50": "time to the first mask, median",
    "real/first mask p99": "99th percentile",
    "real/mask and accept p50": "mask and accept, median",
    "real/mask and accept p99": "99th percentile",
    "real/mask and accept p99.9": "99.9th percentile",
}


def grammar(rows: Rows) -> str:
    """Verdicts and times, ours and the peers' across."""
    found = {row["name"].removeprefix("grammar/"): row for row in rows}
    shown = [(title, found[name]) for name, title in GRAMMAR_ROWS.items() if name in found]
    peers = list(dict.fromkeys(peer for _, row in shown for peer in row["peers"]))
    lines = [
        [
            f"{title}, {row['unit']}" if row["unit"] in ("ms", "us") else title,
            number(row["value"]),
            *(number(row["peers"][peer]) if peer in row["peers"] else "" for peer in peers),
        ]
        for title, row in shown
    ]
    return markdown(["", "espalier", *peers], lines)


SECTIONS: dict[str, tuple[str, Callable[[Rows], str]]] = {
    "prefix": (
        "**Prompt tokens computed, over the exact optimum** (1.00 is perfect; `no sharing` is what "
        "an engine without a prefix cache computes).",
        prefix_sections,
    ),
    "cpu": (
        "**One CPU thread, beside other engines in the same run** (random weights; CPU time). At "
        "batch 1 and 16 it depends on the machine: docs/LOG.md. llama.cpp by llama-cpp-python "
        "0.3.36, built from source there (AVX-512, AMX).",
        cpu,
    ),
    "grammar": (
        "**Grammars, beside other engines in the same run** (Llama 3's tokenizer; CPU time).",
        grammar,
    ),
    "radix": ("**The prefix tree as it grows.**", growth),
    "scheduler": ("**A step beside its model, as batch and queue grow** (null model).", growth),
}


def render(results: Path) -> str:
    """All sections whose result file is there."""
    parts = []
    for name, (title, table) in SECTIONS.items():
        file = results / f"{name}.json"
        if file.exists():
            rows = read(file)
            parts.append(f"{title}\n\n{table(rows)}\n\n{made_by(rows)}")
    return "\n\n".join(parts)


def demo_output(model: str) -> str:
    """What `espalier demo` prints, without the programs' sources (they stand in examples/)."""
    command = [sys.executable, "-m", "espalier.runtime.cli", "demo", "--model", model]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    kept = [line.rstrip() for line in done.stdout.splitlines() if not line.startswith("    | ")]
    return "```\n" + re.sub(r"\n\n+", "\n\n", "\n".join(kept)).strip() + "\n```"


def update(text: str, marks: tuple[str, str], content: str) -> str:
    """README's text with `content` between its marks."""
    before, begin, rest = text.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not begin or not end:
        raise ValueError(f"README.md lacks {marks[0]!r} or {marks[1]!r}")
    return f"{before}{begin}\n{content}\n{end}{after}"


def main() -> None:
    """Rewrite README.md."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--demo", action="store_true", help="run the demo, too")
    options.add_argument("--model", default="sprig", help="what the demo runs on")
    args = options.parse_args()
    readme = ROOT / "README.md"
    text = update(readme.read_text(), RESULTS_MARKS, render(RESULTS))
    if args.demo:
        text = update(text, DEMO_MARKS, demo_output(args.model))
    readme.write_text(text)
    print(f"README.md has the results of {RESULTS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
