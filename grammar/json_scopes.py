"""Dynamic scopes: what a `$dynamicRef` means depends on the way that led to it, and only on that.

On the way from the root to a subschema, resources are entered one after the other. A `$dynamicRef`
whose target is a `$dynamicAnchor` means the anchor of that name in the first resource entered that
has one. (draft 2019-09: `$recursiveAnchor` is a dynamic anchor without a name.) So the scope of a
subschema is a table from names to locations, to which a resource adds the names that are not in it
yet. There are finitely many tables: each is numbered, and the number is written in front of the
location. What is decided here is exact, with no need to see a value.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import GrammarError

_MARK = "\x1f"
_MAX_SCOPES = 1_000

Scope = tuple[tuple[str, str], ...]


class Scopes:
    """The dynamic anchors of a document, and the scopes met so far."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._anchors: dict[str, dict[str, str]] = {}
        self._scopes: list[Scope] = [()]
        self._numbers: dict[Scope, int] = {(): 0}

    @property
    def used(self) -> bool:
        """Whether some reference is dynamic."""
        return bool(self._names) and bool(self._anchors)

    def use(self, name: str) -> None:
        """A reference asks for the anchor `name`."""
        self._names.add(name)

    def add(self, resource: str, name: str, location: str) -> None:
        """The resource has a dynamic anchor of that name at `location`."""
        self._anchors.setdefault(resource, {}).setdefault(name, location)

    def enter(self, location: str, resource_of: Callable[[str], str]) -> str:
        """The location, its scope widened by the anchors of the resource it lies in."""
        scope = self._scopes[_number(location)]
        there = self._anchors.get(resource_of(location), {})
        known = {name for name, _ in scope}
        new = [item for item in there.items() if item[0] in self._names and item[0] not in known]
        if not new:
            return location
        wider = tuple(sorted([*scope, *new]))
        number = self._numbers.setdefault(wider, len(self._scopes))
        if number == len(self._scopes):
            self._scopes.append(wider)
            if number > _MAX_SCOPES:
                raise GrammarError(
                    "`$dynamicRef` in too many dynamic scopes",
                    expected=f"at most {_MAX_SCOPES:,}",
                    where=location,
                )
        return f"{number}{_MARK}{plain(location)}"

    def outermost(self, scope: str, resource: str, name: str, location: str) -> str:
        """What a dynamic reference means that leads to `location` in `resource` as it stands."""
        if self._anchors.get(resource, {}).get(name) != location:
            return location
        return dict(self._scopes[_number(scope)]).get(name, location)


def plain(location: str) -> str:
    """The location without its scope."""
    return location.rpartition(_MARK)[2] if _MARK in location else location


def scope_of(location: str) -> str:
    """What stands in front of the plain location."""
    return location[: len(location) - len(plain(location))]


def _number(location: str) -> int:
    return int(location.partition(_MARK)[0]) if _MARK in location else 0
