"""What Python asks no object for is seen all the same: such programs are refused, with the line."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import inspect
import re
import textwrap
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import pytest

import espalier as esp
from espalier.errors import IncompleteError, NotSupportedError, ProgramError

State = Any


@dataclasses.dataclass
class Person:
    name: str
    age: int
    city: str = "Rome"


class Pair(NamedTuple):
    first: str


@esp.function
def inner(s: State, q: str) -> None:
    s += q + esp.gen("x")


class Short:
    def __init__(self, text: str) -> None:
        self.text = f"<{text}>"[:3]  # here


def urgent(text: str) -> str:
    return "URGENT " + text if "refund" in text else text  # here


def is_none(s: State, topic: str | None = None) -> None:
    s += "anything" if topic is None else f"about {topic}"  # here


def typed_none(s: State) -> None:
    s += "Who?" + esp.gen("who", Person | None)
    s += "nobody" if s["who"] is None else "somebody"  # here


def kept_errors(s: State) -> None:
    s += "Q"
    forks = s.fork(2)
    forks += esp.gen("a")
    forks.join(errors="keep")
    s += "".join(v for v in s["a"] if not isinstance(v, Exception))  # here


def kept_choice(s: State) -> None:
    s += "Q"
    forks = s.fork(2)
    forks += esp.select("a", ["b", "c"])
    forks.join(errors="keep")
    s += "yes" if s["a"][0] == "b" else "no"  # here


def type_of(s: State, k: int = 1) -> None:
    s += "int" if type(k) is int else "float"  # here


def has(s: State, item: Any) -> None:
    s += "title" if hasattr(item, "title") else "none"  # here


def own_class(s: State, item: str) -> None:
    s += "text" if item.__class__ is str else "none"  # here


def matched(s: State, item: Any) -> None:
    match item:  # here
        case None:
            s += "none"


def truncated(s: State, doc: str) -> None:
    s += f"Document: {doc}"[:200]  # here


def measured(s: State, doc: str) -> None:
    text = f"{doc}\n"
    s += text if len(text) < 100 else "long"  # here


def redacted(s: State, msg: str) -> None:
    s += re.sub(r"\b\d{13,16}\b", "####", f"Message: {msg}")  # here


def searched(s: State, msg: str) -> None:
    s += "yes" if re.search("a", "so " + msg) else "no"  # here


def by_helper(s: State, msg: str) -> None:
    s += urgent(f"Message: {msg}")


def by_key(s: State, a: str, b: str) -> None:
    s += "".join(sorted([f"x{a}", f"x{b}"], key=str.lower))  # here


def by_partial(s: State, a: str) -> None:
    s += functools.partial(urgent, f"<{a}>")()


def made_by_a_class(s: State, a: str) -> None:
    s += Short(a).text


def dedented(s: State, a: str) -> None:
    s += textwrap.dedent(f"  x {a}\n  y")  # here


def padded(s: State, a: str) -> None:
    s += "%9s" % (a,)  # noqa: UP031 # here


def padded_text(s: State, a: str) -> None:
    s += f"{f'<{a}>':>9}"  # here


def a_width(s: State, x: str, width: int) -> None:
    s += f"{x:>{width}}"  # here


def of_a_list(s: State) -> None:
    s += "Tags:" + esp.gen("t", list[str])
    s += f"{s['t']}".strip("[]")  # here


def of_an_entry(s: State, row: dict[str, str]) -> None:
    s += f"{row['note']}" or "no note"  # here


def of_an_attribute(s: State) -> None:
    s += "Who?" + esp.gen("who", Person)
    s += f" {s['who'].name}".upper()  # here


def in_a_late_way(s: State, msg: str) -> None:
    s += esp.select("pick", [f"c{i}" for i in range(30)])
    s += f" {msg}".upper() if s["pick"] == "c25" else "no"  # here


def an_option(s: State, budget: int) -> None:
    s += esp.gen("y", budget)  # here


def caught_read(s: State) -> None:
    s += "Age?" + esp.gen("age", int)
    try:
        age = s["age"]  # here
    except IncompleteError:
        age = "unknown"
    s += f"{age}"


def caught_join(s: State) -> None:
    forks = s.fork(2)
    forks += esp.gen("a")
    try:
        forks.join()  # here
    except ExceptionGroup:
        s += "none"


def caught_entry(s: State, row: dict[str, str]) -> None:
    try:
        note = row["note"]  # here
    except KeyError:
        note = "none"
    s += f"{note}"


def suppressed(s: State) -> None:
    s += "Age?" + esp.gen("age", int)
    with contextlib.suppress(IncompleteError):
        s["seen"] = s["age"]  # here


def runs_another(s: State) -> None:
    s += inner.run(q="a", backend=esp.Scripted(default="b"))["x"]  # here


def appends_later(s: State) -> None:
    notes = ["a"]
    s["notes"] = notes  # here
    notes.append("b")


def appends_to_joined(s: State) -> None:
    forks = s.fork(2)
    forks += esp.gen("x")
    forks.join()
    s["x"].append("z")  # here


def sets_a_field(s: State) -> None:
    s += esp.gen("who", Person)
    s["who"].name = "Anon"  # here


def reads_the_inside(s: State) -> None:
    s += esp.gen("who", Person)
    s += f"{s['who']._secret}"  # here


def returns_an_object(s: State) -> Any:
    s += esp.select("x", ["a", "b"])
    return Person(s["x"], 3)


def returns_a_pair(s: State) -> Any:
    s += esp.gen("x")
    return Pair(s["x"])


def returns_ordered(s: State) -> Any:
    s += esp.gen("x", int)
    return OrderedDict(v=s["x"])


SEEN: list[tuple[Callable[..., Any], str]] = [
    (is_none, "its argument 'topic' (is)"),
    (typed_none, "'who', or looks into it (is)"),
    (kept_errors, "'a', or looks into it (isinstance)"),
    (kept_choice, "'a', or looks into it (==)"),
    (type_of, "its argument 'k' (type)"),
    (has, "its argument 'item' (hasattr)"),
    (own_class, "its argument 'item'"),
    (matched, "its argument 'item'"),
    (truncated, "its argument 'doc' (getitem, of text that is made of it)"),
    (measured, "its argument 'doc' (len, of text that is made of it)"),
    (redacted, "its argument 'msg' (Pattern.sub, of text that is made of it)"),
    (searched, "its argument 'msg' (Pattern.search, of text that is made of it)"),
    (by_helper, "its argument 'msg' (contains, of text that is made of it)"),
    (by_key, "(str.lower, of text that is made of it)"),
    (by_partial, "its argument 'a' (contains, of text that is made of it)"),
    (made_by_a_class, "its argument 'a' (getitem, of text that is made of it)"),
    (dedented, "its argument 'a' (Pattern."),
    (padded, "its argument 'a' (% with a width"),
    (padded_text, "its argument 'a' (the format '>9'"),
    (a_width, "its argument 'width'"),
    (of_a_list, "'t', or looks into it (strip"),
    (of_an_entry, "its argument 'row' (if"),
    (of_an_attribute, "'who', or looks into it (upper"),
    (in_a_late_way, "its argument 'msg' (upper"),
    (an_option, "its argument 'budget' (an option of a call)"),
    (caught_read, "a read of the generated value 'age' stands inside the `try` of line"),
    (caught_join, "a join of branches stands inside the `try` of line"),
    (caught_entry, "an entry of it of the argument 'row' stands inside the `try` of line"),
    (suppressed, "a read of the generated value 'age' stands inside a `with`"),
    (runs_another, "a run of inner inside a program cannot be compiled"),
    (appends_later, "notes was set to a list or a dict that is changed later on"),
    (appends_to_joined, "changes a list of values in place (append)"),
    (sets_a_field, "'who', or looks into it (its name is set)"),
    (reads_the_inside, "'who', or looks into it (its own _secret)"),
    (returns_an_object, "an object of Person holds a value"),
    (returns_a_pair, "an object of Pair holds a value"),
    (returns_ordered, "an object of OrderedDict holds a value"),
]


@pytest.mark.parametrize(("body", "words"), SEEN, ids=lambda value: getattr(value, "__name__", ""))
def test_it_is_seen(body: Callable[..., Any], words: str) -> None:
    with pytest.raises((ProgramError, NotSupportedError), match=re.escape(words)) as caught:
        esp.function(body).compile()
    assert caught.value.hint is not None
    place = (caught.value.where or "").partition(",")[0]
    assert place.startswith(__file__)
    told = inspect.getsource(inspect.getmodule(body) or body).splitlines()[
        int(place.rpartition(":")[2]) - 1
    ]
    source = inspect.getsource(body)
    if body in (by_helper, by_partial, made_by_a_class):
        source += "# here"  # in what it calls
    assert told.endswith("# here") == ("# here" in source)


def test_the_source_must_be_there() -> None:
    space: dict[str, Any] = {}
    exec("def made(s, a):\n    s += f'{a}'[:3]\n", space)
    with pytest.raises(ProgramError, match="the source of made is not there"):
        esp.function(space["made"]).compile()


STYLE = {"tone": "calm"}


@esp.opaque
def first(values: list[str]) -> str:
    values.sort()
    return values[0]


@esp.opaque
def sure(text: str) -> Literal["yes", "no"]:
    return "yes" if text else "no"


class Helper:
    def __init__(self, lead: str) -> None:
        self.lead = lead

    def __call__(self, text: str) -> str:
        return self.lead + text

    def bold(self, text: str) -> str:
        return "**{}**".format(text)  # noqa: UP032 (a way to write it)


def joined(parts: list[str], by: str = ", ") -> str:
    return by.join(map(str, parts))


@esp.function
def many_ways(s: State, topic: str, row: dict[str, Any]) -> Any:
    helper = Helper("> ")
    parts = [f"{topic}!", helper(topic), helper.bold(topic)]
    parts.append("%s and %r" % (topic, topic))  # noqa: UP031 (a way to write it)
    parts += [text for text in (topic + ".", "a " + topic) if text is not None]
    s += joined(parts) + "{:>4}|{}".format(row["n"], topic)
    s += "{x} {x}".replace("{x}", f"<{topic}>") + f"{row['n']:>{3 + 2}}{topic!r}"
    s += esp.gen("who", Person) + esp.gen("free") + esp.select("pick", ["a", "b"])
    if s["who"] is not None and isinstance(s["free"], str):
        s += f" {copy.deepcopy(s['who']).name} {copy.copy(s['who']).city}"
    match s["pick"]:
        case "a":
            s += "first"
        case _:
            s += "second"
    try:
        tone = STYLE["tone"] if sure else ""
    finally:
        s += "."
    try:
        STYLE["no"]
    except KeyError:
        s += tone
    forks = s.fork(2)
    for number, fork in enumerate(forks):
        fork += f"{number}" + esp.gen("part")
    forks.join()
    return first(s["part"]), s["part"], sure(s["free"]), dict(zip("ab", s["part"], strict=True))


def test_what_only_moves_values_is_compiled() -> None:
    """And says what the function says."""
    script = {
        "who": '{"name": "Ada", "age": 3, "city": "Rom"}', "free": "f", "pick": "b",
        "part": ["q", "p"],
    }  # fmt: skip
    given = {"topic": "owls", "row": {"n": 7}}
    interpreted = many_ways.run(**given, backend=esp.Scripted(dict(script)), seed=1)
    compiled = many_ways.compile().run(**given, backend=esp.Scripted(dict(script)), seed=1)
    assert compiled.text() == interpreted.text()
    assert compiled.ret_value == interpreted.ret_value
    assert interpreted.ret_value[:2] == ("p", ["q", "p"])


def test_a_finally_after_a_branch_is_no_other_trace() -> None:
    @esp.function
    def program(s: State) -> None:
        s += "Q" + esp.select("x", ["a", "b"])
        try:
            if s["x"] == "a":
                s += "A"
        finally:
            s += "end"

    for pick in ("a", "b"):
        texts = [
            run(backend=esp.Scripted({"x": pick})).text()
            for run in (program.run, program.compile().run)
        ]
        assert texts[0] == texts[1]


def test_types_of_one_name_are_told_apart() -> None:
    one = dataclasses.make_dataclass("P", [("v", int)])
    other = dataclasses.make_dataclass("P", [("v", int), ("w", int, 0)])

    @esp.function
    def program(s: State) -> None:
        s += "Q" + esp.gen("x", one) + esp.gen("y", other)

    state = program.compile().run(backend=esp.Scripted({"x": '{"v": 1}', "y": '{"v": 2, "w": 3}'}))
    assert state["x"] == one(1)
    assert state["y"] == other(2, 3)


def test_priorities_reach_the_branches_of_a_fork() -> None:
    @esp.function
    def program(s: State) -> None:
        with s.priority(7):
            forks = s.fork(2)
            forks += "a" + esp.gen("x")
            forks.join()

    ops = [op for op in program.compile().ir.block.ops if getattr(op, "name", None) == "x"]
    assert [op.priority for op in ops] == [7, 7]  # type: ignore[union-attr]


LEFT: list[str] = []


def test_what_a_program_kept_from_another_trace_is_refused() -> None:
    @esp.function
    def program(s: State, a: str) -> None:
        LEFT.append(f"<{a}>")
        s += LEFT[0]

    with pytest.raises(ProgramError, match="keeps it for another run"):
        program.compile()
