"""What a state holds: settled tokens, text not yet encoded, the journal of pieces, chat turns.

Everything in it is immutable or shared, so that a fork copies a handful of references. Nothing here
waits or talks to a backend.

Who writes what, once
- BOS: a text that begins a state (where the tokenizer's own rule adds it), or else the chat
  template of the first role. A template that comes after text loses its BOS.
- End of turn: the end of a role, from the template. The engine's results never contain it: a gen
  inside `assistant()` stops at the end-of-turn token, and the role's end writes it.

Invariants (checked by `check_invariants()`)
- C1 The journal's texts, joined, are the state's text.
- C2 Pending text is the end of the journal's constant text: nothing generated follows it (unless
  a template has rewritten the chat, which the journal keeps as it was said).
- C3 BOS stands first or nowhere, but for what the model itself sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InvalidRequestError, InvariantError, ProgramError
from .journal import Journal, Piece, Turn, since, text_of
from .reasoning import answer_tokens
from .resplice import respliced
from .roles import ChatFormat
from .tokens import TextEncoder, Tokens, common_prefix, tokens_within


@dataclass(frozen=True)
class OpenRole:
    """A message that is being written; its content is the journal after `mark`."""

    role: str
    mark: Journal | None


@dataclass(frozen=True)
class Candidates:
    """A select's rows: `prefix` + each of `rows`; positions >= start are scored. Every row is
    `tail`, the text before the choices that is encoded with them, and its choice."""

    prefix: list[int]
    rows: list[list[int]]
    start: int
    tail: str


@dataclass(frozen=True)
class Addition:
    """What a branch said since it began: the messages that it closed (and what stood between
    them), and the pieces behind those."""

    turns: tuple[Turn, ...]
    pieces: tuple[Piece, ...]


class Content:
    """See the module's docstring. Used by one interpreter task at a time."""

    def __init__(self, encoder: TextEncoder, chat: ChatFormat) -> None:
        self.encoder = encoder
        self.chat = chat
        self.tokens = Tokens()
        self.pending = ""
        self.journal: Journal | None = None
        self.turns: tuple[Turn, ...] = ()
        self.raw_mark: Journal | None = None
        self.role: OpenRole | None = None
        self.template_first: bool | None = None
        self.rewritten = False
        self.lost_tokens = 0
        self._split = ""  # pending text that has no stable split

    def fork(self) -> Content:
        """A copy that shares all of it; the stable part of the pending text is encoded first."""
        if self.pending is not self._split:  # else another branch of it has looked already
            self._settle(self.encoder.stable_split(self.pending))
            self._split = self.pending
        self.tokens.shared()
        twin = self.snapshot()
        twin.lost_tokens = 0
        return twin

    def snapshot(self) -> Content:
        """It as it is now."""
        twin = Content.__new__(Content)
        twin.__dict__.update(self.__dict__)
        return twin

    # -- growing -----------------------------------------------------------------------------------

    def add_text(self, text: str) -> None:
        """Append constant text."""
        if text:
            self._pend(text, from_template=False)
            self._write(Piece("text", text))

    def add_generated(self, ids: Sequence[int], text: str, cut: bool) -> None:
        """Append what a model said. cut: a stop string ended it, perhaps inside a token."""
        self._settle()
        rest = ""
        if cut:
            ids, rest = tokens_within(self.encoder.tokenizer, ids, text)
        self.tokens = self.tokens.extend(ids)
        self._write(Piece("model", text[: len(text) - len(rest)], tuple(ids)))
        self.add_text(rest)

    def take_back(self) -> str:
        """The text of the pending text's last token, which is taken back, where a longer token
        begins with it; else the empty text. `add_healed` goes on from there."""
        first = not len(self.tokens)
        if not self.pending:
            return ""
        if first:
            ids = self.encoder.start(self.pending, bos=not self.template_first)
        else:
            ids = self.encoder.run(self.pending)
        text = self.encoder.tokenizer.token_bytes(ids[-1]).decode("utf-8", errors="replace")
        if len(ids) - first < 1 or not self.pending.endswith(text) or not text:
            return ""
        if (first and len(ids) < 2) or not self.encoder.extends(text):
            return ""
        self.tokens, self.pending = self.tokens.extend(ids[:-1]), ""
        return text

    def add_healed(self, ids: Sequence[int], taken: str, text: str, cut: bool) -> None:
        """Append what a model said from the text on that was taken back."""
        if not text.startswith(taken):  # cut before it had said that again
            self.pending = taken
            return
        rest = ""
        if cut:
            ids, rest = tokens_within(self.encoder.tokenizer, ids, text)
        self.tokens, self.pending = self.tokens.extend(ids), rest
        self._write(Piece("text", text[len(taken) :]))

    def add_answer(self, ids: Sequence[int], answer: str, cut: bool) -> None:
        """Append what a model said behind its reasoning, of all that it sampled."""
        kept = None if cut else answer_tokens(self.encoder.tokenizer, ids, answer)
        self.lost_tokens += len(ids) - len(kept or ())
        if kept is None:
            self.add_text(answer)
        else:
            self.add_generated(kept, answer, cut=False)

    def add_choice(self, ids: Sequence[int], choice: str) -> None:
        """Append a select's winner: `ids` stand for the pending text and the choice."""
        self.tokens = self.tokens.extend(ids)
        self.pending = ""
        self._write(Piece("choice", choice))

    def add_pieces(self, pieces: Sequence[Piece]) -> None:
        """Append another state's pieces, generated tokens as they were sampled."""
        for piece in pieces:
            self._replay(piece)
            self._write(piece)

    def added(self, origin: Content) -> Addition:
        """What this branch said since it was `origin`. Raises ProgramError where it stands in
        another message than it began in."""
        if self.role is not origin.role:
            raise ProgramError(
                "the branch ends inside another message than it began in",
                hint="Close the roles that the branch opens, and no other; or bring its variables "
                "home with join('gather_variable').",
            )
        turns = self.turns[len(origin.turns) :]
        if not turns:
            return Addition((), tuple(since(self.journal, origin.journal)))
        if turns[0].role is None:  # it may have begun before the branch did
            pieces = turns[0].pieces[len(origin._between()) :]
            turns = (Turn(None, pieces, ""), *turns[1:])
        return Addition(turns, tuple(self._between()))

    def add(self, said: Addition) -> None:
        """Go on with what a branch said; the template writes its messages anew, at this place."""
        for turn in said.turns:
            if turn.role is not None:
                self.begin_role(turn.role)
            self.add_pieces(turn.pieces)
            if turn.role is not None:
                self.end_role(turn.role)
        self.add_pieces(said.pieces)

    def _between(self) -> list[Piece]:
        """What stands behind the last message, while none is open."""
        return [p for p in since(self.journal, self.raw_mark) if p.kind != "template"]

    def _replay(self, piece: Piece) -> None:
        match piece.kind:
            case "model":
                self._settle()
                self._begin()
                self.tokens = self.tokens.extend(piece.ids or ())
            case "template":
                self._settle_template(piece.text)
            case "choice":
                self._pend(piece.text, from_template=False)
                self._settle()
            case "text":
                self._pend(piece.text, from_template=False)

    # -- roles -------------------------------------------------------------------------------------

    def begin_role(self, role: str) -> None:
        """Open a message: write the template's header."""
        if self.role is not None:
            raise ProgramError(
                f"the role {role} begins inside the role {self.role.role}",
                hint="Close it first; messages do not nest.",
            )
        if raw := self._between():
            self.turns = (*self.turns, Turn(None, tuple(raw), ""))
        opening = self.chat.opening(self.turns, role)
        if opening.appends:
            self._settle_template(opening.text)
        else:
            self._rebuild(opening.rendered, self.turns)
        self._write(Piece("template", opening.text))
        self.role = OpenRole(role, self.journal)

    def end_role(self, role: str) -> None:
        """Close the message: write the template's end of turn."""
        if self.role is None or self.role.role != role:
            open_role = "none is" if self.role is None else f"{self.role.role} is"
            raise ProgramError(f"the role {role} ends, but {open_role} open")
        pieces = tuple(since(self.journal, self.role.mark))
        closing = self.chat.closing(self.turns, role, pieces)
        self.turns = (*self.turns, Turn(role, pieces, closing.text))
        if closing.appends:
            self._settle_template(closing.text)
        else:
            self._rebuild(closing.rendered, self.turns)
        self._write(Piece("template", closing.text))
        self.role = None
        self.raw_mark = self.journal

    def messages(self) -> list[dict[str, str]]:
        """The closed messages, as `{"role": ..., "content": ...}`."""
        return [
            {"role": turn.role, "content": text_of(turn.pieces)}
            for turn in self.turns
            if turn.role is not None
        ]

    def _rebuild(self, rendered: str, turns: Sequence[Turn]) -> None:
        """Make the tokens those of a chat rendered anew, and count what was lost by it."""
        before = self.prompt_so_far()
        self.tokens, self.pending, self.template_first = Tokens(), "", None
        self.rewritten = True
        for piece in respliced(self.encoder, self.chat, rendered, turns):
            self._replay(piece)
        after = self.prompt_so_far()
        same = common_prefix([before, after])
        self.lost_tokens += len(before) - same

    # -- reading -----------------------------------------------------------------------------------

    def prompt(self) -> list[int]:
        """All tokens so far, the pending text encoded. Raises InvalidRequestError if none."""
        self._settle()
        self._begin()
        if not len(self.tokens):
            raise InvalidRequestError(
                expected="at least one token before the first gen",
                got="an empty prompt",
                hint="Add text first: this model's tokenizer puts no BOS token before a prompt.",
            )
        return self.tokens.to_list()

    def ids(self) -> list[int]:
        """What `prompt` would give now, for a reader: nothing settles by it, so that the pending
        text may still merge with what follows."""
        return self.snapshot().prompt() if self.journal is not None else []

    def prompt_so_far(self) -> list[int]:
        """The settled tokens, without settling more."""
        return self.tokens.to_list()

    def candidates(self, choices: Sequence[str]) -> Candidates:
        """Each choice as canonical tokens of (tail of the constant before it + choice)."""
        self._settle(self.encoder.stable_split(self.pending))
        tail = self.pending
        if len(self.tokens):
            prefix = self.tokens.to_list()
            rows = [self.encoder.run(tail + choice) for choice in choices]
            return Candidates(prefix, rows, len(prefix), tail)
        bos = not self.template_first
        rows = [self.encoder.start(tail + choice, bos=bos) for choice in choices]
        start = 1
        if not (bos and self.encoder.tokenizer.adds_bos):
            # What all have in common, but for a token to score, where they are one.
            start = min(common_prefix(rows), *(len(row) - 1 for row in rows))
        if start == 0 and tail:  # they part in the text's own tokens: let it end where they begin
            self._settle()
            return self.candidates(choices)
        if start == 0:
            raise InvalidRequestError(
                expected="at least one token before the choices",
                got="an empty prompt",
                hint="Add text before select(...); without it nothing predicts the first token.",
            )
        return Candidates([], rows, start, tail)

    def text(self) -> str:
        """Everything said so far, the template's markers included."""
        return text_of(since(self.journal, None))

    def check_invariants(self) -> None:
        """Raise InvariantError naming the one that broke."""
        self.tokens.check_invariants()
        pieces = since(self.journal, None)
        if len(text_of(pieces)) != (self.journal.length if self.journal is not None else 0):
            raise InvariantError("C1: the journal's length is not its text's")
        constant = ""
        for piece in reversed(pieces):
            if piece.kind not in ("text", "template"):
                break
            constant = piece.text + constant
        if not self.rewritten and not constant.endswith(self.pending):
            raise InvariantError("C2: pending text that is not the journal's end", got=self.pending)
        bos = self.encoder.tokenizer.bos_id
        sampled = sum((piece.ids or ()).count(bos) for piece in pieces if bos is not None)
        if bos is not None and self.tokens.to_list()[1:].count(bos) > sampled:
            raise InvariantError("C3: BOS stands after the first token")

    # -- inside ------------------------------------------------------------------------------------

    def _write(self, piece: Piece) -> None:
        if piece.text or piece.ids:
            self.journal = Journal(self.journal, piece)

    def _settle(self, end: int | None = None) -> None:
        """Encode the pending text up to `end`; all of it stays pending if the encoder raises."""
        text = self.pending[:end]
        if text:
            if len(self.tokens):
                ids = self.encoder.run(text)
            else:
                ids = self.encoder.start(text, bos=not self.template_first)
            self.tokens = self.tokens.extend(ids)
            self.pending = self.pending[len(text) :]

    def _begin(self) -> None:
        """BOS where nothing stands before what is generated."""
        if not len(self.tokens):
            self.tokens = self.tokens.extend(self.encoder.start("", bos=not self.template_first))

    def _pend(self, text: str, *, from_template: bool) -> None:
        if self.template_first is None:
            self.template_first = from_template
        self.pending += text

    def _settle_template(self, text: str) -> None:
        for part in self.encoder.template(text):
            if isinstance(part, str):
                self._pend(part, from_template=True)
                continue
            self._settle()
            self.template_first = True if self.template_first is None else self.template_first
            if part == self.encoder.tokenizer.bos_id and len(self.tokens):
                continue
            self.tokens = self.tokens.extend([part])
