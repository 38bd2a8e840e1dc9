"""Program state as tokens: a rope that forks for free, and the rule by which text becomes ids.

The boundary rule
- Constant strings that follow one another are one text run; the run is encoded when something
  needs its tokens (a gen, a select, a special token of the chat template, the end of a fork's
  stable part), never at each `+=`.
- A run ends where tokens stand that no text may merge with: generated tokens, a select's winner,
  special tokens. Text after those begins a new run.
- At a fork the run is encoded up to its last stable split; the rest stays text in parent and
  children, so that a branch's first word merges as it would have in one string.

A *stable split* of a text is a position whose left part encodes the same whatever follows. It is
taken before a blank that follows a non-blank and begins the last word, and verified against the
tokenizer; without one the whole text stays together.

Invariants (checked by `check_invariants()`)
- R1 A rope's length is the sum of its chunks' lengths.
- R2 A cached flat list equals the concatenation of the chunks.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence

from ..errors import InvariantError
from .backends.base import Tokenizer

_SPLITS_TRIED = 8
_WINDOW = 64
_TEMPLATES_KEPT = 1024


class Tokens:
    """An immutable list of token ids that shares its beginning with those it grew from.

    `extend` is O(new ids); forking is taking another reference. `shared` says that others will grow
    from here: the flat list is kept at this node, and each of them copies it instead of walking
    the chunks.
    """

    __slots__ = ("_chunk", "_flat", "_length", "_parent")

    def __init__(self, parent: Tokens | None = None, chunk: tuple[int, ...] = ()) -> None:
        self._parent = parent
        self._chunk = chunk
        self._length = (len(parent) if parent is not None else 0) + len(chunk)
        self._flat: list[int] | None = None

    def __len__(self) -> int:
        return self._length

    def extend(self, ids: Sequence[int]) -> Tokens:
        """A longer list; this one stays as it is."""
        return Tokens(self, tuple(ids)) if ids else self

    def shared(self) -> Tokens:
        """The same list, ready to be grown from many times."""
        if self._flat is None:
            self._flat = self.to_list()
        return self

    def to_list(self) -> list[int]:
        """All ids, in order, in a list of the caller's own."""
        chunks: list[tuple[int, ...]] = []
        node: Tokens | None = self
        while node is not None and node._flat is None:
            chunks.append(node._chunk)
            node = node._parent
        flat = [] if node is None or node._flat is None else list(node._flat)
        for chunk in reversed(chunks):
            flat.extend(chunk)
        return flat

    def check_invariants(self) -> None:
        """Raise InvariantError naming the one that broke."""
        chunks: list[tuple[int, ...]] = []
        node: Tokens | None = self
        while node is not None:
            chunks.append(node._chunk)
            node = node._parent
        naive = [token for chunk in reversed(chunks) for token in chunk]
        if len(naive) != self._length:
            raise InvariantError("R1: rope length", expected=str(len(naive)), got=str(self._length))
        if self._flat is not None and self._flat != naive:
            raise InvariantError("R2: cached list differs from the chunks")


class TextEncoder:
    """A tokenizer, seen as what turns text runs into ids wherever they stand.

    Threads may share an encoder. counts_tokens: whether its ids are the model's own tokens.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.counts_tokens: bool = getattr(tokenizer, "counts_tokens", True)
        self._templates: dict[str, list[str | int]] = {}
        self._sorted: list[bytes] | None = None

    def start(self, text: str, *, bos: bool = True) -> list[int]:
        """The ids of a text that begins a sequence. bos: BOS first, where the tokenizer's own rule
        puts it before a plain text; a chat template writes its own."""
        return self.tokenizer.encode(text, add_bos=bos and self.tokenizer.adds_bos)

    def run(self, text: str) -> list[int]:
        """The ids of a text run that stands behind other tokens."""
        return self.tokenizer.encode(text, continues=True)

    def template(self, text: str) -> list[str | int]:
        """A piece of a chat template: its special tokens as ids, the text between as strings.

        The strings may merge with the text around them, as when a whole chat is encoded at once.
        """
        known = self._templates.get(text)
        if known is None:
            if len(self._templates) > _TEMPLATES_KEPT:
                self._templates.clear()
            known = self._templates[text] = self._split_template(text)
        return known

    def extends(self, text: str) -> bool:
        """Whether a longer token begins with this text. False where the vocabulary is not known."""
        if self._sorted is None:
            self._sorted = sorted(set(getattr(self.tokenizer, "vocabulary", ())))
        data = text.encode()
        at = bisect.bisect_right(self._sorted, data)
        return at < len(self._sorted) and self._sorted[at].startswith(data)

    def spelled(self, special: int) -> str:
        """A special token as a template spells it."""
        return self.tokenizer.token_bytes(special).decode("utf-8", errors="replace")

    def _split_template(self, text: str) -> list[str | int]:
        ids = self.tokenizer.encode(text, allow_special=True)
        data = [self.tokenizer.token_bytes(token) for token in ids]
        if b"".join(data) != text.encode():
            return list(ids)  # a tokenizer that adds or strips blanks around special tokens
        parts: list[str | int] = []
        for special, group in itertools.groupby(
            zip(ids, data, strict=True), lambda pair: pair[0] in self.tokenizer.special_ids
        ):
            if special:
                parts.extend(token for token, _ in group)
            else:
                parts.append(b"".join(piece for _, piece in group).decode())
        return parts

    def stable_split(self, text: str) -> int:
        """The last position of `text` whose left part encodes the same whatever follows (or 0)."""
        at = len(text.rstrip())
        for _ in range(_SPLITS_TRIED):
            while at > 0 and not text[at - 1].isspace():
                at -= 1
            while at > 0 and text[at - 1].isspace():
                at -= 1
            if at == 0:
                return 0
            if text[at] == " " and self._splits_at(text, at):
                return at
        return 0

    def _splits_at(self, text: str, at: int) -> bool:
        left, right = text[max(0, at - _WINDOW) : at], text[at:]
        return self.run(left) + self.run(right) == self.run(left + right)


def common_prefix(rows: Sequence[Sequence[int]]) -> int:
    """How many ids all rows begin with."""
    columns = zip(*rows, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns))


def tokens_within(tokenizer: Tokenizer, ids: Sequence[int], text: str) -> tuple[list[int], str]:
    """The generated tokens that lie wholly within `text`, and the text after them.

    A stop string may begin inside a token: the tokens before it are kept as sampled, and what is
    left of the text is constant text from then on.
    """
    data = text.encode("utf-8", errors="replace")
    kept: list[int] = []
    used = 0
    for token in ids:
        piece = b"" if token in tokenizer.special_ids else tokenizer.token_bytes(token)
        if not data.startswith(piece, used):
            break
        used += len(piece)
        kept.append(token)
    while used < len(data) and (data[used] & 0xC0) == 0x80:
        used -= len(tokenizer.token_bytes(kept.pop()))
    return kept, data[used:].decode("utf-8", errors="replace")
