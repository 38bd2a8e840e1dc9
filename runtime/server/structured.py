"""The many ways in which a request names a grammar, as one `GrammarSpec`.

OpenAI's `response_format`; vLLM's `structured_outputs` and `guided_*`; SGLang's `regex`, `ebnf` and
`json_schema`; llama.cpp's `grammar`; and `choice`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...errors import GrammarError, InvalidRequestError
from ...grammar.spec import GrammarSpec
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


class AskedGrammar(NamedTuple):
    """A grammar, and the field that asks for it. parts: what of it other fields ask for, by the
    place that errors name first."""

    field: str
    spec: GrammarSpec
    parts: tuple[tuple[str, str], ...] = ()

    def within(self, spec: GrammarSpec, place: str) -> AskedGrammar:
        """A grammar that has this one at a place."""
        parts = self.parts or (("", self.field),)
        return AskedGrammar(self.field, spec, tuple((place + at, by) for at, by in parts))

    def blamed(self, error: GrammarError) -> str:
        """The field that asks for what is wrong; the error's place becomes one inside of that."""
        for place, field in self.parts:
            if (error.where or "").startswith(place):
                error.where = (error.where or "")[len(place) :] or None
                return field
        return self.field


def grammar_of(asked: StructuredFields, most_chars: int) -> AskedGrammar | None:
    """The grammar that is asked for; None for free text. Raises InvalidRequestError for two of
    them, and for one of more than `most_chars` characters."""
    found: dict[str, GrammarSpec] = {}
    if asked.response_format is not None:
        _add(found, "response_format", _of_format(asked.response_format))
    if asked.structured_outputs is not None:
        for name, spec in _of_structured(asked.structured_outputs).items():
            _add(found, f"structured_outputs.{name}", spec)
    for name in ("guided_json", "json_schema"):
        schema = getattr(asked, name)
        if schema is not None:
            _add(found, name, GrammarSpec.json_schema(schema))
    for name in ("guided_regex", "regex"):
        if (pattern := getattr(asked, name)) is not None:
            _add(found, name, GrammarSpec.regex(pattern))
    for name in ("guided_choice", "choice"):
        if (choices := getattr(asked, name)) is not None:
            _add(found, name, GrammarSpec.choices(choices))
    for name in ("guided_grammar", "ebnf", "grammar"):
        if (text := getattr(asked, name)) is not None:
            _add(found, name, GrammarSpec.ebnf(text))
    if asked.structural_tag is not None:
        spec = _tags_of_text(asked.structural_tag, "structural_tag")
        _add(found, "structural_tag", spec)
    if len(found) > 1:
        raise InvalidRequestError(
            expected="one grammar", got=" and ".join(found), where=list(found)[1]
        )
    for name, spec in found.items():
        check_size(spec, name, most_chars)
        return AskedGrammar(name, spec)
    return None


def check_size(spec: GrammarSpec, where: str, most_chars: int) -> None:
    """Raise InvalidRequestError for a grammar that is too long."""
    if spec.size > most_chars:
        raise InvalidRequestError(
            expected=f"a grammar of at most {most_chars:,} characters",
            got=f"{spec.size:,}",
            where=where,
        )


def _add(found: dict[str, GrammarSpec], name: str, spec: GrammarSpec | None) -> None:
    if spec is not None:
        found[name] = spec


def _of_format(asked: ResponseFormat) -> GrammarSpec | None:
    for name, kind in _OF_KIND.items():
        if getattr(asked, name) is not None and asked.type != kind:
            raise InvalidRequestError(
                expected=f"type {kind!r} beside it",
                got=repr(asked.type),
                where=f"response_format.{name.rstrip('_')}",
            )
    if asked.type == "json_object":
        return GrammarSpec.json_schema(JSON_OBJECT if asked.schema_ is None else asked.schema_)
    if asked.type == "json_schema":
        if asked.json_schema is None or asked.json_schema.schema_ is None:
            raise InvalidRequestError(expected="a schema", where="response_format.json_schema")
        lenient = asked.json_schema.strict is False
        return GrammarSpec.json_schema(asked.json_schema.schema_, lenient=lenient)
    if asked.type == "structural_tag":
        return _of_tags(asked)
    return None


_OF_KIND = {
    "schema_": "json_object",
    "json_schema": "json_schema",
    "structures": "structural_tag",
    "triggers": "structural_tag",
    "format": "structural_tag",
}


def _of_tags(asked: ResponseFormat) -> GrammarSpec:
    if asked.format is None:
        structures = asked.structures or []
        tags = [{"begin": tag.begin, "schema": tag.schema_, "end": tag.end} for tag in structures]
        return GrammarSpec.structural_tag(tags, asked.triggers or [])
    if asked.structures is not None or asked.triggers is not None:
        raise InvalidRequestError(
            expected="structures and triggers, or format", where="response_format.format"
        )
    return grammar_of_format(asked.format)


def _of_structured(asked: StructuredOutputs) -> dict[str, GrammarSpec]:
    found: dict[str, GrammarSpec] = {}
    whitespace: Any = "compact" if asked.disable_any_whitespace else "json"
    if asked.json_ is not None:
        found["json"] = GrammarSpec.json_schema(asked.json_, whitespace=whitespace)
    if asked.regex is not None:
        found["regex"] = GrammarSpec.regex(asked.regex)
    if asked.choice is not None:
        found["choice"] = GrammarSpec.choices(asked.choice)
    if asked.grammar is not None:
        found["grammar"] = GrammarSpec.ebnf(asked.grammar)
    if asked.json_object:
        found["json_object"] = GrammarSpec.json_schema(JSON_OBJECT, whitespace=whitespace)
    if asked.structural_tag is not None:
        found["structural_tag"] = _tags_of_text(
            asked.structural_tag, "structured_outputs.structural_tag"
        )
    return found


def _tags_of_text(text: str, where: str) -> GrammarSpec:
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
            where=where,
        )
    return _of_tags(said)
