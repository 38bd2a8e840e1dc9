"""The library of programs: each is right, and compiled it says the same, token for token."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

import espalier as esp
from examples import (
    branch_solve_merge,
    characters,
    chat_turns,
    few_shot,
    json_from_page,
    judge,
    quickstart,
    rag,
    react,
    self_consistency,
    skeleton_of_thought,
    tools,
    tree_of_thought,
)

EXAMPLES = [
    branch_solve_merge,
    characters,
    chat_turns,
    few_shot,
    json_from_page,
    rag,
    react,
    self_consistency,
    skeleton_of_thought,
    tree_of_thought,
]
PROGRAMS: list[tuple[Any, esp.Program[Any], dict[str, Any]]] = [
    (branch_solve_merge, branch_solve_merge.branch_solve_merge, {}),
    (characters, characters.character, {}),
    (chat_turns, chat_turns.chat, {"turns": chat_turns.TURNS}),
    (few_shot, few_shot.classify, {}),
    (json_from_page, json_from_page.read, {}),
    (judge, judge.judge, {}),
    (quickstart, quickstart.extract, {}),
    (rag, rag.answer, {"notes": 2}),
    (react, react.react, {}),
    (self_consistency, self_consistency.solve, {"samples": 5}),
    (skeleton_of_thought, skeleton_of_thought.skeleton_of_thought, {"points": 3}),
    (tree_of_thought, tree_of_thought.tree_of_thought, {"plans": 2, "tries": 2}),
]


@pytest.fixture(scope="module")
def engine() -> Iterator[esp.Engine]:
    with esp.Engine(inline=True) as made:
        yield made
        made.check_invariants()


def backend(module: Any, engine: esp.Engine) -> Any:
    """The embedded model, or the script of an example that needs a cleverer one."""
    return esp.Scripted(module.SCRIPT) if hasattr(module, "SCRIPT") else engine


@pytest.mark.parametrize(
    ("module", "program", "fixed"), PROGRAMS, ids=[program.name for _, program, _ in PROGRAMS]
)
def test_compiled_it_says_the_same(
    module: Any, program: esp.Program[Any], fixed: dict[str, Any], engine: esp.Engine
) -> None:
    expected = program.run(backend=backend(module, engine), seed=3, namespace="interpreted")
    compiled = program.compile(**fixed)
    loaded = esp.CompiledProgram.from_json(compiled.to_json(), modules=[module.__name__])
    for run in (compiled, loaded):
        got = run.run(backend=backend(module, engine), seed=3, namespace="compiled")
        assert got.token_ids() == expected.token_ids()
        assert got.text() == expected.text()
        assert got.ret_value == expected.ret_value
        assert got.var_names == expected.var_names
        assert [got[name] for name in got.var_names] == [expected[n] for n in expected.var_names]


@pytest.mark.parametrize(("module", "program", "fixed"), PROGRAMS)
def test_nothing_is_wrong_with_it(
    module: Any, program: esp.Program[Any], fixed: dict[str, Any], engine: esp.Engine
) -> None:
    findings = program.compile(**fixed).check(engine)
    assert [str(found) for found in findings if found.level != "note"] == []


def test_a_loop_that_the_model_ends_is_refused_by_name() -> None:
    with pytest.raises(esp.NotSupportedError, match=r"use_tools.*cannot be compiled.*tools\.py"):
        tools.assist.compile()


def test_answers(engine: esp.Engine) -> None:
    assert self_consistency.solve.run(backend=engine, seed=1).ret_value == "85"
    event = json_from_page.Event("Jazz Night", "March 5", "Town Hall")
    assert json_from_page.read.run(backend=engine).ret_value == event
    assert "Zorina" in chat_turns.chat.run(backend=engine).ret_value[-1]
    assert "Bolt" in rag.answer.run(backend=engine).ret_value
    labels = [few_shot.classify.run(review=r, backend=engine)["label"] for r in few_shot.REVIEWS]
    assert labels == ["negative", "positive", "neutral"]
    for seed in range(3):
        text = characters.character.run(backend=engine, seed=seed).ret_value
        assert re.fullmatch(characters.CHARACTER, text)
        assert set(json.loads(text)) == {"name", "house", "age", "wand"}


def test_answers_by_script() -> None:
    def ran(module: Any, program: esp.Program[Any], **script: Any) -> Any:
        return program.run(backend=esp.Scripted({**module.SCRIPT, **script})).ret_value

    assert ran(react, react.react) == " 425,770"
    assert ran(react, react.react, action0="finish") == " Oslo"
    assert ran(react, react.react, action3="calculate") == "no answer"
    found = ran(tree_of_thought, tree_of_thought.tree_of_thought)
    assert found == " (10 - 4) * (13 - 9)"
    assert ran(branch_solve_merge, branch_solve_merge.branch_solve_merge)["grade"] == "B"


def test_what_the_branches_send() -> None:
    script = esp.Scripted(tree_of_thought.SCRIPT)
    tree_of_thought.tree_of_thought.run(backend=script)
    assert " (10 - 4) * (13 - 9) = 24\nSo the answer is" in script.prompts("answer")[0]
    script = esp.Scripted(branch_solve_merge.SCRIPT)
    branch_solve_merge.branch_solve_merge.run(backend=script)
    assert "evidence: One figure, and no source (C)" in script.prompts("summary")[0]
    script = esp.Scripted(skeleton_of_thought.SCRIPT)
    essay = skeleton_of_thought.skeleton_of_thought.run(backend=script)["essay"]
    assert essay.splitlines()[2] == " A bag: A roll-top bag, closed thrice."
    assert "3. Silica gel\nPoint 2 in two sentences:" in script.prompts("text")[1]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 * (3 + 4)", "14"),
        ("1 / 4", "0.25"),
        ("717710 + 291940", "1009650"),
        ("-5 + 3", "-2"),
        (f"1{'0' * 400} / 3.0", "error: "),
        ("1 / 0", "error: "),
        ("__import__('os')", "error"),
    ],
)
def test_the_calculator_only_calculates(expression: str, value: str) -> None:
    assert react.calculate(expression).startswith(value)


def test_the_retriever_wants_rare_words() -> None:
    assert rag.retrieve("What is my favorite color?", 1) == ["My favorite color is green."]
    assert json_from_page.text_of("<p>a&nbsp;<script>b</script> c</p>") == "a c"
    assert json_from_page.text_of("<style>x</style><p>a</p></head></style> b") == "a b"


def test_more_notes_than_there_are() -> None:
    assert rag.answer.run(notes=99, backend=esp.Scripted("Rex"))["answer"] == "Rex"


@pytest.mark.parametrize("program", EXAMPLES)
def test_main_blocks(program: Any, capsys: pytest.CaptureFixture[str]) -> None:
    program.main()
    assert "prompt tokens" in capsys.readouterr().out
