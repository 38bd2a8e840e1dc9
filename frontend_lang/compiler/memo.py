"""Texts that many runs encode, encoded once."""

from __future__ import annotations

from ..backends.base import Tokenizer
from ..tokens import TextEncoder

_KEPT = 4096
_LONGEST = 1 << 14


class RememberingEncoder(TextEncoder):
    """A `TextEncoder` that keeps what it has encoded, for the runs of one batch."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer)
        self._known: dict[tuple[str, bool | None], tuple[int, ...]] = {}

    def start(self, text: str, *, bos: bool = True) -> list[int]:
        found = self._known.get((text, bos))
        return self._keep(text, bos, super().start(text, bos=bos)) if found is None else [*found]

    def run(self, text: str) -> list[int]:
        found = self._known.get((text, None))
        return self._keep(text, None, super().run(text)) if found is None else [*found]

    def _keep(self, text: str, how: bool | None, ids: list[int]) -> list[int]:
        if len(text) <= _LONGEST:
            while len(self._known) >= _KEPT:
                del self._known[next(iter(self._known))]
            self._known[text, how] = tuple(ids)
        return ids
