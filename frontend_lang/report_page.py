"""A run's report as one HTML page: the program's tree, each call's prompt, and when it ran.

The page needs nothing else and runs no script. Prompt tokens are coloured by where their KV came
from (the first ones were cached, then those that a neighbour in the same step computed, then this
call's own), generated ones by their probability where the run asked for log probabilities.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .records import CallRecord, Node
from .report_lanes import lanes
from .report_style import STYLE

if TYPE_CHECKING:
    from .backends.base import Tokenizer
    from .report import Report

_FIRST, _LAST = 1_500, 6_000
_LEGEND = (("cached", "cached"), ("shared", "computed by a neighbour"), ("computed", "computed"),
           ("model", "generated"), ("failed", "failed"))  # fmt: skip


def page(report: Report, tokenizer: Tokenizer) -> str:
    """The report as a document of its own."""
    title = html.escape(report.program or "program")
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}: report'
        '</title><meta name="viewport" content="width=device-width">'
        f"</head><body>{body(report, tokenizer)}</body></html>\n"
    )


def body(report: Report, tokenizer: Tokenizer) -> str:
    """The report as a piece of a page (a notebook's)."""
    shown = _Shown(tokenizer)
    summary, _, seed = report.summary().rpartition("\n")
    legend = "".join(f'<span class="key {name}">{text}</span>' for name, text in _LEGEND)
    return "".join(
        [
            f'<div class="espalier-report"><style>{STYLE}</style>',
            f"<h1>{html.escape(report.program or 'program')}</h1>",
            f'<p class="summary">{html.escape(summary)}; {html.escape(seed)}</p>',
            f'<p class="legend">{legend}</p>',
            lanes(report.root, report.seconds()),
            "<h2>Calls</h2>",
            *shown.tree(report.root),
            "</div>",
        ]
    )


class _Shown:
    """Calls as HTML."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._counts = getattr(tokenizer, "counts_tokens", True)

    def tree(self, root: Node) -> Iterator[str]:
        """The states' calls, each branch where its fork stands; forks may nest deeply."""
        todo: list[Node | CallRecord | str] = [root]
        while todo:
            item = todo.pop()
            if isinstance(item, str):
                yield item
            elif isinstance(item, CallRecord):
                yield self.call(item)
            else:
                name = f"branch {item.path[-1]}" if item.path else "program"
                failed = " failed" if item.error is not None else ""
                yield f'<details class="state{failed}" open><summary>{name}</summary>'
                if item.error is not None and not any(call.error for call in item.calls):
                    yield f'<p class="error">{html.escape(item.error)}</p>'
                todo.append("</details>")
                todo.extend(reversed(_inside(item)))

    def call(self, call: CallRecord) -> str:
        """One call: a line, and what it asked and got."""
        name = call.name if call.name is not None else f"#{call.index}"
        figures = f"prompt {call.prompt}: {call.cached} cached, {call.computed} computed"
        if call.shared:
            figures += f", {call.shared} by a neighbour"
        figures += f"; generated {call.generated}; {call.finish_reason}"
        if call.incomplete is not None:
            figures += f" (incomplete: {html.escape(call.incomplete)})"
        place = call.where.rpartition("/")[2]
        failed = " failed" if call.error is not None else ""
        error = f'<p class="error">{html.escape(call.error)}</p>' if call.error is not None else ""
        return (
            f'<details class="call{failed}"{" open" if failed else ""}><summary>'
            f'<b>{call.kind} {html.escape(name)}</b> <span class="said">'
            f"{html.escape(call.text[:80])}</span> "
            f'<span class="figures">{figures}</span> <span class="place" '
            f'title="{html.escape(call.where)}">{html.escape(place)}</span></summary>{error}'
            f'<pre class="tokens">{self._prompt(call)}{self._answer(call)}</pre></details>'
        )

    def _prompt(self, call: CallRecord) -> str:
        if call.prompt_tokens is None:
            return ""
        ids = call.prompt_tokens.to_list()
        if not self._counts or not call.computed:  # cached ones are not known, or there are none
            return self._span("asked", ids)
        ends = call.sources[0], sum(call.sources)
        parts = [("cached", ids[: ends[0]]), ("shared", ids[ends[0] : ends[1]])]
        parts.append(("computed", ids[ends[1] :]))
        return "".join(self._span(kind, part) for kind, part in parts)

    def _span(self, kind: str, ids: Sequence[int]) -> str:
        if not ids:
            return ""
        said = f"{len(ids)} {kind.replace('shared', 'computed by a neighbour')}"
        said, unit = (said, "tokens") if self._counts else (kind, "bytes")
        if len(ids) > _FIRST + _LAST:
            left_out = len(ids) - _FIRST - _LAST
            text = f"{self._text(ids[:_FIRST])}</span><i>… {left_out} {unit} left out …</i>"
            text += f'<span class="{kind}">{self._text(ids[-_LAST:])}'
        else:
            text = self._text(ids)
        return f'<span class="{kind}" title="{said}">{text}</span>'

    def _answer(self, call: CallRecord) -> str:
        if call.choices is not None:
            listed = "".join(
                f'<span class="choice{" chosen" if choice == call.text else ""}" '
                f'style="--p:{chance:.3f}" title="{chance:.4f}">{html.escape(choice)} '
                f"<small>{chance:.1%}</small></span>"
                for choice, chance in call.choices.items()
            )
            return f'<span class="choices">{listed}</span>'
        if call.logprobs is None or len(call.logprobs) != len(call.token_ids):
            return self._span("model", call.token_ids) if call.token_ids else ""
        spans = []
        for entry in call.logprobs:
            chance = math.exp(min(0.0, entry.logprob))
            others = [
                f"{math.exp(min(0.0, logprob)):.1%} {self._plain([token])!r}"
                for token, logprob in entry.top
            ]
            title = html.escape("\n".join([f"probability {chance:.2%}", *others]))
            spans.append(
                f'<span class="model" style="--p:{chance:.3f}" title="{title}">'
                f"{self._text([entry.token_id])}</span>"
            )
        return "".join(spans)

    def _text(self, ids: Sequence[int]) -> str:
        return html.escape(self._plain(ids))

    def _plain(self, ids: Sequence[int]) -> str:
        data = b"".join(map(self._tokenizer.token_bytes, ids))
        return data.decode("utf-8", errors="replace")


def _inside(node: Node) -> list[Node | CallRecord | str]:
    """A state's calls and branches in the order of the program."""
    made: list[Node | CallRecord | str] = []
    children = sorted(node.children, key=lambda child: child.after)
    for number in range(len(node.calls) + 1):
        made.extend(child for child in children if child.after == number)
        if number < len(node.calls):
            made.append(node.calls[number])
    made.extend(child for child in children if child.after > len(node.calls))
    return made
