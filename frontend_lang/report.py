"""What a run did and cost: a table for the terminal, and data.

One line per call, in the shape of the program's tree. `computed` are the prompt tokens whose KV
this call computed itself, `cached` those found in the cache, `shared` those that a neighbour in the
same step computed for both. Against no sharing at all, every prompt token would be computed.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .records import CallRecord, Node

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from .session import Session

_SUMS = ("prompt", "cached", "computed", "shared", "generated", "requests", "near_ties")
_TIMES = 6  # the first of the three columns of times
_FINISH = 9  # the column that may hold an error's text, which is folded
_FOLDED = 24  # to so many characters a line, before other columns give way
_LEGEND = "prompt tokens: cached before, shared with a row of the same step, computed here"
_ANY = 10_000  # columns: as wide as it comes


class Report:
    """A run's tree of states and calls. `str(report)` is the table; rich prints it in colour."""

    def __init__(self, session: Session, root: Node) -> None:
        self._session = session
        self.root = root

    @property
    def program(self) -> str:
        """The program's name."""
        return self._session.program

    def seconds(self) -> float:
        """How long the run took, or has taken so far."""
        ended = self._session.ended
        return self._session.elapsed() if ended is None else ended - self._session.started

    def calls(self) -> Iterator[CallRecord]:
        """Every call, parents before their forks."""
        for node in _walk(self.root):
            yield from node.calls

    def totals(self) -> dict[str, Any]:
        """Token counts over all calls, and requests: what a remote API was asked again counts, and
        a call that was answered ahead (num_api_spec_tokens) took none. `computed_share` is computed
        over prompt tokens."""
        sums: dict[str, Any] = {
            name: sum(getattr(call, name) for call in self.calls()) for name in _SUMS
        }
        sums["calls"] = sum(1 for _ in self.calls())
        sums["answered_ahead"] = sum(1 for call in self.calls() if call.answered_ahead)
        sums["failed"] = sum(1 for call in self.calls() if call.error is not None)
        sums["states"] = sum(1 for _ in _walk(self.root))
        sums["lost_tokens"] = sum(node.lost_tokens for node in _walk(self.root))
        sums["computed_share"] = sums["computed"] / sums["prompt"] if sums["prompt"] else 0.0
        return sums

    def to_dict(self) -> dict[str, Any]:
        """Plain data: program, seed, seconds, totals, and the tree."""
        return {
            "program": self.program,
            "seed": self._session.seed,
            "seconds": self.seconds(),
            "totals": self.totals(),
            "tree": self.root.to_dict(),
        }

    def json(self, indent: int | None = 2) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=indent)

    def html(self) -> str:
        """One page that needs nothing else: the tree, each call's prompt with cached, computed and
        generated tokens coloured, and when each ran. Probabilities are told where the run asked for
        them (`run(..., logprobs=3)`)."""
        from .report_page import page

        return page(self, self._session.backend.tokenizer)

    def _repr_html_(self) -> str:
        """In a notebook."""
        from .report_page import body

        return body(self, self._session.backend.tokenizer)

    def text(self, width: int = 120) -> str:
        """The table as plain text."""
        from rich.console import Console

        out = io.StringIO()
        self.print(Console(file=out, width=width, color_system=None, force_terminal=False))
        return out.getvalue()

    def print(self, console: Console | None = None) -> None:
        """Write the table, what its columns mean, and its summary to the terminal. One that is too
        narrow for the table gets it without times, which are in `json()` and `html()`, and a line
        that says so."""
        from rich.console import Console
        from rich.measure import Measurement

        console = console or Console()
        wide = console.options.update(max_width=_ANY)
        finish = max((len(_row(0, call)[_FINISH]) for call in self.calls()), default=0)
        foldable = max(0, finish - _FOLDED)
        for table in (self._table(gap=2), self._table(gap=1)):
            needed = Measurement.get(console, wide, table).maximum - foldable
            if needed <= console.width:
                console.print(table)
                break
        else:
            console.print(self._table(gap=1, times=False))
            said = f"times are left out: with them the table is {needed} columns wide"
            console.print(said, highlight=False)
        whole = not console.is_terminal  # lines of a file or a pipe have no width
        console.print(f"{_LEGEND}\n{self.summary()}", highlight=False, soft_wrap=whole)

    def summary(self) -> str:
        """Two lines: what was computed of what was asked for, and the seed."""
        totals = self.totals()
        computed = "none computed"  # by a script, or where nothing was asked
        if totals["computed"]:
            saved = 1 - totals["computed_share"]
            computed = f"{totals['computed']} computed ({saved:.0%} saved by sharing)"
        line = (
            f"{_counted(totals['calls'], 'call')} in {_counted(totals['states'], 'state')}: "
            f"{totals['prompt']} prompt tokens, {computed}, {totals['generated']} generated"
        )
        extra = [
            f"{totals[key]} {words}"
            for key, words in (
                ("failed", "failed"),
                ("answered_ahead", "answered by what an earlier one had written ahead"),
                ("lost_tokens", "tokens lost to a re-rendered chat template"),
                ("near_ties", "near ties"),
            )
            if totals[key]
        ]
        return "; ".join([line, *extra]) + f"\nseed {self._session.seed}"

    def __str__(self) -> str:
        return self.text()

    def _table(self, gap: int, times: bool = True) -> Table:
        from rich.table import Table

        table = Table(title=self._session.program, title_justify="left", box=None, pad_edge=False)
        table.padding = (0, gap, 0, 0)
        table.add_column("call", no_wrap=True)
        for name in ("prompt", "cached", "shared", "computed", "generated"):
            table.add_column(name, justify="right", no_wrap=True)
        for name in ("queued ms", "prefill ms", "decode ms") if times else ():
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("finish")
        table.add_column("line", overflow="fold")
        for depth, node, call in _lines(self.root):
            if call is None:
                branch = f"branch {node.path[-1]}" if node.path else "program"
                table.add_row("  " * depth + branch)
            else:
                row = _row(depth, call)
                table.add_row(*(row if times else row[:_TIMES] + row[_TIMES + 3 :]))
        return table


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _walk(root: Node) -> Iterator[Node]:
    """Every state, parents before their forks; forks may nest deeper than Python's calls."""
    todo = [root]
    while todo:
        node = todo.pop()
        yield node
        todo.extend(reversed(node.children))


def _lines(root: Node) -> Iterator[tuple[int, Node, CallRecord | None]]:
    """Calls and branches in the order of the program, and how deep each stands."""
    todo: list[tuple[int, Node, CallRecord | None]] = [(0, root, None)]
    while todo:
        depth, node, call = todo.pop()
        if call is not None or node.path:
            yield depth, node, call
        if call is None:
            todo.extend(reversed(_inside(node, depth + bool(node.path))))


def _inside(node: Node, depth: int) -> list[tuple[int, Node, CallRecord | None]]:
    """A state's calls and branches, each branch where its fork stands."""
    lines: list[tuple[int, Node, CallRecord | None]] = []
    children = iter(sorted(node.children, key=lambda child: child.after))
    child = next(children, None)
    for number in range(len(node.calls) + 1):
        while child is not None and child.after <= number:
            lines.append((depth, child, None))
            child = next(children, None)
        if number < len(node.calls):
            lines.append((depth, node, node.calls[number]))
    return lines


def _row(depth: int, call: CallRecord) -> list[str]:
    name = f"{call.kind} {call.name}" if call.name is not None else f"{call.kind} #{call.index}"
    finish = call.finish_reason
    if call.incomplete is not None:
        finish += f" (incomplete: {call.incomplete})"
    if call.error is not None:
        finish = f"failed: {call.error}"
    times = call.times
    return [
        "  " * depth + name,
        *(str(getattr(call, field)) for field in _SUMS[:2]),
        str(call.shared),
        str(call.computed),
        str(call.generated),
        *(f"{seconds * 1e3:.1f}" for seconds in (times.queued, times.prefill, times.decode)),
        finish,
        call.where.rpartition("/")[2],
    ]
