"""Numerals against arithmetic: a text is in the language iff its value is in the set."""

from __future__ import annotations

import json
import math
import re
from decimal import Context, Decimal

import pytest
from hypothesis import example, given, settings, strategies as st

from espalier.errors import GrammarError
from espalier.grammar import GrammarSpec, ir, parse
from espalier.grammar.json_doubles import first_double, last_double
from espalier.grammar.json_integers import naturals
from espalier.grammar.json_match import matches
from espalier.grammar.json_multiples import multiples
from espalier.grammar.json_numbers import ALL_NUMBERS, Numbers, is_whole
from espalier.grammar.json_numerals import ANY_NUMBER, numerals, point_numerals

_WHOLE = re.compile(r"0|-?[1-9][0-9]*")
_FIXED = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_NUMERAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?(e[+-]?[0-9]+)?")
_EXACT = Context(prec=1000)
_DUMPED = re.compile(r"-?[1-9](\.[0-9]+)?e(-0[5-9]|[+-][1-9][0-9]|[+-][1-3][0-9]{2})")

decimals = st.one_of(
    st.integers(-2000, 2000).map(Decimal),
    st.decimals(-30, 30, places=2, allow_nan=False),
    st.decimals(-1, 1, places=5, allow_nan=False),
    st.sampled_from(["1e-7", "-2.5e-6", "3e17", "1.5e20", "-7e16", "99999e12"]).map(Decimal),
)
texts = st.one_of(
    decimals.map(lambda number: format(number, "f")),
    st.floats(allow_nan=False, allow_infinity=False).map(json.dumps),
    decimals.map(lambda number: json.dumps(float(number))),
    st.from_regex(_FIXED, fullmatch=True).filter(lambda text: len(text) < 20),
    st.from_regex(r"-?[0-9]{1,3}(\.[0-9]{0,3})?(e[+-]?[0-9]{1,2})?", fullmatch=True),
)


_steps = st.sampled_from(["2", "3", "7", "10", "12", "25", "0.5", "0.01", "0.25", "1.5"]).map(
    Decimal
)


@st.composite
def number_sets(draw: st.DrawFn) -> Numbers:
    optional = st.one_of(st.none(), decimals)
    return Numbers(
        whole=draw(st.sampled_from((None, None, True, False))),
        low=draw(optional),
        low_open=draw(st.booleans()),
        high=draw(optional),
        high_open=draw(st.booleans()),
        excluded=frozenset(draw(st.lists(decimals, max_size=2))),
        steps=frozenset(draw(st.lists(st.tuples(_steps, st.booleans()), max_size=1))),
    )


def decoded(text: str) -> Decimal:
    """What a decoder makes of a numeral: a double where it has a point or an exponent."""
    return Decimal(text if _WHOLE.fullmatch(text) or text == "-0" else repr(float(text)))


def canonical(numbers: Numbers, text: str) -> bool:
    """Whether the text is spelled as the module's docstring says for this set."""
    if numbers.whole:
        return _WHOLE.fullmatch(text) is not None
    if text.startswith("-") and numbers.low is not None and numbers.low >= 0:
        return False
    if numbers.steps:
        few = "." not in text or len(text.lstrip("-").replace(".", "").lstrip("0")) <= 15
        return _FIXED.fullmatch(text) is not None and few
    exponent = _DUMPED.fullmatch(text) and -324 <= Decimal(text).adjusted() <= 308
    return bool(_FIXED.fullmatch(text) or exponent)


@settings(max_examples=150)
@given(number_sets(), st.lists(texts, min_size=1, max_size=6))
@example(Numbers(low=Decimal("0.5"), high=Decimal("0.5")), ["0.5", "0.50", "0.49", "0.51"])
@example(Numbers(low=Decimal(-1), high=Decimal(0)), ["-0.0", "0", "-1", "-1.0", "-1.01", "0.1"])
def test_numerals_are_the_canonical_texts_of_the_set(numbers: Numbers, found: list[str]) -> None:
    term = numerals(numbers)
    if term is None or numbers == ALL_NUMBERS:
        return
    for text in found:
        if not _NUMERAL.fullmatch(text):
            assert not matches(term, text), text
            continue
        value = decoded(text)
        wanted = value in numbers and canonical(numbers, text)
        if value == Decimal(text):
            assert matches(term, text) is wanted, text
        else:  # what is rounded may be left out, and must not be wrong
            assert wanted or not matches(term, text), text


@settings(max_examples=150)
@given(number_sets(), st.sampled_from([0, 1, 5, 9, 17, 20, 30, 330]), st.booleans(), st.data())
@example(Numbers(low=Decimal(1), low_open=True), 20, False, None)
@example(Numbers(low=Decimal(0), low_open=True), 330, False, None)
@example(Numbers(excluded=frozenset({Decimal("0.5")})), 20, True, None)
@example(Numbers(whole=False), 20, True, None)
@example(Numbers(whole=False), 330, False, None)
@example(Numbers(steps=frozenset({(Decimal("0.5"), False)})), 20, False, None)
@example(
    Numbers(steps=frozenset({(Decimal(3), True)}), low=Decimal(9007199254740993)), 1, True, None
)
def test_what_numerals_are_rounded_to_is_in_the_set(
    numbers: Numbers, places: int, below: bool, data: st.DataObject | None
) -> None:
    """Digits a little beside a bound, an excluded number or a whole one; and its next doubles."""
    term = numerals(numbers)
    if term is None or numbers == ALL_NUMBERS:
        return
    edges = [n for n in (numbers.low, numbers.high, *numbers.excluded) if n is not None]
    edges += [Decimal(n) for n in (0, 1, 3, 1023, 2**52 - 1, 2**53 - 1)]
    for edge in edges if data is None else [data.draw(st.sampled_from(edges))]:
        beside = _EXACT.subtract if below else _EXACT.add
        near = beside(edge, Decimal(1).scaleb(-places, _EXACT))
        for text in (format(near, "f"), f"{near:f}.0" if is_whole(near) else f"{near:f}001"):
            if matches(term, text):
                assert decoded(text) in numbers, text
        for towards in (-math.inf, math.inf):
            text = json.dumps(math.nextafter(float(edge), towards))
            wanted = Decimal(text) in numbers and canonical(numbers, text)
            assert matches(term, text) is wanted, text


def test_doubles_beside_a_decimal() -> None:
    for low, open_, first in (
        ("1", False, "1.0"),
        ("1", True, "1.0000000000000002"),
        ("0", True, "5e-324"),
        ("-5e-324", True, "0.0"),
        ("0.1", False, "0.1"),
        ("0.10000000000000000001", False, "0.10000000000000002"),
        ("9007199254740993", False, "9007199254740994"),
        ("-1e400", False, "-1.7976931348623157e308"),
    ):
        assert first_double(Decimal(low), open_) == Decimal(first)
        assert last_double(-Decimal(low), open_) == -Decimal(first)
    assert first_double(Decimal("1e400"), False) is None
    assert first_double(Decimal("1.7976931348623157e308"), True) is None


def test_whole_numbers_no_double_holds_are_written_without_a_point() -> None:
    term = numerals(Numbers(low=Decimal(2**53), low_open=True))
    assert term is not None
    assert matches(term, "9007199254740993")
    assert matches(term, "9007199254740994.0")
    assert not matches(term, "9007199254740993.0")
    beyond = numerals(Numbers(low=Decimal(10**400), high=Decimal(10**400 + 1)))
    assert beyond is not None
    assert matches(beyond, str(10**400))
    assert not matches(beyond, f"{10**400}.0")


@settings(max_examples=80)
@given(number_sets(), st.integers(-50, 50))
def test_json_dumps_of_members_are_in(numbers: Numbers, number: int) -> None:
    for value in (number, number / 8, number * 1e-7, number * 1e17):
        decimal = Decimal(repr(value))
        if decimal not in numbers or (numbers.whole and isinstance(value, float)):
            continue
        text = json.dumps(value)
        term = numerals(numbers)
        if term is not None and canonical(numbers, text):
            assert matches(term, text), text


@settings(max_examples=60)
@given(number_sets(), number_sets(), decimals)
def test_meet_is_intersection(a: Numbers, b: Numbers, number: Decimal) -> None:
    assert (number in a.meet(b)) is (number in a and number in b)
    if a.meet(b).empty:
        assert not (number in a and number in b)


@settings(max_examples=100)
@given(st.integers(0, 3000), st.integers(0, 3000), st.integers(0, 3500))
def test_naturals(low: int, high: int, number: int) -> None:
    assert matches(naturals(low, high), str(number)) is (low <= number <= high)
    assert matches(naturals(low, None), str(number)) is (low <= number)


TAKEN = [
    "0",
    "-0",
    "-0.0",
    "12.50",
    "1e-07",
    "1E5",
    "9.99e307",
    "1e+16",
    "5e-324",
    "-2.2E-308",
    "1e-999",
]
REFUSED = ["", "-", "01", "+1", ".5", "1.", "1e", "1e308", "1e400", "10e5", "NaN", "1e-1000"]


@pytest.mark.parametrize("text", TAKEN)
def test_any_number_takes(text: str) -> None:
    assert matches(ANY_NUMBER, text)


@pytest.mark.parametrize("text", REFUSED)
def test_any_number_refuses(text: str) -> None:
    assert not matches(ANY_NUMBER, text)


@pytest.mark.parametrize(
    ("number", "whole", "texts"),
    [
        ("1", None, ["1", "1.0"]),
        ("1", True, ["1"]),
        ("-2.5", None, ["-2.5"]),
        ("0", None, ["0", "0.0"]),
        ("1e-7", None, ["1e-07"]),
        ("1e16", None, ["10000000000000000", "1e+16"]),
        ("1e400", None, ["1" + "0" * 400]),
        ("123456789012345678901234567890", None, ["123456789012345678901234567890"]),
    ],
)
def test_points_as_json_dumps_writes_them(
    number: str, whole: bool | None, texts: list[str]
) -> None:
    assert point_numerals(Decimal(number), Numbers(whole=whole)) == texts


def test_bounds_beyond_the_decimal_context_are_exact() -> None:
    big = Decimal("1" + "0" * 60 + "1")
    numbers = Numbers(whole=True, low=big, low_open=True, high=None)
    assert numbers.first_whole == Decimal("1" + "0" * 60 + "2")
    term = numerals(Numbers(whole=True, low=big.copy_negate()))
    assert term is not None
    assert matches(term, "-1" + "0" * 60 + "1")
    assert not matches(term, "-1" + "0" * 60 + "2")
    assert is_whole(big)


@pytest.mark.parametrize("step", ["1", "3", "4", "5", "6", "15", "16", "20", "60", "125", "625"])
def test_multiples_of_whole_steps(step: str) -> None:
    term = multiples(Decimal(step))
    assert term is not None
    for number in range(-200, 1300, 97 if int(step) in (16, 625) else 7):
        wanted = number % int(step) == 0
        assert matches(term, str(number)) is wanted
        assert matches(term, f"{number}.0") is wanted
        assert not matches(term, f"{number}.5")


@pytest.mark.parametrize("kind", ["number", "integer"])
@pytest.mark.parametrize("step", [0.1, 0.01, 0.001, 0.3, 0.5, 0.05, 1, 1.0, 2, 3, 7, 10, 12.5])
def test_grammars_of_multiples_cross_processes(kind: str, step: float) -> None:
    """Exactly as they are: a bool for a count was refused on the other side."""
    schema = {"type": kind, "multipleOf": step}
    try:
        grammar = parse(GrammarSpec.json_schema(schema))
    except GrammarError:
        return  # refused by name
    assert ir.decode(ir.encode(grammar)) == grammar


@pytest.mark.parametrize("step", ["0.1", "0.5", "0.25", "0.02", "2.5", "12.5", "0.125", "0.0001"])
def test_multiples_of_fractional_steps(step: str) -> None:
    term = multiples(Decimal(step))
    assert term is not None
    for number in range(-1500, 3000, 29):
        value = Decimal(number) / 1000
        for text in (f"{value:.3f}", f"{value:.4f}", format(value.normalize(), "f")):
            assert matches(term, text) is (value % Decimal(step) == 0), text


@pytest.mark.parametrize("step", ["7", "0.7", "3.3", "32", "1e-30", "3125"])
def test_steps_without_a_small_term(step: str) -> None:
    assert multiples(Decimal(step)) is None
    assert numerals(Numbers(steps=frozenset({(Decimal(step), True)}))) is None


def test_few_multiples_are_listed() -> None:
    steps = frozenset({(Decimal(7), True)})
    numbers = Numbers(low=Decimal(-20), high=Decimal(100), high_open=True, steps=steps)
    term = numerals(numbers)
    assert term is not None
    assert [n for n in range(-30, 110) if matches(term, str(n))] == [*range(-14, 100, 7)]
    assert numerals(Numbers(low=Decimal(0), high=Decimal(10**6), steps=steps)) is None
