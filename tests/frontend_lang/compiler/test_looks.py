"""Checks, bounds, pictures, needs: what is known of a program before it runs."""

from __future__ import annotations

import asyncio
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

import espalier as esp
from espalier.errors import InvalidRequestError
from espalier.frontend_lang.backends.byte_tokenizer import ByteTokenizer
from espalier.frontend_lang.compiler import ir
from espalier.frontend_lang.compiler.batch import Room
from espalier.frontend_lang.compiler.bound import last_uses
from espalier.frontend_lang.compiler.bounds import bounds_with
from espalier.frontend_lang.compiler.memo import RememberingEncoder
from espalier.frontend_lang.compiler.needs import Needs
from espalier.frontend_lang.session import Machine
from espalier.runtime import cli
from tests.frontend_lang import machines
from tests.support import ROOT

State = Any


@esp.function
def forked(s: State, text: str) -> None:
    s += "abc" + text + "de"
    forks = s.fork(3)
    for at, fork in enumerate(forks):
        fork += str(at) + esp.gen("x", 10)
    forks.join()
    s += "\n" + s["x"][0] + esp.select("y", ["yes", "no"])
    if s["y"] == "yes":
        s += "!" + esp.gen("z", 50)


def test_bounds_are_what_a_run_asks_for() -> None:
    """Every gen takes all it may have: then the bounds are the run's own figures."""
    compiled = forked.compile()
    found = compiled.bounds(esp.Scripted(), text="words")
    script = {"x": ["x" * 10, "y" * 10, "z" * 10], "y": "yes", "z": "z" * 50}
    backend = esp.Scripted(script)
    state = compiled.run(text="words", backend=backend)
    told = [(call.name, call.prompt) for call in found.calls if call.kind == "gen"]
    asked = [(each.name, len(each.input_ids)) for each in backend.asked if each.choices is None]
    assert told == asked
    assert found.calls[-1].generated == 50
    assert found.longest == len(state.token_ids())
    assert found.ways == 2
    assert found.missing == frozenset()
    assert compiled.bounds(esp.Scripted()).missing == {"text"}
    root = len(state.token_ids())
    branches = 3 * (1 + 10)
    assert found.distinct == root + branches + len("no")
    assert found.computed == len("<abcwordsde") + len("012") + len("\n" + "x" * 10) + len("!")
    assert found.scored == len("yes") + len("no")
    assert found.generated == 3 * 10 + 50


def test_what_is_said_behind_the_last_call_is_not_computed() -> None:
    @esp.function
    def program(s: State) -> None:
        s += "ab"
        inner = s.fork(2)[0].fork(2)
        inner += "c" + esp.gen("x", 5) + "d"
        s += "e"

    found = bounds_with(program.compile().ir, ByteTokenizer())
    assert (found.prompts, found.computed, found.generated) == (2 * 4, 4 + 1, 2 * 5)


def test_forks_may_be_nested_deeper_than_pythons_stack() -> None:
    deep = sys.getrecursionlimit() + 100

    @esp.function
    def program(s: State) -> None:
        for _ in range(deep):
            s += "a"
            [s] = s.fork(1)
        s += esp.gen("x", 5)

    found = bounds_with(program.compile().ir, ByteTokenizer())
    assert (found.prompts, found.computed) == (1 + deep, 1 + deep)


def test_the_peak_forgets_branches_that_are_done() -> None:
    @esp.function
    def program(s: State) -> None:
        s += "a"
        for _ in range(4):
            with s.loop():
                forks = s.fork(2)
                forks += esp.gen("x", 100)
                forks.join()
                s += f"{s['x'][0]}"

    found = bounds_with(program.compile().ir, ByteTokenizer())
    assert found.distinct == 2 + 4 * 200 + 4 * 100
    assert found.peak == 2 + 3 * 100 + 200


def test_needs_grow_with_arguments_and_share_what_is_the_same() -> None:
    machine = Machine(esp.Scripted())
    machine.encoder = RememberingEncoder(machine.backend.tokenizer)
    needs = Needs(forked.compile().ir, machine, {})
    exact = bounds_with(forked.compile().ir, ByteTokenizer(), {"text": "w" * 100}).peak
    first = needs.of({"text": "w" * 100})
    assert first == exact
    shared_all = needs.of({"text": "w" * 100})
    assert shared_all == first - 100 - len("<abcde0")
    other = needs.of({"text": "v" * 100})
    assert other == first - len("<abc")


def test_room_is_first_come_first_served() -> None:
    async def body() -> list[int]:
        room, entered = Room(3, 100), []

        async def one(number: int, need: int) -> None:
            await room.enter(need)
            entered.append(number)
            await asyncio.sleep(0.01)
            room.leave(need)

        await asyncio.gather(*(one(at, need) for at, need in enumerate([60, 50, 10, 10, 500, 1])))
        return entered

    assert asyncio.run(body()) == [0, 1, 2, 3, 4, 5]


def test_streams_let_go_after_their_last_use() -> None:
    graph = forked.compile().ir
    ends = last_uses(graph.block)
    gens = [op for op in graph.block.ops if isinstance(op, ir.Generate)]
    assert [ends.get(id(op)) for op in gens] == [[op.stream] for op in gens]
    assert 0 not in [stream for streams in ends.values() for stream in streams]


def test_a_released_stream_holds_nothing(engine: esp.Engine) -> None:
    backend = esp.Scripted({"x": ["a", "b", "c"], "y": "no"})
    forked.compile().run(text="t", backend=backend)
    assert backend.held == {}

    seen: list[int] = []

    def look(asked: Any) -> str:
        seen.append(len(backend.held))
        return "yes"

    backend = esp.Scripted({"x": "abc", "y": look, "z": "d"})
    forked.compile().run(text="t", backend=backend)
    assert seen == [1]  # the program's own; the branches' are gone before the select


def test_checks_name_the_line() -> None:
    @esp.function
    def program(s: State) -> None:
        s += esp.gen("first", 3)
        s += esp.select("one", ["only"]) + " " + esp.gen("x", 3, ebnf="start: nowhere")
        forks = s.fork(2)
        forks[0] += esp.select("pair", ["a", "ab"]) + esp.gen("long", 5000)
        forks[0] += "." + esp.gen("open")

    compiled = program.compile()
    backend = esp.Scripted()
    backend.info = lambda: {"max_context": 1000}  # type: ignore[method-assign]
    found = [str(finding) for finding in compiled.check(backend)]
    for level, words in [
        ("warning", "a call before any text"),
        ("warning", "a select with one choice"),
        ("warning", "ends in a blank"),
        ("error", "the grammar cannot be enforced"),
        ("warning", "1 of 2 branches say nothing"),
        ("note", "one choice begins another"),
        ("error", "5000 generated), and the model's context has 1000"),
        ("note", "no max_tokens and no stop"),
    ]:
        lines = [line for line in found if f": {level}: " in line and words in line]
        assert len(lines) == 1, (words, found)
        assert re.match(re.escape(__file__) + r":\d+: ", lines[0])
    assert forked.compile().check() == []


def test_roles_that_do_not_nest_are_told_before_they_run() -> None:
    @esp.function
    def program(s: State) -> None:
        s += esp.assistant_begin() + esp.user("nested") + esp.gen("x", 3)
        s += esp.assistant_end()

    first, second = program.compile().check(esp.Scripted())
    assert "the role user begins inside the role assistant" in first.message
    assert "the role assistant ends, but none is open" in second.message


def test_pictures() -> None:
    compiled = forked.compile()
    text = compiled.graph()
    assert text.splitlines()[0].startswith("forked(text)")
    assert "| | gen     x <= 10" in text
    assert "switch  y" in text
    tree = ElementTree.fromstring(compiled.graph("svg"))
    said = [node.text for node in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert "select y: yes, no" in said
    assert compiled._repr_svg_() == compiled.graph("svg")
    assert esp.CompiledProgram.from_json(compiled.graph("json")).ir == compiled.ir
    assert forked.trace() == compiled.ir
    with pytest.raises(InvalidRequestError, match="'text', 'json' or 'svg'"):
        compiled.graph("png")  # type: ignore[arg-type]


def test_an_encoder_that_remembers_encodes_the_same() -> None:
    tokenizer = machines.byte_level()
    encoder = RememberingEncoder(tokenizer)
    for text in ("The fox", "The fox", ""):
        assert encoder.run(text) == tokenizer.encode(text, continues=True)
        assert encoder.start(text) == tokenizer.encode(text, add_bos=True)
        assert encoder.start(text, bos=False) == tokenizer.encode(text)
    given = encoder.run("The fox")
    given.append(1)
    assert encoder.run("The fox") != given


JUDGE = str(ROOT / "examples" / "judge.py")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compile", JUDGE]) == 0
    out = capsys.readouterr().out
    assert re.search(r"select verdict +\d+ +<= \d+ +judge.py:\d+", out)
    assert re.search(
        r"3 calls, 81 prompt tokens, of which at most 61 are computed; 9 tokens of", out
    )
    assert "generated;" not in out
    assert "only a run knows it: text" in out
    saved = tmp_path / "judge.json"
    given = ["compile", f"{JUDGE}:judge", "--arg", "text=hello", "--save", str(saved)]
    assert cli.main([*given, "--graph", "text"]) == 0
    out = capsys.readouterr().out
    assert "text    Text: hello" in out
    assert "food, travel, work or spor…  " in out
    assert cli.main(["compile", str(saved)]) == 0
    assert "beside" not in capsys.readouterr().out
    assert cli.main(["compile", str(saved), "--arg", "x=1"]) == 2


def test_the_command_tells_prompts_and_generated_tokens_apart(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["compile", str(ROOT / "examples" / "quickstart.py")]) == 0
    told = (
        "1 call, 18 prompt tokens, of which at most 18 are computed; at most 128 tokens generated;"
    )
    assert told in capsys.readouterr().out


def test_the_command_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "program.py"
    file.write_text(
        "import espalier as esp\n@esp.function\ndef f(s):\n    s += 'a' + esp.gen('x', 9)\n"
        "    if s['x'] == 'b':\n        s += 'c'\n"
    )
    assert cli.main(["compile", str(file)]) == 1
    assert f"(at {file}:5)" in capsys.readouterr().err
    file.write_text(file.read_text().split("    if")[0].replace("9", "9000"))
    assert cli.main(["compile", str(file)]) == 1
    assert f"{file}:4: error: up to 90" in capsys.readouterr().out
