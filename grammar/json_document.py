"""A schema document: where subschemas lie, and what a `$ref` in them means.

Every subschema is named by its location, a JSON pointer in fragment form (`#/properties/a`). The
document is never changed; locations are resolved when they are asked for. `$id`s and anchors are
indexed by one walk over the places where the specification has subschemas, so that an `$id` inside
an `enum` is no base URI.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urljoin

from ..errors import GrammarError

_MAX_NODES = 200_000
_DIALECT = re.compile(
    r"https?://json-schema\.org/(draft-0[3-7]|draft/20(19-09|20-12))/?(hyper-)?schema#?$|https?://json-schema\.org/schema#?$"
)
_ONE = (
    *("additionalProperties", "additionalItems", "propertyNames", "contains", "not", "if", "then"),
    *("else", "items", "unevaluatedItems", "unevaluatedProperties", "contentSchema"),
)
_LIST = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_MAP = (
    *("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"),
    "dependencies",
)
"""Where the specification has subschemas: one, a list of them, or by name."""


class Document:
    """One schema document, read-only.

    legacy: the document says it is of draft 7 or older, where `$ref` hides its siblings.
    Raises GrammarError from every method for a location or reference that does not exist.
    """

    def __init__(self, root: Any) -> None:
        self._root = root
        dialect = root.get("$schema") if isinstance(root, dict) else None
        if isinstance(dialect, str) and not _DIALECT.match(dialect):
            raise GrammarError(
                f"unknown dialect {dialect!r}", where="#/$schema", hint="Leave out `$schema`"
            )
        self.legacy = isinstance(dialect, str) and "/draft-0" in dialect
        self._bases: dict[str, str] = {}
        self._resources: dict[str, str] = {"": "#"}
        self._anchors: dict[tuple[str, str], str] = {}
        self._keywords: set[str] = set()
        self._index()

    def at(self, location: str) -> Any:
        """The schema at a location: a dict or a bool."""
        here = self._root
        for token in _tokens(location):
            if isinstance(here, dict) and token in here:
                here = here[token]
            elif isinstance(here, list) and token.isdecimal() and int(token) < len(here):
                here = here[int(token)]
            else:
                raise GrammarError("no such place in the schema", where=location)
        if not isinstance(here, dict | bool):
            raise GrammarError(
                expected="a schema (an object or a boolean)",
                got=_short(here),
                where=location,
            )
        return here

    def mentions(self, *keywords: str) -> bool:
        """Whether some subschema has one of the keywords."""
        return not self._keywords.isdisjoint(keywords)

    def exists(self, location: str) -> bool:
        """Whether a schema stands at a location."""
        try:
            self.at(location)
        except GrammarError:
            return False
        return True

    def target(self, location: str, reference: Any) -> str:
        """The location that a `$ref` in the schema at `location` points to."""
        if not isinstance(reference, str):
            raise GrammarError(expected="a string", got=_short(reference), where=f"{location}/$ref")
        base = self._base_of(location)
        uri = base + reference if reference.startswith("#") else urljoin(base, reference)
        resource, _, fragment = uri.partition("#")
        fragment = unquote(fragment)
        home = self._resources.get(resource)
        if home is None:
            raise GrammarError(
                f"the reference {reference!r} leads out of the schema",
                where=f"{location}/$ref",
                hint="Put the referenced schema under $defs",
            )
        if not fragment or fragment.startswith("/"):
            found: str | None = home + fragment
        else:
            found = self._anchors.get((resource, fragment))
        if found is None:
            raise GrammarError(f"no anchor {fragment!r}", where=f"{location}/$ref")
        try:
            self.at(found)
        except GrammarError as error:
            raise GrammarError(
                f"the reference {reference!r} leads nowhere",
                expected=error.expected,
                got=error.got,
                where=f"{location}/$ref",
            ) from error
        return found

    def _base_of(self, location: str) -> str:
        base = self._bases.get("#", "")
        if len(self._bases) <= 1:
            return base
        here = "#"
        for token in location.split("/")[1:]:
            here += "/" + token
            base = self._bases.get(here, base)
        return base

    def _index(self) -> None:
        todo: list[tuple[str, Any, str]] = [("#", self._root, "")]
        seen = 0
        while todo:
            location, schema, base = todo.pop()
            seen += 1
            if seen > _MAX_NODES:
                raise GrammarError("schema too large", expected=f"at most {_MAX_NODES} subschemas")
            if not isinstance(schema, dict):
                continue
            self._keywords.update(schema)
            base = self._name(location, schema, base)
            todo.extend((place, child, base) for place, child in _children(location, schema))

    def _name(self, location: str, schema: dict[str, Any], base: str) -> str:
        """Note the schema's `$id` and anchors; returns its base URI."""
        if self.legacy and "$ref" in schema:
            return base
        identity = schema.get("$id", schema.get("id") if self.legacy else None)
        if isinstance(identity, str):
            resource, _, fragment = identity.partition("#")
            if resource:
                base = urljoin(base, resource)
                self._bases[location] = base
                self._resources.setdefault(base, location)
            if fragment:
                self._anchors.setdefault((base, fragment), location)
        for keyword in ("$anchor", "$dynamicAnchor"):
            anchor = schema.get(keyword)
            if isinstance(anchor, str):
                self._anchors.setdefault((base, anchor), location)
        return base


def child(location: str, *tokens: str | int) -> str:
    """The location of a part of the schema at `location`."""
    return "/".join([location, *(escape(str(token)) for token in tokens)])


def escape(token: str) -> str:
    return token.replace("~", "~0").replace("/", "~1")


def _tokens(location: str) -> list[str]:
    return [token.replace("~1", "/").replace("~0", "~") for token in location.split("/")[1:]]


def _children(location: str, schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for keyword in _ONE:
        if keyword in schema:
            yield child(location, keyword), schema[keyword]
    for keyword in _LIST:
        if isinstance(schema.get(keyword), list):
            for index, item in enumerate(schema[keyword]):
                yield child(location, keyword, index), item
    for keyword in _MAP:
        if isinstance(schema.get(keyword), dict):
            for name, item in schema[keyword].items():
                yield child(location, keyword, name), item


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
