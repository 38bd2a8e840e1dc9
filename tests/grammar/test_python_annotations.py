"""Constraints of other libraries, and functions as their arguments."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypedDict, TypeVar

import annotated_types as at
import msgspec
import pydantic
import pytest
from msgspec import Meta

from espalier.errors import GrammarError
from espalier.grammar.json_schema import json_schema_ir
from espalier.grammar.python_types import schema_of, value_of
from espalier.grammar.spec import GrammarSpec
from tests.grammar.ir_oracle import Oracle

T = TypeVar("T")


def accepts(tp: Any, text: str) -> bool:
    spec = GrammarSpec.python_type(tp)
    return Oracle(json_schema_ir(spec.source, spec)).accepts(text)


@dataclass
class Rated:
    stars: Annotated[int, at.Ge(1), at.Le(5)]
    title: Annotated[str, pydantic.Field(min_length=2, max_length=4)] = "none"
    tags: list[Annotated[str, pydantic.Field(pattern="^[a-z]+$")]] = field(default_factory=list)
    note: Annotated[str, "only a comment"] = ""
    again: Rated | None = None


class Shape(msgspec.Struct):
    size: Annotated[float, at.Interval(gt=0, le=9)]


class Corner(NamedTuple):
    x: Annotated[int, at.MultipleOf(2)]


class Named(TypedDict):
    name: Annotated[str, at.Len(1, 3)]


@pytest.mark.parametrize(
    ("tp", "good", "bad"),
    [
        (Annotated[int, at.Gt(3)], ["4"], ["3"]),
        (Annotated[int | None, at.Gt(3)], [], []),
        (Annotated[int, Meta(ge=0), at.Lt(3), "doc"], ["0", "2"], ["-1", "3"]),
        (list[Annotated[int, at.Gt(3)]], ["[4]"], ["[3]"]),
        (Annotated[list[int], at.MinLen(1)], ["[1]"], ["[]"]),
        (dict[str, Annotated[str, at.MaxLen(1)]], ['{"a": "b"}'], ['{"a": "bc"}']),
        (tuple[Annotated[int, at.Ge(0)], str] | None, ['[0, ""]', "null"], ['[-1, ""]']),
        (pydantic.conint(ge=2), ["2"], ["1"]),
        (Rated, ['{"stars": 5}', '{"stars": 1, "title": "ab"}'], ['{"stars": 6}']),
        (Rated, ['{"stars": 1, "tags": ["a"]}'], ['{"stars": 1, "tags": ["A"]}']),
        (Rated, [], ['{"stars": 1, "title": "a"}', '{"stars": 1, "again": {"stars": 0}}']),
        (Shape, ['{"size": 9}'], ['{"size": 0}', '{"size": 9.5}']),
        (Corner, ["[2]"], ["[3]"]),
        (Named, ['{"name": "a"}'], ['{"name": ""}']),
    ],
    ids=str,
)
def test_constraints_of_other_libraries_bind(tp: Any, good: list[str], bad: list[str]) -> None:
    if not good and not bad:
        with pytest.raises(GrammarError):  # msgspec has no bound on a union
            schema_of(tp)
        return
    for text in good:
        assert accepts(tp, text), text
        value_of(tp, text)
    for text in bad:
        assert not accepts(tp, text), text


@dataclass
class Holder(Generic[T]):
    item: T
    count: int = 0


@dataclass
class Bounded(Generic[T]):
    items: Annotated[list[T], at.MinLen(1)]


@dataclass
class Narrowed(Bounded[int]):
    more: int = 0


def test_generic_dataclasses() -> None:
    assert accepts(Holder[int], '{"item": 3}')
    assert not accepts(Holder[int], '{"item": "x"}')
    assert value_of(Holder[list[str]], '{"item": ["a"], "count": 2}') == Holder(["a"], 2)
    assert accepts(Bounded[int], '{"items": [3]}')
    assert not accepts(Bounded[int], '{"items": []}')
    assert not accepts(Bounded[int], '{"items": ["x"]}')
    with pytest.raises(GrammarError, match="generic base class") as caught:
        schema_of(Narrowed)
    assert caught.value.where == "Narrowed.items"


@pytest.mark.parametrize(
    "tp",
    [
        Annotated[int, at.Predicate(lambda number: number > 3)],
        Annotated[int, at.Timezone(...)],
        list[Annotated[str, pydantic.StringConstraints(strip_whitespace=True)]],
    ],
    ids=["predicate", "timezone", "strip"],
)
def test_constraints_without_a_counterpart_are_refused(tp: Any) -> None:
    with pytest.raises(GrammarError, match="is not supported as a constraint"):
        schema_of(tp)


class Reasoned(TypedDict):
    reasons: str
    answer: str


def test_a_typed_dict_keeps_its_order() -> None:
    assert list(schema_of(Reasoned)["$defs"]["Reasoned"]["properties"]) == ["reasons", "answer"]


def test_sets_of_at_least_two() -> None:
    two = Annotated[set[Literal["a", "b", "c"]], Meta(min_length=2)]
    assert accepts(two, '["a", "c"]')
    assert not accepts(two, '["a", "a"]')
    assert value_of(two, '["a", "c"]') == {"a", "c"}
    assert accepts(set[str], '["a", "a"]')


class Tagged(pydantic.BaseModel):
    tags: set[str] = set()
    kinds: Annotated[frozenset[Literal[1, 2]], pydantic.Field(min_length=2)] = frozenset({1, 2})


def test_sets_of_pydantic() -> None:
    assert accepts(Tagged, '{"tags": ["x", "x"]}')
    assert not accepts(Tagged, '{"kinds": [1, 1]}')
    assert value_of(Tagged, '{"tags": ["x", "x"], "kinds": [2, 1]}').tags == {"x"}


# -- functions -------------------------------------------------------------------------------------


def order(
    item: str,
    count: Annotated[int, at.Ge(1)] = 1,
    *,
    size: Literal["s", "m"] | None = None,
    rated: Rated | None = None,
) -> str:
    return f"{count} {item} {size} {rated}"


class Shop:
    def find(self, name: str) -> str:
        return name


def test_a_function_is_the_arguments_it_takes() -> None:
    assert accepts(order, '{"item": "tea"}')
    assert accepts(order, '{"item": "tea", "count": 2, "size": "m"}')
    assert not accepts(order, '{"item": "tea", "count": 0}')
    assert not accepts(order, '{"count": 2}')
    assert not accepts(order, '{"item": "tea", "colour": "red"}')
    arguments = value_of(order, '{"item": "tea", "rated": {"stars": 3}}')
    assert arguments == {"item": "tea", "rated": Rated(3)}
    assert order(**arguments).startswith("1 tea None Rated(")


def test_methods_and_partials() -> None:
    assert value_of(Shop().find, '{"name": "x"}') == {"name": "x"}
    assert not accepts(Shop().find, '{"self": 1, "name": "x"}')
    some = functools.partial(order, "tea", size="s")
    assert accepts(some, '{"count": 2}')
    assert not accepts(some, '{"item": "tea"}')
    assert some(**value_of(some, '{"count": 2}')) == "2 tea s None"


def no_annotation(a) -> None:  # type: ignore[no-untyped-def]
    ...


def by_place(a: int, /) -> None: ...
def surplus(*args: int) -> None: ...
def named(**kwargs: int) -> None: ...
def unreadable(a: complex) -> None: ...


@pytest.mark.parametrize(
    ("function", "where"),
    [
        (no_annotation, "no_annotation(a)"),
        (by_place, "by_place(a)"),
        (surplus, "surplus(args)"),
        (named, "named(kwargs)"),
        (unreadable, "unreadable.a"),
        (iter, "iter"),
    ],
)
def test_parameters_that_no_object_can_give(function: Any, where: str) -> None:
    with pytest.raises(GrammarError) as caught:
        schema_of(function)
    assert caught.value.where == where
    assert caught.value.hint
