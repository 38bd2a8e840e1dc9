"""Structural tags: free text, in which every tag holds what its grammar says.

A trigger is a text that the model may write at any time; where it first stands, one of the tags
that begin with it must follow, to its end, and after that the text is free again. Before a trigger,
and where none comes, nothing is constrained: the grammar is dormant.

The free text up to a trigger, the trigger included, is one terminal: all texts that end in it and
hold no trigger before. So nothing hangs on how the trigger is cut into tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ..errors import GrammarError
from .charsets import ANY
from .ir import (
    Alt,
    And,
    Cat,
    Chars,
    Choice,
    Expr,
    GrammarIR,
    Lit,
    Loop,
    Not,
    Regular,
    Rep,
    Seq,
    Term,
)
from .spec import GrammarSpec, encoded
from .terms import Building

_SOME = Rep(Chars(ANY), 0, None)


class Tag(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """begin, what `content` says, end."""

    begin: str
    content: GrammarSpec
    end: str


class Tags(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a spec of kind "structural_tag" says, as JSON. at_least_one: the text has a tag.
    stop_after_first: it ends with its first one."""

    tags: tuple[Tag, ...]
    triggers: tuple[str, ...]
    at_least_one: bool = False
    stop_after_first: bool = False


def source_of(
    tags: Any, triggers: Any, *, at_least_one: bool = False, stop_after_first: bool = False
) -> str:
    """The JSON of `Tags`. Raises GrammarError, naming the tag or trigger that is wrong."""
    made = []
    for number, tag in enumerate(tags):
        where = f"tags[{number}]"
        keys = set(tag) if isinstance(tag, dict) else set()
        if keys not in ({"begin", "end", "schema"}, {"begin", "end", "content"}):
            raise GrammarError(
                expected='{"begin": ..., "schema" or "content": ..., "end": ...}',
                got=repr(tag)[:200],
                where=where,
            )
        content: Any = tag["content"] if "content" in tag else tag["schema"]
        if not isinstance(content, GrammarSpec):
            content = GrammarSpec.json_schema(content)
        for key in ("begin", "end"):
            if not isinstance(tag[key], str):
                raise GrammarError(
                    expected="a string", got=repr(tag[key])[:80], where=f"{where}.{key}"
                )
        made.append(Tag(tag["begin"], content, tag["end"]))
    said = Tags(tuple(made), tuple(triggers), at_least_one, stop_after_first)
    check([tag.begin for tag in said.tags], said.triggers)
    return encoded("structural_tag", said)


def check(begins: Sequence[str], triggers: Sequence[str]) -> None:
    """Raise GrammarError, naming the tag or trigger that does not fit the others."""
    if not begins or not triggers:
        raise GrammarError(expected="at least one tag and one trigger", where="structural_tag")
    for number, trigger in enumerate(triggers):
        where = f"triggers[{number}]"
        if not isinstance(trigger, str) or not trigger:
            raise GrammarError(expected="a trigger of some text", got=repr(trigger), where=where)
        for other in triggers[:number]:
            if trigger in other or other in trigger:
                raise GrammarError(
                    expected="triggers of which none is part of another",
                    got=f"{other!r} and {trigger!r}",
                    where=where,
                )
        if not any(begin.startswith(trigger) for begin in begins):
            raise GrammarError(
                expected="a tag that begins with the trigger", got=repr(trigger), where=where
            )
    for number, begin in enumerate(begins):
        if not begin.startswith(tuple(triggers)):
            raise GrammarError(
                expected="a begin that starts with one of the triggers",
                got=repr(begin),
                where=f"tags[{number}].begin",
            )


def structural_ir(source: str) -> GrammarIR:
    """The grammar that a spec's source says. Raises GrammarError."""
    try:
        said = msgspec.json.decode(source, type=Tags)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise GrammarError(
            "no structural tags as JSON", got=str(error)[:200], where="structural_tag"
        ) from None
    check([tag.begin for tag in said.tags], said.triggers)
    building = Building({})
    behind: list[tuple[str, Expr]] = []
    for number, tag in enumerate(said.tags):
        content = building.spec(tag.content, f"tags[{number}]")
        behind.append((tag.begin, Seq((content, Term(Lit(tag.end))))))
    start = tagged(
        behind,
        said.triggers,
        at_least_one=said.at_least_one,
        stop_after_first=said.stop_after_first,
    )
    return building.grammar(start, {})


def tagged(
    tags: Sequence[tuple[str, Expr]],
    triggers: Sequence[str],
    *,
    at_least_one: bool,
    stop_after_first: bool,
) -> Expr:
    """Free text with tags in it: of each its begin, and what follows that."""
    any_trigger = _any_of([Lit(trigger) for trigger in triggers])
    twice = Cat((_SOME, any_trigger, Chars(ANY), _SOME))  # a trigger, and more after it
    ways: list[Expr] = []
    for trigger in triggers:
        found = [
            Seq((Term(Lit(begin[len(trigger) :])), behind))
            for begin, behind in tags
            if begin.startswith(trigger)
        ]
        up_to = Term(And((Cat((_SOME, Lit(trigger))), Not(twice))))
        ways.append(Seq((up_to, found[0] if len(found) == 1 else Choice(tuple(found)))))
    way = ways[0] if len(ways) == 1 else Choice(tuple(ways))
    free = Term(Not(Cat((_SOME, any_trigger, _SOME))))
    if stop_after_first:
        return way if at_least_one else Choice((way, free))
    return Seq((Loop(way, int(at_least_one), None), free))


def _any_of(items: list[Regular]) -> Regular:
    return items[0] if len(items) == 1 else Alt(tuple(items))
