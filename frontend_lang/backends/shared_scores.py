"""A select's rows begin alike: what they have in common behind `start`, the first scores for all.

That is most often the tail of the constant before the choices, which is encoded with each of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...types import Result
from ..tokens import common_prefix
from .base import Scoring


def starts(scoring: Scoring) -> list[int]:
    """Where each row's scores begin if the first one's do for all that they begin with. Every row
    scores a token of its own."""
    start, rows = scoring.start, scoring.input_ids
    begin = start[0]
    first = rows[0][:begin]
    if any(at != begin for at in start) or any(row[:begin] != first for row in rows):
        return start
    behind = begin + common_prefix([row[begin:] for row in rows])
    later = max(begin, min(behind, min(map(len, rows)) - 1))
    return [begin, *[later] * (len(rows) - 1)]


def completed(results: list[Result], begins: Sequence[int]) -> list[Result]:
    """Every row with the scores from the first one's start on, in place. A row that failed stays as
    it is."""
    told = results[0].prompt_logprobs
    for result, begin in zip(results[1:], begins[1:], strict=True):
        if told is not None and result.prompt_logprobs is not None:
            result.prompt_logprobs = told[: begin - begins[0]] + result.prompt_logprobs
    return results
