"""Chat roles by the model's own template, and the probe that tells how it may be used.

A template is a program that renders a whole list of messages. Two ways of using it:

- *append*: if the rendering of messages[:k] is a prefix of the rendering of messages[:k+1], with
  contents verbatim, then a role's header and footer are constant text, which is appended.
- *render*: else (it trims, dates, drops old reasoning, or merges messages) the chat is rendered
  anew at each role's beginning and end, and the tokens sampled before are spliced in where the
  text matches (resplice.py); what does not match is reported as lost.

The probe renders sentinels in place of contents, for exactly the roles that the chat has so far,
and keeps what it finds per sequence of roles. The sentinels begin and end with blanks and, for the
assistant, hold a `<think>` part, so that trimming and dropped reasoning show. The header of an
assistant's message is the template's generation prompt.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InvalidRequestError, NotSupportedError
from .backends.base import Tokenizer
from .journal import Piece, Turn, text_of

Messages = list[dict[str, str]]
_PROBES_KEPT = 1024


@dataclass(frozen=True)
class Markup:
    """What the template writes at a role's beginning or end.

    appends: `text` may be appended. Otherwise the chat must become `rendered`, of which `text` is
    the new end as far as that can be told.
    """

    appends: bool
    text: str
    rendered: str = ""


class ChatFormat:
    """One tokenizer's chat template, probed. Threads may share it (they may probe the same twice).

    Raises NotSupportedError where the model has no template, and InvalidRequestError with the
    template's own complaint where it refuses a sequence of roles.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._probed: dict[tuple[str, ...], tuple[str, str] | None] = {}
        self._lock = threading.Lock()

    def opening(self, turns: Sequence[Turn], role: str) -> Markup:
        """What the beginning of a message of `role` writes after `turns`."""
        roles = (*_roles(turns), role)
        found = self.constant(roles)
        if found is not None:
            return Markup(True, found[0])
        messages = as_messages(turns)
        if role == "assistant":
            rendered = self.render(messages, generate=True)
            return Markup(False, _new_part(self._before(messages), rendered), rendered)
        mark = sentinel(len(messages))
        try:
            whole = self.render([*messages, {"role": role, "content": mark}])
        except InvalidRequestError:
            if role != "system":
                raise
            whole = ""
        if mark not in whole:
            if role == "system":  # written with the user's message that follows it
                return Markup(False, "", self._before(messages))
            raise InvalidRequestError(
                f"the chat template leaves out a message of role {role}",
                hint="This model knows no such role here.",
            )
        rendered = whole[: whole.rindex(mark)]
        return Markup(False, _new_part(self._before(messages), rendered), rendered)

    def closing(self, turns: Sequence[Turn], role: str, pieces: Sequence[Piece]) -> Markup:
        """What the end of the message that `pieces` make writes."""
        roles = (*_roles(turns), role)
        found = self.constant(roles)
        if found is not None:
            return Markup(True, found[1])
        content = text_of(pieces)
        messages = as_messages(turns)
        try:
            rendered = self.render([*messages, {"role": role, "content": content}])
        except InvalidRequestError:
            if role != "system":
                raise
            return Markup(False, "", self._before(messages))
        for known in (content, content.strip()):
            if known and known in rendered:
                footer = rendered[rendered.rindex(known) + len(known) :]
                return Markup(False, footer, rendered)
        return Markup(False, _new_part(self._before(messages), rendered), rendered)

    def constant(self, roles: tuple[str, ...]) -> tuple[str, str] | None:
        """Header and footer of the last of `roles`, if they are constant text; None if not."""
        with self._lock:
            known = len(roles)
            while known > 0 and roles[:known] not in self._probed:
                known -= 1
            found = self._probed[roles[:known]] if known else ("", "")
        for length in range(known + 1, len(roles) + 1):
            if found is not None:  # what follows a message that is not appended is not either
                found = self._probe(roles[:length])
            self._keep(roles[:length], found)
        return found

    def _keep(self, roles: tuple[str, ...], found: tuple[str, str] | None) -> None:
        """Remember a probe, and forget the oldest: a long chat needs the one before its own."""
        with self._lock:
            while len(self._probed) >= _PROBES_KEPT:
                del self._probed[next(iter(self._probed))]
            self._probed[roles] = found

    def literals(self, messages: Sequence[Turn]) -> list[str | None]:
        """The template's own text before, between and after the contents (one more than messages).

        A blank content stays as it is, since templates ask whether there is any, and its literal is
        empty. None stands before a content that the template leaves out or rewrites.
        """
        marks = [sentinel(at) if m.text.strip() else m.text for at, m in enumerate(messages)]
        text = self.render(
            [{"role": m.role or "", "content": k} for m, k in zip(messages, marks, strict=True)]
        )
        found: list[str | None] = []
        for mark in marks:
            if not mark.strip():
                found.append("")
                continue
            before, met, rest = text.partition(mark)
            found.append(before if met else None)
            text = rest if met else text
        return [*found, text]

    def render(self, messages: Messages, *, generate: bool = False) -> str:
        """The template's rendering."""
        if self.tokenizer.chat_template is None:
            raise NotSupportedError(
                "this model has no chat template, so it has no roles",
                hint="Write the turns as text, or load the model's instruct version.",
            )
        return self.tokenizer.render_chat(messages, add_generation_prompt=generate)

    def _probe(self, roles: tuple[str, ...]) -> tuple[str, str] | None:
        messages = [{"role": role, "content": _probing(role, at)} for at, role in enumerate(roles)]
        content = messages[-1]["content"]
        try:
            whole = self.render(messages)
            before = self._before(messages[:-1])
            assistant = roles[-1] == "assistant"
            generation = self.render(messages[:-1], generate=True) if assistant else ""
        except InvalidRequestError:
            return None  # refused, or accepted as a whole but not its beginning
        if not whole.startswith(before) or whole.count(content) != 1:
            return None
        header, _, footer = whole[len(before) :].partition(content)
        if assistant and generation != before + header:
            return None
        return header, footer

    def _before(self, messages: Messages) -> str:
        return self.render(messages) if messages else ""


def sentinel(number: int) -> str:
    """A content that no template writes itself and that tokenises as plain text."""
    return f"Sentinel{number}Q"


def as_messages(turns: Sequence[Turn]) -> Messages:
    """The messages among the turns."""
    return [{"role": t.role, "content": t.text} for t in turns if t.role is not None]


def _probing(role: str, number: int) -> str:
    thought = f"<think>\n{sentinel(number)}T\n</think>\n\n" if role == "assistant" else ""
    return f" \n{thought}{sentinel(number)}\n "


def _roles(turns: Sequence[Turn]) -> tuple[str, ...]:
    return tuple(turn.role for turn in turns if turn.role is not None)


def _new_part(before: str, after: str) -> str:
    """What `after` adds: behind `before`, or behind the longest end of it that `after` holds."""
    if after.startswith(before):
        return after[len(before) :]
    length = len(before)
    shared = bisect.bisect(range(1, length + 1), False, key=lambda n: before[-n:] not in after)
    return after[after.rindex(before[length - shared :]) + shared :] if shared else after
