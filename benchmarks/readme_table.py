"""README's results, made from the committed files under benchmarks/results/.

`python -m espalier.benchmarks.readme_table` rewrites what stands between the two marks in
README.md; a test keeps it up to date.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .report import number, read

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BEGIN = "<!-- results: made by benchmarks/readme_table.py -->"
END = "<!-- end of results -->"
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
        _, model, arrival, workload = row["name"].split("/")
        columns["no sharing"].setdefault(workload, number(row["peers"]["no sharing"]))
        how = {"all": "all at once", "eight": "8 at a time"}[arrival]
        columns.setdefault(f"{model}, {how}", {})[workload] = f"{row['value']:.2f}"
    lines = [
        [workload, *(column.get(workload, "") for column in columns.values())]
        for workload in columns["no sharing"]
    ]
    return markdown(["workload", *columns], lines)


def cpu(rows: Rows) -> str:
    """Figures down, engines across."""
    peers = list(dict.fromkeys(peer for row in rows for peer in row["peers"]))
    lines = []
    for row in rows:
        others = [number(row["peers"][peer]) if peer in row["peers"] else "" for peer in peers]
        what = row["name"].removeprefix("cpu/")
        lines.append([f"{what}, {row['unit']}", number(row["value"]), *others])
    return markdown(["", "Espalier", *peers], lines)


def radix(rows: Rows) -> str:
    """Each figure at its largest size, and how it grows with size."""
    slopes = {
        row["name"].removesuffix(": slope"): row["value"]
        for row in rows
        if row["name"].endswith(": slope")
    }
    largest: dict[str, tuple[str, float, str]] = {}
    for row in rows:
        name, at, size = row["name"].partition(" @ ")
        if at:
            largest[name] = (f"{float(size):,.0f}", row["value"], row["unit"])
    lines = [
        [name, size, f"{number(value)} {unit}", f"{slopes[name]:.2f}" if name in slopes else ""]
        for name, (size, value, unit) in largest.items()
    ]
    return markdown(["", "at size", "CPU time or bytes", "log-log slope"], lines)


SECTIONS: dict[str, tuple[str, Callable[[Rows], str]]] = {
    "prefix": (
        "**Prompt tokens computed, over the exact optimum** (1.00 is perfect; `no sharing` is what "
        "an engine without a prefix cache computes).",
        prefix,
    ),
    "cpu": (
        "**One CPU thread, beside transformers in the same run** (random weights; CPU time).",
        cpu,
    ),
    "radix": ("**The prefix tree as it grows.**", radix),
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


def update(text: str, rendered: str) -> str:
    """README's text with the results in their place."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md lacks {BEGIN!r} or {END!r}")
    return f"{before}{BEGIN}\n{rendered}\n{END}{after}"


def main() -> None:
    """Rewrite README.md."""
    readme = ROOT / "README.md"
    readme.write_text(update(readme.read_text(), render(RESULTS)))
    print(f"{readme} has the results of {RESULTS}")


if __name__ == "__main__":
    main()
