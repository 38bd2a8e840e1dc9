"""Dialects: what `$schema` says about the meaning of a schema's keywords.

The drafts from 3 to 2020-12 are known by name. A dialect of somebody's own is a metaschema in the
registry, whose `$vocabulary` lists vocabularies of draft 2020-12 or 2019-09: keywords of those that
it does not list mean nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import GrammarError
from .json_text import read

_KNOWN = re.compile(
    r"https?://json-schema\.org/(draft-0[3-7]|draft/20(19-09|20-12))/?(hyper-)?schema#?$|https?://json-schema\.org/schema#?$"
)
_VOCABULARY = re.compile(r"https?://json-schema\.org/draft/20(?:19-09|20-12)/vocab/(.*)$")
VOCABULARIES: dict[str, tuple[str, ...]] = {
    "core": (
        *("$schema", "$id", "$ref", "$anchor", "$dynamicRef", "$dynamicAnchor", "$defs"),
        *("$vocabulary", "$comment"),
    ),
    "applicator": (
        *("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"),
        *("prefixItems", "items", "contains", "properties", "patternProperties"),
        *("additionalProperties", "propertyNames"),
    ),
    "unevaluated": ("unevaluatedItems", "unevaluatedProperties"),
    "validation": (
        *("type", "enum", "const", "multipleOf", "maximum", "exclusiveMaximum", "minimum"),
        *("exclusiveMinimum", "maxLength", "minLength", "pattern", "maxItems", "minItems"),
        *("uniqueItems", "maxContains", "minContains", "maxProperties", "minProperties"),
        *("required", "dependentRequired"),
    ),
    "meta-data": (
        *("title", "description", "default", "deprecated", "readOnly", "writeOnly", "examples"),
    ),
    "format-annotation": ("format",),
    "content": ("contentEncoding", "contentMediaType", "contentSchema"),
}
"""The keywords of draft 2020-12 by vocabulary."""
_OTHERS = {"format": "format-annotation", "format-assertion": "format-annotation"}


@dataclass(frozen=True)
class Dialect:
    """legacy: draft 7 or older. without: keywords that mean nothing."""

    legacy: bool = False
    without: frozenset[str] = frozenset()

    def kept(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema without keywords that mean nothing."""
        if self.without.isdisjoint(schema):
            return schema
        return {name: value for name, value in schema.items() if name not in self.without}


LATEST = Dialect()


def dialect_of(
    schema: dict[str, Any], location: str, around: Dialect, registry: Mapping[str, str]
) -> Dialect:
    """The dialect of a resource: its own, or that of what stands around it."""
    name = schema.get("$schema")
    if not isinstance(name, str):
        return around
    if _KNOWN.match(name):
        return Dialect(legacy="/draft-0" in name)
    text = registry.get(name.removesuffix("#"))
    if text is None:
        raise GrammarError(
            f"unknown dialect {name!r}",
            where=f"{location}/$schema",
            hint="Leave out `$schema`, or give its metaschema in registry={uri: schema}",
        )
    meta = read(text, f"{name}#")
    listed = meta.get("$vocabulary", {}) if isinstance(meta, dict) else {}
    return Dialect(without=_missing(listed, name)) if listed else LATEST


def _missing(listed: Any, name: str) -> frozenset[str]:
    """The keywords of the known vocabularies that are not listed."""
    if not isinstance(listed, dict):
        where = f"{name}#/$vocabulary"
        raise GrammarError(expected="an object", got=repr(listed)[:60], where=where)
    used: set[str] = set()
    for uri, needed in listed.items():
        found = _VOCABULARY.match(uri)
        vocabulary = _OTHERS.get(found[1], found[1]) if found else ""
        if vocabulary in VOCABULARIES:
            used.add(vocabulary)
        elif needed is not False:
            raise GrammarError(
                f"the vocabulary {uri!r} is required, and not known",
                where=f"{name}#/$vocabulary",
            )
    if any("2019-09" in uri for uri in listed) and "applicator" in used:
        used.add("unevaluated")  # a vocabulary of its own only since 2020-12
    return frozenset(
        keyword
        for vocabulary, keywords in VOCABULARIES.items()
        if vocabulary not in used
        for keyword in keywords
        if vocabulary != "core"
    )
