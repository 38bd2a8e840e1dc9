"""A compiled program says what its function says, token for token, and ends as it ends."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, Optional, TypeVar, get_origin

import msgspec
import pytest

import espalier as esp
from espalier.errors import InvalidRequestError, ProgramError

State = Any


@dataclasses.dataclass
class Person:
    name: str
    age: int


@esp.opaque
def shout(text: str) -> str:
    return text.upper() + "!"


@esp.opaque
def vote(answers: list[str]) -> str:
    return max(sorted(set(answers)), key=answers.count)


@esp.opaque
def long_enough(text: str) -> bool:
    return len(text) > 3


@esp.opaque
def kind(text: str) -> Literal["word", "number"]:
    return "number" if text.strip().isdigit() else "word"


@esp.function
def chat(s: State, topic: str, count: int = 2) -> dict[str, Any]:
    s += esp.system("Be " + "brief.") + esp.user(f"About {topic}, {count:03d} words")
    with s.assistant():
        s += "I think " + esp.gen("first", 6)
    s.user("You said: " + s["first"])
    s.assistant(esp.gen("second", 6, temperature=0.7))
    return {"both": [s["first"], s["second"]], "topic": topic, "n": 1}


@esp.function
def tree(s: State, question: str) -> Any:
    s += "Q: " + question
    level = [s]
    for depth in range(2):
        grown = []
        for state in level:
            forks = state.fork(2)
            forks += lambda i, d=depth: f"\n{d}.{i}:" + esp.gen(f"t{d}", 5, temperature=1.0)
            grown.extend(forks)
        level = grown
    for at, state in enumerate(level):
        state += "\nGood? " + esp.select("good", ["yes", "no"])
        s.set_var(f"leaf{at}", state["t1"] + "/" + state["good"])
    s += "\nSo: " + ", ".join(f"{s[f'leaf{at}']}" for at in range(4)) + esp.gen("end", 4)


@esp.function
def joined(s: State, text: str) -> Any:
    s += text
    forks = s.fork(3)
    for at, fork in enumerate(forks):
        fork += f" part {at}" + esp.gen("part", 5, temperature=1.0)
        fork += esp.gen(None, 2)
    forks.join()
    s += f" all: {s['part']} of {vote(s['part'])}"
    with s.copy() as other:
        other += " aside" + esp.gen("aside", 3)
    more = s.fork(2)
    more += " tail" + esp.gen("tail", 3)
    more.join("concate_and_append")
    s += " end"
    return (s["aside"], s["part"][1:], f"{s['part'][0]!r}")


@esp.function
def agent(s: State, task: str) -> str:
    s += f"Task: {task}\n"
    for turn in range(3):  # noqa: B007 (told at the end)
        with s.loop():
            s += "Do:" + esp.select("action", ["find", "sum", "end"])
            if s["action"] == "end":
                break
            s += esp.gen("input", 5, stop="\n")
            if s["action"] in ("sum", "add"):
                s += f" = {shout(s['input'])}\n"
            elif long_enough(s["input"]):
                s += " found " + s["input"] + "\n"
            else:
                s += {"word": " too short\n", "number": " a number\n"}[kind(s["input"])]
    return f"{s['action']} after {turn}"


@esp.function
def typed(s: State) -> Any:
    with s.var_scope("said"):
        s += "Who? " + esp.gen("who", Person) + ", " + esp.gen("lucky", int) + " "
    s += f"{s['who'].name} is {s['who'].age:>4}; {s['lucky']}" + esp.gen("ok", bool)
    if s["ok"]:
        s += "yes: " + s["said"]
    s += esp.gen("both", 3, n=2, temperature=1.0)
    s["note"] = [s["who"], {"x": s["both"][1]}]
    return s["note"], s.get_meta_info("lucky")["completion_tokens"], s["who"]


@esp.function
def picks(s: State, word: str) -> None:
    s += "Which?" + esp.select("x", [f"{word}!", "other"], temperature=1.0)
    s += esp.select("y", [s["x"] + "?", "no"]) + esp.gen("z", 3, regex="[a-z]+")


PERSON = '{"name": "Ida", "age": 41}'
SCRIPT: dict[str | None, Any] = {
    "who": PERSON, "lucky": "7", "ok": "true", "both": ["ab", "cd"], None: "aside",
    "x": {"Ada!": 0.5, "other": 0.5}, "y": lambda asked: asked.choices[0], "z": "abc",
    "good": {"yes": 0.6, "no": 0.4},
}  # fmt: skip


@esp.function
def urgent(s: State) -> None:
    s += "a" + esp.gen("end", 3, heal=True)
    with s.priority(7):
        if s.select("y", ["yes", "no"]) == "yes" and f"{s['y']}" == str(s["y"]):
            s += " " + s.gen("part", 3)


@esp.function
def nested(s: State) -> Any:
    s += "a"
    outer = s.fork(2)
    for branch in outer:
        inner = branch.fork(2)
        inner += " b" + esp.gen("part", 5, temperature=1.0)
        inner.join()
        branch["seen"] = vote(branch["part"])
    outer.join()
    s += f"{s['part'][1][0]} {s['seen'][0]}"
    return s["part"], s["seen"]


PROGRAMS: list[tuple[esp.Program[Any], dict[str, Any]]] = [
    (chat, {"topic": "owls"}),
    (tree, {"question": "why?"}),
    (joined, {"text": "Once"}),
    (typed, {}),
    (picks, {"word": "Ada"}),
    (nested, {}),
    (urgent, {}),
]


def answered(asked: Any) -> Any:
    """An answer that depends on what was sent, and on nothing else."""
    return f"w{(sum(asked.input_ids) + asked.params.seed) % 997}"


def scripted(**more: Any) -> esp.Scripted:
    names = ("first", "second", "t0", "t1", "end", "part", "aside", "tail", "input")
    script: dict[str | None, Any] = dict.fromkeys(names, answered)
    return esp.Scripted({**script, **SCRIPT, **more})


def said(state: State) -> dict[str, Any]:
    """All that a run came to, as data."""
    tree = state.report().to_dict()["tree"]
    text = json.dumps(tree, default=str)
    for name in ("times", "where", "error"):
        assert name in text
    return {
        "text": state.text(),
        "ids": state.token_ids(),
        "values": {name: state[name] for name in state.var_names},
        "unnamed": state.unnamed(),
        "returned": state.ret_value,
        "calls": [
            (call["kind"], call["name"], call["index"], call["seed"], call["where"], call["text"])
            for call in calls(tree)
        ],
    }


def calls(node: dict[str, Any]) -> list[dict[str, Any]]:
    return node["calls"] + [call for child in node["children"] for call in calls(child)]


@pytest.mark.parametrize(("program", "given"), PROGRAMS, ids=lambda v: getattr(v, "name", ""))
def test_it_says_the_same(program: esp.Program[Any], given: dict[str, Any]) -> None:
    interpreted, compiled = scripted(), scripted()
    expected = said(program.run(**given, backend=interpreted, seed=5))
    got = said(program.compile().run(**given, backend=compiled, seed=5))
    assert got == expected
    assert sorted(compiled.prompts()) == sorted(interpreted.prompts())


def test_priorities_are_the_same() -> None:
    """A backend is told them by its calls."""
    told: dict[str, list[tuple[str | None, int]]] = {"run": [], "compiled": []}
    for how, run in (("run", urgent.run), ("compiled", urgent.compile().run)):
        backend = scripted()
        for name in ("generate", "score"):
            asked = getattr(backend, name)

            async def note(call: Any, asked: Any = asked, how: str = how) -> Any:
                told[how].append((call.name, call.priority))
                return await asked(call)

            setattr(backend, name, note)
        run(backend=backend)
    assert told["run"] == told["compiled"]
    assert ("y", 7) in told["run"]
    assert ("end", 0) in told["run"]


@pytest.mark.parametrize(("program", "given"), PROGRAMS, ids=lambda v: getattr(v, "name", ""))
def test_it_says_the_same_once_saved(
    program: esp.Program[Any], given: dict[str, Any], tmp_path: Path
) -> None:
    compiled = program.compile()
    compiled.save(tmp_path / "program.json")
    loaded = esp.CompiledProgram.load(tmp_path / "program.json", modules=[__name__])
    assert loaded.ir == compiled.ir
    expected = said(program.run(**given, backend=scripted(), seed=5))
    assert said(loaded.run(**given, backend=scripted(), seed=5)) == expected


T = TypeVar("T")


@dataclasses.dataclass
class Pair(Generic[T]):
    first: T
    second: T


@pytest.mark.parametrize(
    ("tp", "text", "value"),
    [
        (list[int], "[1, 2]", [1, 2]),
        (dict[str, list[float]], '{"a": [0.5]}', {"a": [0.5]}),
        (tuple[int, ...], "[1, 2]", (1, 2)),
        (tuple[int, str], '[1, "a"]', (1, "a")),
        (Optional[int], "null", None),  # noqa: UP045
        (int | list[str], '["a"]', ["a"]),
        (Literal["a:b", "c", 3], "3", 3),
        (list[Literal["x", "y"]], '["y"]', ["y"]),
        (Annotated[int, msgspec.Meta(ge=1, le=5)], "4", 4),
        (list[Annotated[str, msgspec.Meta(max_length=3)]], '["abc"]', ["abc"]),
        (Pair[int], '{"first": 1, "second": 2}', Pair(1, 2)),
        (list[Any], '[1, "a"]', [1, "a"]),
        (list, "[1]", [1]),
    ],
)
def test_a_generic_type_is_saved_by_its_parts(tp: Any, text: str, value: Any) -> None:
    def body(s: Any) -> None:
        s += "a" + esp.gen("x", tp)

    compiled = esp.function(body).compile()
    loaded = esp.CompiledProgram.from_json(compiled.to_json(), modules=[__name__])
    assert loaded.ir == compiled.ir
    assert next(iter(loaded.bound.gens.values())).dtype in (tp, get_origin(tp))
    assert loaded.run(backend=esp.Scripted(text))["x"] == value


@pytest.mark.parametrize(
    ("actions", "answers"),
    [
        (["end"], []),
        (["find", "end"], ["abcdef"]),
        (["find", "find", "sum"], ["ab", "12", "x"]),
        (["sum", "find", "find"], ["ab", "longer", "y"]),
    ],
)
def test_every_way_through_the_branches(actions: list[str], answers: list[str]) -> None:
    script = {"action": actions, "input": answers}
    expected = said(agent.run(task="t", backend=esp.Scripted(dict(script)), seed=1))
    compiled = agent.compile()
    assert said(compiled.run(task="t", backend=esp.Scripted(dict(script)), seed=1)) == expected
    again = esp.CompiledProgram.from_json(compiled.to_json(), modules=[__name__])
    assert said(again.run(task="t", backend=esp.Scripted(dict(script)), seed=1)) == expected


def test_on_an_engine_too(engine: esp.Engine) -> None:
    for program, given in PROGRAMS[:3]:
        options = {"backend": engine, "seed": 9, "ignore_eos": True}
        expected = program.run(**given, **options, namespace="interpreted")
        got = program.compile().run(**given, **options, namespace="compiled")
        assert said(got) == said(expected)


def test_a_batch_is_the_interpreted_one(engine: esp.Engine) -> None:
    batch = [{"text": f"text {at % 3}"} for at in range(7)]
    options = {"backend": engine, "seed": 4, "ignore_eos": True}
    expected = joined.run_batch(batch, **options, namespace="a")
    compiled = joined.compile()
    for more in ({}, {"num_threads": 1}, {"order": "given"}, {"generator_style": True}):
        got = compiled.run_batch(batch, **options, namespace="b", **more)
        assert [said(state) for state in got] == [said(state) for state in expected]


def test_streaming(engine: esp.Engine) -> None:
    compiled = chat.compile()
    state = compiled.run(topic="owls", backend=engine, seed=2, stream=True)
    text = "".join(state.text_iter())
    assert text == state.text() == chat.run(topic="owls", backend=engine, seed=2).text()
    assert "".join(state.text_iter("second")) == state["second"]


def failing(run: Callable[..., Any], **given: Any) -> tuple[type, str]:
    with pytest.raises(Exception) as caught:
        run(**given)
    return type(caught.value), str(caught.value).replace("for the text", "")


FAILURES: list[tuple[esp.Program[Any], dict[str, Any], dict[str, Any]]] = [
    (chat, {"topic": "x"}, {"first": ValueError("no")}),
    (tree, {"question": "x"}, {"good": ["yes", "no", "perhaps", "no"]}),
    (joined, {"text": "x"}, {"part": ["a", ValueError("no"), "c"]}),
    (joined, {"text": "x"}, {"tail": ["a", ValueError("no")]}),
    (typed, {}, {"who": esp.Reply('{"name": "I', finish_reason="length")}),
]


@pytest.mark.parametrize(("program", "given", "script"), FAILURES)
def test_it_fails_as_its_function_does(
    program: esp.Program[Any], given: dict[str, Any], script: dict[str, Any]
) -> None:
    expected = failing(program.run, **given, backend=scripted(**script), seed=1)
    compiled = program.compile()
    assert failing(compiled.run, **given, backend=scripted(**script), seed=1) == expected
    [state] = compiled.run_batch([given], backend=scripted(**script))
    assert state.error() is not None


def test_a_failure_that_nobody_reads_is_told(engine: esp.Engine) -> None:
    @esp.function
    def quiet(s: State) -> str:
        s += "a" + esp.gen("x", 3)
        return "done"

    state = quiet.compile().run(backend=esp.Scripted(ValueError("no")))
    assert state.ret_value == "done"
    assert isinstance(state.error(), ProgramError)
    with pytest.raises(ProgramError, match="no"):
        state["x"]


def test_text_must_be_text() -> None:
    @esp.function
    def says(s: State, what: Any) -> None:
        s += "a" + what

    @esp.function
    def alone(s: State, what: Any) -> None:
        s += what

    assert says.compile().run(what="b", backend=scripted()).text() == "ab"
    for program in (says, alone):
        with pytest.raises(InvalidRequestError, match="expected a string, got int 3"):
            program.compile().run(what=3, backend=scripted())


def test_streams_wait_only_for_what_they_need() -> None:
    """The function would wait for `slow` before it asks for `other`; the graph does not."""

    @esp.function
    def two(s: State) -> None:
        a, b = s.fork(2)
        a += "a" + esp.gen("slow")
        a += "then " + f"{a['slow']}" + esp.gen("after")
        b += "b" + esp.gen("other")

    def order(run: Callable[..., Any]) -> list[str | None]:
        backend = esp.Scripted({"slow": esp.Reply("x", delay=0.2), "after": "y", "other": "z"})
        run(backend=backend)
        return [asked.name for asked in backend.asked]

    assert order(two.run) == ["slow", "after", "other"]
    assert order(two.compile().run) == ["slow", "other", "after"]


def test_arguments_and_options() -> None:
    compiled = chat.compile(count=3, temperature=0.5)
    assert compiled.arg_names == ["topic"]
    backend = scripted()
    compiled.run("owls", backend=backend)
    assert "003 words" in backend.prompts()[0]
    assert backend.asked[0].params is not None
    assert backend.asked[0].params.temperature == 0.5
    for given, words in [
        ({"count": 4}, "count was fixed"),
        ({"topik": "x"}, "Did you mean 'topic'"),
        ({}, "missing a required argument: 'topic'"),
        ({"topic": "x", "use_thread": False}, "runs independent streams at once"),
    ]:
        with pytest.raises(InvalidRequestError, match=words):
            compiled.run(**given, backend=backend)


def test_interpreted_runs_of_opaque_functions_are_plain_calls() -> None:
    assert shout("a") == "A!"
    with pytest.raises(InvalidRequestError, match="plain function"):
        esp.opaque(3)  # type: ignore[arg-type]
