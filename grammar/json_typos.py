"""Names in a schema that are no keyword and are close to one.

To a validator they are annotations, which bind nothing: so has the specification it, and a grammar
keeps to that. Whoever wrote `requird` wants to be told.
"""

from __future__ import annotations

import difflib
from typing import Any, NamedTuple

from .json_dialects import VOCABULARIES
from .json_document import child, children

_OLDER = (
    "definitions",
    "dependencies",
    "additionalItems",
    "$recursiveRef",
    "$recursiveAnchor",
    "id",
)
_KNOWN = {*_OLDER, *(keyword for keywords in VOCABULARIES.values() for keyword in keywords)}
_BINDING = {  # by their small letters: what only describes is not missed
    keyword.lower(): keyword
    for keyword in sorted(_KNOWN - {*VOCABULARIES["meta-data"], *VOCABULARIES["content"], "id"})
}
_CLOSE = 0.82  # of difflib's ratio


class Typo(NamedTuple):
    """where: the JSON pointer of the name. meant: the keyword it is close to."""

    where: str
    meant: str

    def __str__(self) -> str:
        return f"{self.where} is no keyword, and binds nothing: did you mean {self.meant}?"


def typos(schema: Any) -> list[Typo]:
    """Those of a schema and its subschemas, by where they stand."""
    found: list[Typo] = []
    todo = [("#", schema)]
    while todo:
        location, here = todo.pop()
        if isinstance(here, dict):
            for name in here.keys() - _KNOWN:
                if (meant := _meant(name)) is not None:
                    found.append(Typo(child(location, name), meant))
            todo.extend(children(location, here))
    return sorted(found)


def _meant(name: str) -> str | None:
    """The keyword that a name is close to: of much the same letters, or of the same ones swapped,
    by which short names are far apart."""
    if name.startswith("_"):  # which is how keywords are put aside
        return None
    said = name.lower().replace("_", "")
    near = difflib.get_close_matches(said, _BINDING, 1, _CLOSE)
    return _BINDING[near[0]] if near else _SWAPPED.get(_letters(said))


def _letters(name: str) -> str:
    """The same for a name with letters swapped, but the first: `menu` and `times` are words."""
    return name[:1] + "".join(sorted(name))


_SWAPPED = {_letters(small): keyword for small, keyword in _BINDING.items()}
