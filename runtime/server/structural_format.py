"""Structural tags in the form of a `format`: texts, grammars and tags, put together."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from ...errors import InvalidRequestError
from ...grammar import terms as t
from ...grammar.spec import GrammarSpec
from .fields import Fields, Many, Refusals

_ANY = r"[\s\S]*"


class _Format(Fields):
    refused: ClassVar[Refusals] = {"excludes": ((None, []), "leave it out")}


class ConstString(_Format):
    type: Literal["const_string"]
    value: str


class AnyText(_Format):
    """Inside a tag, up to the first of its ends."""

    type: Literal["any_text"]


class JsonSchema(_Format):
    type: Literal["json_schema"]
    json_schema: dict[str, Any] | bool

    refused: ClassVar[Refusals] = {"style": ((None, "json"), "leave it out")}


class Regex(_Format):
    type: Literal["regex"]
    pattern: str


class Grammar(_Format):
    type: Literal["grammar"]
    grammar: str


class SequenceOf(_Format):
    type: Literal["sequence"]
    elements: Many[StructuralFormat]


class OneOf(_Format):
    type: Literal["or"]
    elements: Many[StructuralFormat]


class TagFormat(_Format):
    """end: one of several, where they are a list."""

    type: Literal["tag"]
    begin: str
    content: StructuralFormat
    end: str | Many[str]


class TriggeredTags(_Format):
    """Free text, in which tags follow where a trigger stands."""

    type: Literal["triggered_tags"]
    triggers: Many[str]
    tags: Many[TagFormat]
    at_least_one: bool = False
    stop_after_first: bool = False


class TagsWithSeparator(_Format):
    type: Literal["tags_with_separator"]
    tags: Many[TagFormat]
    separator: str
    at_least_one: bool = False
    stop_after_first: bool = False


StructuralFormat = Annotated[
    ConstString
    | AnyText
    | JsonSchema
    | Regex
    | Grammar
    | SequenceOf
    | OneOf
    | TagFormat
    | TriggeredTags
    | TagsWithSeparator,
    Field(discriminator="type"),
]
for _kind in (SequenceOf, OneOf, TagFormat):
    _kind.model_rebuild()


def grammar_of_format(asked: StructuralFormat) -> GrammarSpec:
    """Raises InvalidRequestError or GrammarError, naming what is wrong."""
    return t.grammar(_term(asked))


def _term(asked: Any) -> t.Term:
    if isinstance(asked, ConstString):
        return t.text(asked.value)
    if isinstance(asked, AnyText):
        return t.regex(_ANY)
    if isinstance(asked, JsonSchema):
        return t.Json(GrammarSpec.json_schema(asked.json_schema))
    if isinstance(asked, Regex):
        return t.Json(GrammarSpec.regex(asked.pattern))
    if isinstance(asked, Grammar):
        return t.Json(GrammarSpec.ebnf(asked.grammar))
    if isinstance(asked, SequenceOf):
        return t.sequence(*map(_term, _some(asked.elements, "elements")))
    if isinstance(asked, OneOf):
        return t.choice(*map(_term, _some(asked.elements, "elements")))
    if isinstance(asked, TagFormat):
        return asked.begin + _behind_begin(asked)
    if isinstance(asked, TriggeredTags):
        return t.Json(_triggered(asked))
    assert isinstance(asked, TagsWithSeparator)
    tag = t.choice(*map(_term, _some(asked.tags, "tags")))
    tags = tag if asked.stop_after_first else tag + t.repeat(asked.separator + tag)
    return tags if asked.at_least_one else t.optional(tags)


def _behind_begin(tag: TagFormat) -> t.Term:
    """A tag's content and end."""
    ends = [tag.end] if isinstance(tag.end, str) else list(_some(tag.end, "end"))
    if not isinstance(tag.content, AnyText):
        return _term(tag.content) + t.choice(*ends)
    if not all(ends):
        return t.regex(_ANY)  # it ends with the text
    nothing = GrammarSpec.choices([""])
    tags = [{"begin": end, "content": nothing, "end": ""} for end in ends]
    return t.Json(GrammarSpec.structural_tag(tags, ends, at_least_one=True, stop_after_first=True))


def _triggered(asked: TriggeredTags) -> GrammarSpec:
    tags = [
        {"begin": tag.begin, "content": t.grammar(_behind_begin(tag)), "end": ""}
        for tag in asked.tags
    ]
    return GrammarSpec.structural_tag(
        tags,
        asked.triggers,
        at_least_one=asked.at_least_one,
        stop_after_first=asked.stop_after_first,
    )


def _some(items: Any, name: str) -> Any:
    if not items:
        raise InvalidRequestError(
            expected=f"at least one of {name}", got="an empty list", where="response_format.format"
        )
    return items
