"""The many ways in which a request names a grammar, as one `GrammarSpec`.

OpenAI's `response_format`; vLLM's `structured_outputs` and `guided_*`; SGLang's `regex`, `ebnf` and
`json_schema`; llama.cpp's `grammar`; and `choice`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...errors import EspalierError, GrammarError, InvalidRequestError
from ...grammar.spec import GrammarSpec
from ...grammar.terms import inside
from .fields import Fields, Many, Objects, Refusals
from .structural_format import StructuralFormat, check_parts, grammar_of_format

JSON_OBJECT = '{"type": "object"}'


class JsonSchemaFormat(Fields):
    """strict: true (the default here) refuses what cannot be enforced exactly; false enforces the
    rest. name: OpenAI wants one; it says nothing here."""

    name: Annotated[str, Field(max_length=256)] | None = None
    description: str | None = None
    schema_: dict[str, Any] | bool | None = Field(default=None, alias="schema")
    strict: bool | None = None


class StructureTag(Fields):
    """SGLang's: what stands between `begin` and `end`."""

    begin: str
    schema_: dict[str, Any] | bool = Field(alias="schema")
    end: str


class ResponseFormat(Fields):
    """text, json_object (with a `schema`, as llama.cpp has it, or without), json_schema, or
    structural_tag with `structures` and `triggers`, or with `format`."""

    type: Literal["text", "json_object", "json_schema", "structural_tag"]
    schema_: dict[str, Any] | bool | None = Field(default=None, alias="schema")
    json_schema: JsonSchemaFormat | None = None
    structures: Objects[StructureTag] | None = None
    triggers: Many[str] | None = None
    format: StructuralFormat | None = None

    @model_validator(mode="before")
    @classmethod
    def _bounded(cls, data: Any) -> Any:
        check_parts([data])
        return data


class StructuredOutputs(Fields):
    """vLLM's: one of the first six."""

    json_: dict[str, Any] | str | bool | None = Field(default=None, alias="json")
    regex: str | None = None
    choice: Many[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None
    structural_tag: str | None = None
    disable_any_whitespace: bool | None = None

    refused: ClassVar[Refusals] = {
        **Fields.refused,
        "disable_fallback": ((None, True, False), "there is one backend"),
        "disable_additional_properties": ((None, False), "say additionalProperties: false"),
        "whitespace_pattern": ((None,), "leave it out"),
    }


class StructuredFields(BaseModel):
    """A grammar, in one of the spellings."""

    model_config = ConfigDict(extra="forbid", strict=True)

    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: dict[str, Any] | str | bool | None = None
    guided_regex: str | None = None
    guided_choice: Many[str] | None = None
    guided_grammar: str | None = None
    regex: str | None = None
    ebnf: str | None = None
    grammar: str | None = None
    choice: Many[str] | None = None
    json_schema: dict[str, Any] | str | bool | None = None
    structural_tag: str | None = None


Parts = tuple[tuple[str, str], ...]


class AskedGrammar(NamedTuple):
    """A grammar, and the field that asks for it. parts: what stands in the request for the places
    that errors name, by what these begin with; without any, all of it is the field."""

    field: str
    spec: GrammarSpec
    parts: Parts = ()

    def within(self, spec: GrammarSpec, place: str) -> AskedGrammar:
        """A grammar that has this one at a place."""
        return AskedGrammar(self.field, spec, self.at(place))

    def at(self, place: str) -> Parts:
        """Its parts, in a grammar that has it at a place."""
        return tuple((inside(place, at), path) for at, path in self.parts or (("", self.field),))

    def blamed(self, error: EspalierError) -> str:
        """The part of the request that is wrong; the error's place becomes one in the request."""
        where, path = error.where or "", self.field
        for place, found in self.parts or (("", self.field),):
            if where.startswith(place):
                where, path = where[len(place) :].removeprefix(", "), found
                break
        error.where = inside(path, where)
        return re.split("#|, ", error.where, maxsplit=1)[0]


def grammar_of(asked: StructuredFields, most_chars: int) -> AskedGrammar | None:
    """The grammar that is asked for; None for free text. Raises InvalidRequestError for two of
    them, and for one of more than `most_chars` characters."""
    found = list(_asked(asked))
    if len(found) > 1:
        raise InvalidRequestError(
            expected="one grammar",
            got=" and ".join(one.field for one in found),
            where=found[1].field,
        )
    for one in found:
        check_size(one.spec, one.field, most_chars)
        return one
    return None


def _asked(asked: StructuredFields) -> Iterator[AskedGrammar]:
    """All grammars that are asked for."""
    if asked.response_format is not None:
        yield from _of_format(asked.response_format)
    if asked.structured_outputs is not None:
        yield from _of_structured(asked.structured_outputs)
    for names, make in _SPELLINGS:
        for name in names:
            if (given := getattr(asked, name)) is not None:
                yield _made(name, make, given)
    if asked.structural_tag is not None:
        yield _tags_of_text(asked.structural_tag, "structural_tag")


_SPELLINGS: tuple[tuple[tuple[str, ...], Callable[[Any], GrammarSpec]], ...] = (
    (("guided_json", "json_schema"), GrammarSpec.json_schema),
    (("guided_regex", "regex"), GrammarSpec.regex),
    (("guided_choice", "choice"), GrammarSpec.choices),
    (("guided_grammar", "ebnf", "grammar"), GrammarSpec.ebnf),
)


def _made(field: str, make: Callable[[Any], GrammarSpec], given: Any) -> AskedGrammar:
    """The grammar that a field asks for. Raises GrammarError, at the field, for what is none."""
    try:
        return AskedGrammar(field, make(given))
    except GrammarError as error:
        error.where = field
        raise


def check_size(spec: GrammarSpec, where: str, most_chars: int) -> None:
    """Raise InvalidRequestError for a grammar that is too long."""
    if spec.size > most_chars:
        raise InvalidRequestError(
            expected=f"a grammar of at most {most_chars:,} characters",
            got=f"{spec.size:,}",
            where=where,
        )


def _of_format(asked: ResponseFormat) -> Iterator[AskedGrammar]:
    field = "response_format"
    for name, kind in _OF_KIND.items():
        if getattr(asked, name) is not None and asked.type != kind:
            raise InvalidRequestError(
                expected=f"type {kind!r} beside it",
                got=repr(asked.type),
                where=f"{field}.{name.rstrip('_')}",
            )
    if asked.type == "json_object":
        schema = JSON_OBJECT if asked.schema_ is None else asked.schema_
        yield AskedGrammar(field, GrammarSpec.json_schema(schema), (("", f"{field}.schema"),))
    elif asked.type == "json_schema":
        if asked.json_schema is None or asked.json_schema.schema_ is None:
            raise InvalidRequestError(expected="a schema", where=f"{field}.json_schema")
        lenient = asked.json_schema.strict is False
        spec = GrammarSpec.json_schema(asked.json_schema.schema_, lenient=lenient)
        yield AskedGrammar(field, spec, (("", f"{field}.json_schema.schema"),))
    elif asked.type == "structural_tag":
        yield _of_tags(asked, field)


_OF_KIND = {
    "schema_": "json_object",
    "json_schema": "json_schema",
    "structures": "structural_tag",
    "triggers": "structural_tag",
    "format": "structural_tag",
}


def _of_tags(asked: ResponseFormat, field: str) -> AskedGrammar:
    if asked.format is not None:
        if asked.structures is not None or asked.triggers is not None:
            raise InvalidRequestError(
                expected="structures and triggers, or format", where=f"{field}.format"
            )
        place = f"{field}.format"
        return AskedGrammar(field, grammar_of_format(asked.format, place), (("", place),))
    structures = asked.structures or []
    tags = [{"begin": tag.begin, "schema": tag.schema_, "end": tag.end} for tag in structures]
    try:
        spec = GrammarSpec.structural_tag(tags, asked.triggers or [])
    except GrammarError as error:
        error.where = inside(f"{field}.", (error.where or "").replace("tags[", "structures[", 1))
        raise
    schemas = tuple((f"tags[{n}]", f"{field}.structures[{n}].schema") for n in range(len(tags)))
    return AskedGrammar(field, spec, schemas)


def _of_structured(asked: StructuredOutputs) -> Iterator[AskedGrammar]:
    field = "structured_outputs"
    whitespace: Any = "compact" if asked.disable_any_whitespace else "json"
    if asked.json_ is not None:
        make_json = partial(GrammarSpec.json_schema, whitespace=whitespace)
        yield _made(f"{field}.json", make_json, asked.json_)
    for name, make in _STRUCTURED.items():
        if (given := getattr(asked, name)) is not None:
            yield _made(f"{field}.{name}", make, given)
    if asked.json_object:
        spec = GrammarSpec.json_schema(JSON_OBJECT, whitespace=whitespace)
        yield AskedGrammar(f"{field}.json_object", spec)
    if asked.structural_tag is not None:
        yield _tags_of_text(asked.structural_tag, f"{field}.structural_tag")


_STRUCTURED: dict[str, Callable[[Any], GrammarSpec]] = {
    "regex": GrammarSpec.regex,
    "choice": GrammarSpec.choices,
    "grammar": GrammarSpec.ebnf,
}


def _tags_of_text(text: str, field: str) -> AskedGrammar:
    try:
        data = json.loads(text)
        check_parts([data])
        said = ResponseFormat.model_validate(data)
    except InvalidRequestError:
        raise
    except (ValueError, RecursionError):
        said = None
    if said is None or said.type != "structural_tag":
        raise InvalidRequestError(
            expected='JSON of {"type": "structural_tag", ...}, as response_format takes it',
            where=field,
        )
    return _of_tags(said, field)
