"""A schema document: where subschemas lie, and what a reference in them means.

Every subschema is named by its location: a JSON pointer in fragment form (`#/properties/a`), behind
the URI of its document where that is one of the registry's (`http://example.org/a#/properties/a`).
The documents are never changed; locations are resolved when they are asked for. `$id`s and anchors
are indexed by one walk over the places where the specification has subschemas, so that an `$id`
inside an `enum` is no base URI. Of the registry, only documents that a reference leads to are read.

Where `$dynamicRef` is used, a location also carries its dynamic scope (json_scopes), so that one
subschema that means different things on different ways to it is several locations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from typing import Any
from urllib.parse import unquote, urljoin

from ..errors import GrammarError
from .json_dialects import LATEST, Dialect, dialect_of
from .json_scopes import Scopes, plain, scope_of
from .json_text import read

_MAX_NODES = 200_000
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
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
    """One schema document and the documents of the registry that it refers to, read-only.

    registry: JSON texts of schemas by their URI. base: the schema's own URI, where it does not say.
    Raises GrammarError from every method for a location or reference that does not exist.
    """

    def __init__(
        self, root: Any, registry: Iterable[tuple[str, str]] = (), *, base: str = ""
    ) -> None:
        self._registry = dict(registry)
        self._roots: dict[str, Any] = {}
        self._bases: dict[str, str] = {}
        self._resources: dict[str, str] = {}
        self._dialects: dict[str, Dialect] = {}
        self._anchors: dict[tuple[str, str], str] = {}
        self._scopes = Scopes()
        self._keywords: set[str] = set()
        self._seen = 0
        wanted = self._index(base, root)
        while wanted:
            found: list[str] = []
            for uri in wanted:
                if uri not in self._resources:
                    found += self._load(uri)
            wanted = found

    def at(self, location: str) -> Any:
        """The schema at a location: a dict or a bool."""
        head, _, pointer = plain(location).partition("#")
        here = self._roots[head]
        for token in _tokens(pointer):
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
        return here if isinstance(here, bool) else self._dialect(location).kept(here)

    def legacy(self, location: str) -> bool:
        """Whether the schema says it is of draft 7 or older, where `$ref` hides its siblings."""
        return self._dialect(location).legacy

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

    def enter(self, location: str) -> str:
        """The location with the dynamic anchors of its resource added to its scope."""
        return self._scopes.enter(location, self._home) if self._scopes.used else location

    def target(self, location: str, reference: Any, keyword: str = "$ref") -> str:
        """The location that a reference in the schema at `location` leads to."""
        where = f"{location}/{keyword}"
        if not isinstance(reference, str):
            raise GrammarError(expected="a string", got=_short(reference), where=where)
        base = self._bases[self._home(location)]
        resource, _, fragment = _join(base, reference, where).partition("#")
        fragment = unquote(fragment)
        home = self._resources.get(resource)
        if home is None:
            raise GrammarError(
                f"the reference {reference!r} leads out of the schema",
                where=where,
                hint="Put the schema under $defs, or give it in registry={uri: schema}",
            )
        if not fragment or fragment.startswith("/"):
            found: str | None = home + fragment
        else:
            found = self._anchors.get((resource, fragment))
        if found is None:
            raise GrammarError(f"no anchor {fragment!r}", where=where)
        try:
            self.at(found)
        except GrammarError as error:
            raise GrammarError(
                f"the reference {reference!r} leads nowhere",
                expected=error.expected,
                got=error.got,
                where=where,
            ) from error
        if keyword != "$ref":
            anchor = "" if keyword == "$recursiveRef" else fragment
            found = self._scopes.outermost(scope_of(location), home, anchor, found)
        return scope_of(location) + found

    # -- resources

    def _home(self, location: str) -> str:
        """The location of the resource (a schema with a base URI of its own) around a location."""
        head, _, pointer = plain(location).partition("#")
        home = here = f"{head}#"
        if len(self._bases) > len(self._roots):
            for token in pointer.split("/")[1:]:
                here += "/" + token
                if here in self._bases:
                    home = here
        return home

    def _dialect(self, location: str) -> Dialect:
        if len(self._dialects) == 1:
            return self._dialects["#"]
        return self._dialects[self._home(location)]

    def _load(self, uri: str) -> list[str]:
        """Index the document of the registry that `uri` names, or whose part calls itself so (there
        may be none). Returns the URIs it refers to."""
        name = uri if uri in self._registry else self._declared.get(uri)
        if name is None or name in self._roots:
            return []
        return self._index(name, read(self._registry[name], f"{name}#"))

    @cached_property
    def _declared(self) -> dict[str, str]:
        """The registry's documents by the URIs that their parts have; what cannot be read has none
        (it is an error only where it is referred to)."""
        found: dict[str, str] = {}
        for name, text in self._registry.items():
            with suppress(GrammarError):
                for uri in Document(read(text, f"{name}#"), base=name)._resources:
                    found.setdefault(uri, name)
        return found

    def _index(self, head: str, root: Any) -> list[str]:
        """Note what the document has; returns the URIs it refers to."""
        home = f"{head}#"
        self._roots[head] = root
        self._bases[home] = head
        self._resources.setdefault(head, home)
        self._dialects[home] = LATEST
        todo: list[tuple[str, Any, str]] = [(home, root, home)]
        wanted: list[str] = []
        while todo:
            location, schema, home = todo.pop()
            self._seen += 1
            if self._seen > _MAX_NODES:
                raise GrammarError("schema too large", expected=f"at most {_MAX_NODES} subschemas")
            if not isinstance(schema, dict):
                continue
            self._keywords.update(schema)
            home = self._name(location, schema, home)
            for keyword in _REFERENCES:
                reference = schema.get(keyword)
                if isinstance(reference, str):
                    where = child(location, keyword)
                    wanted.append(_join(self._bases[home], reference, where).partition("#")[0])
                    if keyword != "$ref":
                        self._scopes.use(unquote(reference.partition("#")[2]))
            todo.extend((place, part, home) for place, part in children(location, schema))
        return wanted

    def _name(self, location: str, schema: dict[str, Any], home: str) -> str:
        """Note the schema's `$id`, dialect and anchors; returns its resource."""
        dialect = self._dialects[home]
        if location == home:  # a document's root
            dialect = self._dialects[home] = dialect_of(schema, location, dialect, self._registry)
        if dialect.legacy and "$ref" in schema:
            return home
        identity = schema.get("$id", schema.get("id") if dialect.legacy else None)
        base = self._bases[home]
        if isinstance(identity, str):
            resource, _, fragment = identity.partition("#")
            if resource:
                base = self._bases[location] = _join(base, resource, child(location, "$id"))
                self._resources.setdefault(base, location)
                self._dialects[location] = dialect_of(schema, location, dialect, self._registry)
                home = location
            if fragment:
                self._anchors.setdefault((base, fragment), location)
        for keyword in ("$anchor", "$dynamicAnchor"):
            anchor = schema.get(keyword)
            if isinstance(anchor, str):
                self._anchors.setdefault((base, anchor), location)
                if keyword == "$dynamicAnchor":
                    self._scopes.add(home, anchor, location)
        if schema.get("$recursiveAnchor") is True:
            self._scopes.add(home, "", location)
        return home


def child(location: str, *tokens: str | int) -> str:
    """The location of a part of the schema at `location`."""
    return "/".join([location, *(escape(str(token)) for token in tokens)])


def escape(token: str) -> str:
    return token.replace("~", "~0").replace("/", "~1")


def _tokens(pointer: str) -> list[str]:
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]


def _join(base: str, reference: str, where: str) -> str:
    """The absolute form of a reference."""
    if reference.startswith("#"):
        return base + reference
    try:
        return urljoin(base, reference)
    except ValueError as error:
        raise GrammarError(
            expected="a URI reference", got=f"{_short(reference)} ({error})", where=where
        ) from None


def children(location: str, schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
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
