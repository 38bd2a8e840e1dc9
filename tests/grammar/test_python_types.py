"""Types to schemas and texts back to values."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar

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


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Person:
    name: str
    age: Annotated[int, Meta(ge=0, le=150)]
    color: Color = Color.RED
    friends: list[Person] = field(default_factory=list)


class Point(NamedTuple):
    x: float
    y: float = 0.0


class Options(TypedDict):
    depth: int
    note: NotRequired[str]


class Cat(msgspec.Struct, tag=True, rename="camel"):
    full_name: str
    lives: Annotated[int, Meta(gt=0, lt=10)] = 9


class Dog(msgspec.Struct, tag=True):
    breed: Annotated[str, Meta(pattern="^[A-Z][a-z]*$", max_length=8)]


class Row(msgspec.Struct, array_like=True, tag="row"):
    a: int
    b: str = ""


class Box(msgspec.Struct, Generic[T]):
    value: T


class Order(pydantic.BaseModel):
    id: int
    price: decimal.Decimal
    when: datetime.datetime
    lines: list[Line] = []
    parent: Order | None = None


class Line(pydantic.BaseModel):
    kind: Literal["line"] = "line"
    sku: str = pydantic.Field(min_length=2, max_length=5)


Order.model_rebuild()


@pydantic.dataclasses.dataclass
class Checked:
    count: int = pydantic.Field(ge=1)


@dataclass
class Shelf:
    orders: dict[str, Order]
    checked: Checked


TYPES: list[Any] = [
    int,
    float,
    bool,
    str,
    None,
    Any,
    decimal.Decimal,
    uuid.UUID,
    datetime.date,
    datetime.datetime,
    datetime.time,
    datetime.timedelta,
    Annotated[datetime.datetime, Meta(tz=False)],
    Annotated[datetime.time, Meta(tz=False)],
    bytes,
    Literal["a", 1, None],
    Color,
    Level,
    int | None,
    int | str | list[bool],
    list,
    list[int],
    Annotated[list[int], Meta(min_length=1, max_length=3)],
    set[int],
    frozenset[str],
    tuple[int, ...],
    tuple[int, str, bool],
    dict,
    dict[str, float],
    dict[int, bool],
    dict[Color, int],
    dict[datetime.date, int],
    Annotated[float, Meta(ge=-1, lt=2.5)],
    Annotated[str, Meta(min_length=2, max_length=4)],
    Person,
    Point,
    Options,
    Cat,
    Cat | Dog,
    Row,
    Box[int],
    Box[Box[str]],
    Order,
    list[Order],
    Checked,
    Shelf,
]


def oracle(tp: Any, **options: Any) -> Oracle:
    spec = GrammarSpec.python_type(tp, **options)
    return Oracle(json_schema_ir(spec.source, spec))


@pytest.mark.parametrize("tp", TYPES, ids=str)
def test_every_text_converts(tp: Any) -> None:
    grammar = oracle(tp)
    found = 0
    for seed in range(12):
        text = grammar.sample(seed, size=6)
        if text is not None:
            found += 1
            value_of(tp, text)
    assert found > 5


@pytest.mark.parametrize(
    ("tp", "value"),
    [
        (int, -7),
        (float, 2.5),
        (bool, True),
        (str, 'a "b"'),
        (None, None),
        (decimal.Decimal, decimal.Decimal("12.50")),
        (uuid.UUID, uuid.UUID(int=7)),
        (datetime.datetime, datetime.datetime(2024, 2, 29, 1, 2, 3, 4, datetime.UTC)),
        (datetime.date, datetime.date(2000, 2, 29)),
        (datetime.time, datetime.time(1, 2, 3, tzinfo=datetime.UTC)),
        (datetime.timedelta, datetime.timedelta(days=1, seconds=90)),
        (bytes, b"ab\x00"),
        (Color, Color.BLUE),
        (dict[int, bool], {3: True}),
        (tuple[int, str, bool], (1, "x", False)),
        (Point, Point(1.5, 2.0)),
        (Options, {"depth": 1}),
        (Cat | Dog, Cat("Tom")),
        (Cat | Dog, Dog("Rex")),
        (Row, Row(1, "z")),
        (Box[int], Box(3)),
        (Person, Person("Ann", 3, Color.BLUE, [Person("Bob", 4)])),
    ],
    ids=str,
)
def test_encoded_values_are_in_the_grammar_and_come_back(tp: Any, value: Any) -> None:
    encoder = msgspec.json.Encoder(decimal_format="number")
    text = json.dumps(json.loads(encoder.encode(value), parse_float=_Verbatim), ensure_ascii=False)
    assert oracle(tp).accepts(text), text
    assert value_of(tp, text) == value


class _Verbatim(float):
    """A float that json.dumps writes as it was read."""

    def __new__(cls, text: str) -> _Verbatim:
        made = super().__new__(cls, text)
        made.text = text
        return made

    def __repr__(self) -> str:
        return str(self.text)


def test_pydantic_models_come_back() -> None:
    text = (
        '{"id": 1, "price": 12.50, "when": "2024-01-01T00:00:00Z", '
        '"lines": [{"kind": "line", "sku": "ab1"}], "parent": null}'
    )
    assert oracle(Order).accepts(text)
    order = value_of(Order, text)
    assert order.price == decimal.Decimal("12.50")
    assert order.lines == [Line(sku="ab1")]
    assert value_of(list[Order], f"[{text}]") == [order]
    shelf = value_of(Shelf, f'{{"orders": {{"a": {text}}}, "checked": {{"count": 2}}}}')
    assert shelf.orders["a"] == order
    assert value_of(Checked, '{"count": 2}').count == 2


def test_objects_are_closed_and_defaults_optional() -> None:
    grammar = oracle(Person)
    assert grammar.accepts('{"name": "Ann", "age": 3}')
    assert grammar.accepts('{"name": "Ann", "age": 3, "color": "blue", "friends": []}')
    for text in (
        '{"name": "Ann"}',
        '{"name": "Ann", "age": 151}',
        '{"name": "Ann", "age": 3, "more": 1}',
        '{"name": "Ann", "age": 3, "color": "green"}',
    ):
        assert not grammar.accepts(text)
    assert not oracle(Order).accepts(
        '{"id": 1, "price": 1, "when": "2024-01-01T00:00:00Z", "more": 1}'
    )


def test_two_classes_of_one_name_keep_apart() -> None:
    first = msgspec.defstruct("Same", [("a", int)])
    second = msgspec.defstruct("Same", [("b", str)])
    schema = schema_of(tuple[first, second])
    assert sorted(schema["$defs"]) == ["Same", "Same_2"]


@dataclass
class Bad:
    ok: int
    inner: list[complex]


@dataclass
class Worse:
    bad: Bad
    other: Annotated[int, "x"] = 0


class Mixed(enum.Enum):
    A = "a"
    B = 2


@dataclass
class HoldsMixed:
    ok: int
    mixed: Mixed


@pytest.mark.parametrize(
    ("tp", "what", "where"),
    [
        (complex, "complex", "complex"),
        (object, "object", "object"),
        (Callable[[int], str], "Callable", "collections.abc.Callable[[int], str]"),
        (Worse, "complex", "Worse.bad.inner[]"),
        (HoldsMixed, "Enum", "HoldsMixed.mixed"),
        (set[complex], "complex", "set[complex][]"),
        (dict[str, complex], "complex", "dict[str, complex][value]"),
        (dict[float, int], "floats as keys", "dict[float, int]"),
        (Annotated[set[int], Meta(min_length=2)], "set", None),
        (Annotated[bytes, Meta(max_length=2)], "bytes", None),
        (dict[Annotated[int, Meta(ge=3)], int], "keys", None),
        (int | Annotated[str, Meta(min_length=2)] | datetime.date, "str-like", None),
    ],
    ids=str,
)
def test_unsupported_types_name_type_and_path(tp: Any, what: str, where: str | None) -> None:
    with pytest.raises(GrammarError) as caught:
        schema_of(tp)
    assert what in caught.value.message
    assert caught.value.hint
    if where is not None:
        assert caught.value.where == where


@pytest.mark.parametrize(
    ("tp", "text"),
    [(int, "1.5"), (int, "x"), (Person, "{}"), (Order, "{}"), (list[Order], "[{}]"), (int, "")],
)
def test_texts_that_do_not_convert(tp: Any, text: str) -> None:
    with pytest.raises(GrammarError) as caught:
        value_of(tp, text)
    assert caught.value.got == repr(text)
    assert caught.value.__cause__ is not None


def test_pydantic_is_not_imported_for_other_types() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from espalier.grammar.python_types import schema_of, value_of; "
        "assert value_of(list[int], '[1]') == [1]; schema_of(dict[str, int]); "
        "assert 'pydantic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
