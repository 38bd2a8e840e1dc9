"""The tree of errors: one root, four parts, and a wire that loses nothing."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from espalier import errors
from espalier.errors import EngineError, EspalierError, GrammarError, VariableError, from_wire

CLASSES = [
    value
    for _, value in inspect.getmembers(errors, inspect.isclass)
    if issubclass(value, EspalierError)
]


def test_the_drawing_is_the_tree() -> None:
    drawn: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    ([│├└─ ]*)(\w+)", line)
        if found and found[2].endswith("Error"):
            drawn.append((len(found[1]) // 4, found[2]))
    real: list[tuple[int, str]] = []

    def walk(kind: type, depth: int) -> None:
        real.append((depth, kind.__name__))
        for child in kind.__subclasses__():
            if child.__module__ == errors.__name__:
                walk(child, depth + 1)

    walk(EspalierError, 0)
    assert drawn == real
    assert {name for _, name in drawn} == {kind.__name__ for kind in CLASSES}


def test_a_parts_own_error_crosses_as_the_class_it_is_one_of() -> None:
    class Refusal(errors.GrammarError):
        pass

    back = errors.from_wire(Refusal("no", where="#/a").to_wire())
    assert type(back) is errors.GrammarError
    assert back.where == "#/a"


def test_a_message_says_expected_got_where_and_hint() -> None:
    error = EspalierError("no", expected="a", got="b", where="c", hint="Do d")
    assert str(error) == "no, expected a, got b (at c). Do d"
    assert str(EspalierError(expected="a", got="b")) == "expected a, got b"
    assert str(EspalierError("plain")) == "plain"
    assert str(EspalierError()) == ""


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_crosses_a_border(kind: type[EspalierError]) -> None:
    error = kind("m", expected="e", got="g", where="w", hint="h")
    for back in (from_wire(error.to_wire()), pickle.loads(pickle.dumps(error))):
        assert type(back) is kind
        assert back.to_wire() == error.to_wire()
        assert str(back) == str(error) == "m, expected e, got g (at w). h"
    assert kind.__doc__


def test_an_unknown_error_becomes_an_engine_error() -> None:
    wire = EspalierError("odd").to_wire()
    wire["type"] = "FromTheFutureError"
    assert type(from_wire(wire)) is EngineError


def test_familiar_exceptions_catch_them_too() -> None:
    for kind, familiar in (
        (errors.InvalidRequestError, ValueError),
        (GrammarError, ValueError),
        (VariableError, KeyError),
        (errors.InvariantError, AssertionError),
    ):
        with pytest.raises(familiar):
            raise kind("x")
    assert str(VariableError("no quotes")) == "no quotes"
