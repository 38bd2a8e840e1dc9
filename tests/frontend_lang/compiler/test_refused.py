"""What cannot be compiled is refused, with the line and what to do."""

from __future__ import annotations

import dataclasses
import inspect
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any, cast

import msgspec
import pytest

import espalier as esp
from espalier.errors import EspalierError, InvalidRequestError, NotSupportedError, ProgramError
from espalier.frontend_lang.compiler import ir
from espalier.frontend_lang.compiler.aliases import Alias

State = Any
NUMBER = re.compile(r"\d+")


def tool(a: int) -> str:
    """A tool."""
    return str(a)


@esp.opaque
def now() -> str:
    return "now"


_hidden = now


def branch(s: State) -> None:
    s += "a" + esp.gen("x", 5)
    if s["x"] == "yes":  # here
        s += "b"


def holds(s: State) -> None:
    s += "a" + esp.gen("x", 5)
    s += "b" if "yes" in s["x"] else "c"  # here


def loops(s: State) -> None:
    s += "a" + esp.gen("x", 5)
    while len(s["x"]) < 3:  # here
        s += "b"


def swallows(s: State) -> None:
    s += "a" + esp.gen("x", 5)
    try:
        value = int(s["x"])  # here
    except Exception:
        value = 0
    s += str(value)


def parses(s: State) -> None:
    s += "a" + esp.gen("x", 5)
    s += json.loads(s["x"])["y"]  # here


def counts(s: State) -> Any:
    s += "a"
    forks = s.fork(3)
    forks += esp.gen("x", 5)
    forks.join()
    return Counter(s["x"]).most_common(1)  # here


def sorts(s: State) -> None:
    s += "a" + esp.gen("x", 5, n=2)
    s += "".join(sorted(s["x"]))  # here


def typed(s: State) -> None:
    s += "a" + esp.gen("x", int)
    if s["x"] > 3:  # here
        s += "b"


def entry(s: State) -> None:
    s += "a" + esp.gen("x", list[str])
    for part in s["x"]:  # here
        s += part


def argument(s: State, text: str) -> None:
    if text.startswith("a"):  # here
        s += "b"


def many(s: State, words: list[str]) -> None:
    for word in words:  # here
        s += word


def times(s: State, count: int) -> None:
    s.fork(count)  # here


def least(s: State, count: int) -> None:
    for _ in range(min(count, 3)):  # here
        s += "a"


def named(s: State) -> None:
    s += "a" + esp.gen("x", 5)
    s += esp.gen(f"y{s['x']}", 5)  # here


def stops(s: State) -> None:
    s += "a" + esp.gen("x", 5)
    s += esp.gen("y", stop=f"{s['x']}.")  # here


def grammar(s: State, word: str) -> None:
    s += esp.gen("y", regex=f"({word})+")  # here


def whole(s: State) -> None:
    s += "a" + esp.gen("x", 5)
    s += s.text()  # here


def returns_state(s: State) -> Any:
    s += "a"
    return s


def asks(s: State) -> None:
    s += "a"
    s.use_tools("what?", [abs])  # here


def called(s: State) -> None:
    s += "a" + esp.gen("x", tools=[tool])  # here


def pins(s: State) -> None:
    s += "a"
    s.pin(3)  # here


def spelled(s: State) -> None:
    s += "a" + esp.gen("x", 5)
    s += "b" if str(s["x"]) == "yes" else "c"  # here


def searched(s: State) -> None:
    s += "a" + esp.gen("x", 5)
    s += "d" if NUMBER.search(s["x"]) else "e"  # here


def stripped(s: State, text: str) -> None:
    s += f" {text} ".strip()  # here
    s += esp.gen("x", 5)


def looked(s: State) -> None:
    s += "a" + esp.gen("x", 5)
    if "yes" in f"so {s['x']}":  # here
        s += "b"


def replaced(s: State, text: str) -> None:
    s += re.sub(r"\s+", " ", f"{text}")  # here


def random_text(s: State) -> None:
    s += str(random.random()) + esp.select("x", ["a", "b"])
    if s["x"] == "a":
        s += "c"


def unbounded(s: State) -> None:
    s += "a"
    while True:
        with s.loop():
            s += esp.select("x", ["a", "b"])
            if s["x"] == "b":  # here
                break


def broken(s: State) -> None:
    s += "a"
    raise ValueError("no")  # here


REFUSED: list[tuple[Callable[..., Any], str]] = [
    (branch, "the generated value 'x'"),
    (holds, "the generated value 'x'"),
    (loops, "the generated value 'x'"),
    (swallows, "the generated value 'x'"),
    (parses, "the generated value 'x'"),
    (counts, "the generated value 'x'"),
    (sorts, "the generated value 'x'"),
    (typed, "the generated value 'x'"),
    (entry, "the generated value 'x'"),
    (argument, "looks into its argument 'text'"),
    (many, "looks into its argument 'words'"),
    (times, "looks into its argument 'count' (as a number of branches)"),
    (least, "looks into its argument 'count' ("),
    (named, "a variable's name depends on a value"),
    (stops, "stop depends on a value"),
    (grammar, "a grammar depends on a value"),
    (whole, "s.text() cannot be compiled"),
    (returns_state, "returns its state"),
    (asks, "s.use_tools() cannot be compiled"),
    (called, "with tools, which decides what follows, cannot"),
    (pins, "s.pin(...) cannot be compiled"),
    (spelled, "the generated value 'x'"),
    (searched, "the generated value 'x', or looks into it (Pattern.search)"),
    (stripped, "looks into its argument 'text' (strip, of text that is made of it)"),
    (looked, "the generated value 'x', or looks into it (contains, of text that is made of it)"),
    (replaced, "looks into its argument 'text' (Pattern.sub)"),
    (random_text, "does not say the same each time"),
    (unbounded, "branches in more than 256 ways"),
    (broken, "broken raised ValueError while it was traced: no"),
]


def joins_the_first(s: State) -> None:
    s.fork(2).join(first=1)


def reads_a_stream(s: State) -> None:
    s += esp.gen("x")
    "".join(s.text_iter("x"))


ADVISED: list[tuple[Callable[..., Any], str]] = [
    (whole, "s.var_scope('x')"),
    (asks, "s.select(...)"),
    (called, "s.select(...)"),
    (pins, "engine.pin(...)"),
    (joins_the_first, "a deadline the run"),
    (reads_a_stream, "run(stream=True)"),
    (lambda s: s.error(), "join(errors='keep')"),
    (lambda s: s.seed, "run(seed=...)"),
    (lambda s: s.report(), "the state that the run returns"),
    (lambda s: s.cancel(), "a deadline the run"),
]


@pytest.mark.parametrize(("body", "advice"), ADVISED)
def test_advice_is_of_what_was_refused(body: Callable[..., Any], advice: str) -> None:
    with pytest.raises(NotSupportedError, match="cannot be compiled") as caught:
        esp.function(body).compile()
    assert advice in (caught.value.hint or "")


@esp.opaque
def added(numbers: str) -> str:
    return str(sum(map(int, numbers.split("+"))))


@esp.function
def with_a_tool(s: State, question: str) -> None:
    s += question + "\nTool: " + esp.select("tool", ["add", "none"])
    if s["tool"] == "add":
        s += "(" + esp.gen("numbers", stop=")")
        s += ")=" + added(s["numbers"])
    s += "\nAnswer: " + esp.gen("answer")


@pytest.mark.parametrize("tool", ["add", "none"])
def test_tools_as_they_are_advised(tool: str) -> None:
    script = {"tool": tool, "numbers": "3+4", "answer": "so"}
    said = [
        run("How much?", backend=esp.Scripted(script)).text()
        for run in (with_a_tool.run, with_a_tool.compile().run)
    ]
    assert said[0] == said[1]
    assert ("(3+4)=7\n" in said[0]) == (tool == "add")


@pytest.mark.parametrize(
    ("body", "words"), REFUSED, ids=lambda value: getattr(value, "__name__", "")
)
def test_refused_with_its_line(body: Callable[..., Any], words: str) -> None:
    with pytest.raises(EspalierError, match=re.escape(words)) as caught:
        esp.function(body).compile()
    error = caught.value
    assert isinstance(error, ProgramError | NotSupportedError | InvalidRequestError)
    source, first = inspect.getsourcelines(body)
    marked = [first + at for at, line in enumerate(source) if line.endswith("# here\n")]
    assert error.where is not None
    assert error.hint is not None
    place = error.where.partition(",")[0]
    assert place.startswith(__file__)
    line = int(place.rpartition(":")[2])
    assert line == marked[0] if marked else first <= line < first + len(source)


def test_a_number_of_branches_is_known_once_it_is_given() -> None:
    with pytest.raises(
        ProgramError, match=r"compile\(count=\.\.\.\).*--arg count=\.\.\."
    ) as caught:
        esp.function(times).compile()
    assert "Xb" not in str(caught.value)
    esp.function(times).compile(count=3)


def test_the_advice_names_what_to_do() -> None:
    with pytest.raises(ProgramError, match=r"select.*@esp\.opaque.*without compiling") as caught:
        esp.function(branch).compile()
    assert str(caught.value).count(__file__) == 1
    with pytest.raises(ProgramError, match=r"compile\(text=\.\.\.\)"):
        esp.function(argument).compile()
    assert esp.function(argument).compile(text="abc").run(backend=esp.Scripted()).text() == "b"
    assert esp.function(many).compile(words=["a", "b"]).run(backend=esp.Scripted()).text() == "ab"


class Thing:
    pass


THING = Thing()


NAMELESS: Any = dataclasses.make_dataclass("Nameless", [("a", int)])


def holds_a_list(s: State) -> None:
    s += "a" + esp.gen("x", list[NAMELESS])  # here


def holds_a_thing(s: State) -> None:
    s["y"] = THING  # here


def returns_infinity(s: State) -> Any:
    s += "a"
    return {"x": [float("inf")]}


def has_a_default(s: State, x: Any = Thing) -> None:
    s += f"{x}"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (holds_a_list, "Nameless] has no name"),
        (holds_a_thing, "a constant cannot be saved"),
        (returns_infinity, "got float inf"),
        (has_a_default, "the default of x cannot be saved"),
    ],
)
def test_what_a_file_cannot_hold_is_refused_at_save(body: Callable[..., Any], words: str) -> None:
    compiled = esp.function(body).compile()
    with pytest.raises(InvalidRequestError, match=re.escape(words)):
        compiled.to_json()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected a compiled program"),
        ("{}", "espalier-program of version"),
        ("[" * 100_000, "expected a compiled program"),
        ('{"format": "espalier-program", "version": 99}', "of version 99"),
        ('{"format": "espalier-program", "version": 1, "name": 3}', "expected a compiled program"),
    ],
)
def test_files_that_are_no_programs(text: str, words: str) -> None:
    with pytest.raises(InvalidRequestError, match=re.escape(words)):
        esp.CompiledProgram.from_json(text)


def loaded(*ops: ir.Op, returns: ir.Data | None = None) -> esp.CompiledProgram:
    block = ir.Block(ops, returns=returns or ir.Constant())
    parameters = (ir.Parameter("a", optional=True),)
    graph = ir.Graph(name="made", where="made.py:1", parameters=parameters, block=block)
    return esp.CompiledProgram.from_json(ir.encode(graph))


def test_names_of_a_file_are_held_to_those_allowed() -> None:
    """Whatever a file names, only what the caller allows is imported, and of that only what a
    program may use."""

    def text(function: str) -> bytes:
        call = ir.Apply(stream=0, where="made.py:2", value=0, function=function)
        return ir.encode(ir.Graph(name="m", where="m:1", parameters=(), block=ir.Block((call,))))

    load = esp.CompiledProgram.from_json
    assert load(text(f"{__name__}:now"), modules=[__name__]).run(backend=esp.Scripted())
    assert load(text("a:b"), names={"a:b": now}).run(backend=esp.Scripted())
    sys.modules.pop("this", None)
    for name, given, words in [
        ("os:system", {}, "expected one of no names, or of a module among none, got os:system"),
        ("this:d", {"modules": ["os"]}, "of a module among os, got this:d"),
        ("os:system", {"modules": ["os"]}, "expected a function with @esp.opaque, got os:system"),
        ("os:nowhere", {"modules": ["os"]}, "cannot be imported"),
        (f"{__name__}:_hidden", {"modules": [__name__]}, "got tests."),
        (f"{__name__}:tool", {"modules": [__name__]}, "expected a function with @esp.opaque"),
        ("a:b", {"names": {"a:b": tool}}, "expected a function with @esp.opaque"),
    ]:
        with pytest.raises(InvalidRequestError, match=re.escape(words)):
            load(text(name), **given)  # type: ignore[arg-type]
    assert "this" not in sys.modules
    gen = ir.Generate(stream=0, where="m:2", value=0, type="os:PathLike", params={})
    made = ir.encode(ir.Graph(name="m", where="m:1", parameters=(), block=ir.Block((gen,))))
    with pytest.raises(EspalierError):
        load(made, modules=["os"])
    assert esp.CompiledProgram.to_check(made).check()[0].where == "m:2"


def _deep(levels: int) -> Alias:
    found: Any = "builtins:int"
    for _ in range(levels):
        found = Alias("builtins:list", (found,))
    return cast(Alias, found)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (Alias("builtins:list", ("this:d",)), "got this:d"),
        (Alias("this:d", ("builtins:int",)), "got this:d"),
        (
            Alias("builtins:int", ("builtins:int",)),
            "a generic type and its arguments, got int[int]",
        ),
        (Alias("builtins:dict", ("builtins:int",) * 3), "dict"),
        (Alias("typing:Union", ()), "a generic type"),
        (Alias("typing:Annotated", ()), "a generic type"),
        (Alias("typing:Annotated", ("builtins:int",)), "got typing:Annotated"),
        (Alias("typing:Annotated", ("builtins:int", '{"extra":1}')), "fields among gt"),
        (Alias("typing:Annotated", ("builtins:int", "__import__('this')")), "a generic type"),
        (Alias("typing:Literal", ("[1]",)), "a generic type"),
        (Alias("typing:Literal", ()), "Literal"),
        (_deep(40), "types at most 32 deep"),
    ],
)
def test_generic_types_of_a_file_are_held_to_the_same(name: Alias, words: str) -> None:
    sys.modules.pop("this", None)
    gen = ir.Generate(stream=0, where="m:2", value=0, type=name, params={})
    made = ir.encode(ir.Graph(name="m", where="m:1", parameters=(), block=ir.Block((gen,))))
    with pytest.raises(EspalierError, match=re.escape(words)):
        esp.CompiledProgram.from_json(made, modules=["os"])
    assert "this" not in sys.modules
    assert esp.CompiledProgram.to_check(made).check()[0].where == "m:2"


def test_a_generic_type_without_a_name_is_not_saved() -> None:
    @dataclasses.dataclass
    class Local:
        a: int

    noted = Annotated[int, msgspec.Meta(extra={"a": 1})]
    for tp in (list[Local], Local | None, dict[str, list[Local]], noted):

        def body(s: Any, tp: Any) -> None:
            s += "a" + esp.gen("x", tp)

        compiled = esp.function(body).compile(tp=tp)
        with pytest.raises(InvalidRequestError, match="no name that a saved program can import"):
            compiled.to_json()


@pytest.mark.parametrize(
    "op",
    [
        ir.Say(stream=3, where="m:1", pieces=("a",)),
        ir.Say(stream=0, where="m:1", pieces=(ir.Slot(value=7),)),
        ir.Say(stream=0, where="m:1", pieces=(ir.Slot(argument="x"),)),
        ir.Say(stream=0, where="m:1", pieces=(ir.Slot(),)),
        ir.Join(stream=0, where="m:1", branches=(4,), mode="gather_variable"),
        ir.Join(stream=0, where="m:1", branches=(), keeps=(1,)),
        ir.Fork(stream=0, where="m:1", branches=(0,)),
        ir.Generate(stream=0, where="m:1", value=0, params={"max_tokenz": 3}),
        ir.Choose(stream=0, where="m:1", value=0, choices=(("a",),), method="other"),
        ir.Choose(stream=0, where="m:1", value=0, choices=()),
        ir.Scope(stream=0, where="m:1", name="x", value=0),
        ir.Say(stream=0, where="m:1", pieces=(ir.Slot(argument="a", spec=">300000000"),)),
        ir.Say(stream=0, where="m:1", pieces=(ir.Slot(argument="a", path=(".__class__",)),)),
        ir.Say(stream=0, where="m:1", pieces=(ir.Slot(argument="a", path=("x",)),)),
    ],
)
def test_files_that_make_no_sense_are_refused(op: ir.Op) -> None:
    """Whatever a file holds, it ends in a typed error when it is loaded, never in a hang."""
    with pytest.raises(InvalidRequestError, match="m:1"):
        loaded(op)
