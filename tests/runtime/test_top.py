"""`Engine.tree()` and `espalier top`."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from espalier.errors import InvalidRequestError
from espalier.runtime import cli, cli_top, top
from espalier.runtime.engine import Engine
from espalier.types import SamplingParams
from tests.tiny_tokenizers import save

SHORT = SamplingParams(max_tokens=2, ignore_eos=True)
PROGRAM = """
import espalier as esp

@esp.function
def branches(s, about: str = "cats"):
    s += f"Some words about {about}: "
    forks = s.fork(3)
    for number in range(3):
        forks[number] += f"branch {number} " + esp.gen("x", 4, ignore_eos=True)
    forks.join()

@esp.function
def fails(s):
    s += "x" + esp.gen("x", regex="(")
"""


@pytest.fixture(scope="module", params=["inline", "process"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    folder = save(tmp_path_factory.mktemp("tokenizer"), eos_token="<|end|>")
    with Engine(
        "null", inline=request.param == "inline", tokenizer=str(folder), max_total_tokens=512
    ) as made:
        yield made


def test_the_tree_tells_what_is_shared(engine: Engine) -> None:
    engine.flush_cache()
    assert engine.tree().nodes == []
    stem = "A word or two that all of them begin with."
    ids = engine.tokenizer.encode(stem)
    engine.generate(input_ids=[[*ids, end] for end in (300, 301, 302)], sampling_params=SHORT)
    pin = engine.pin(ids)
    view = engine.tree(text_tokens=200)
    first, *_ = view.hottest
    assert first.text == stem
    assert first.recent >= 3
    shared = view.nodes[first.node]
    assert (shared.start, shared.end, shared.users, shared.pinned) == (0, first.tokens, 0, True)
    assert shared.residency == "device"
    assert view.total_tokens == sum(node.tokens for node in view.nodes)
    engine.unpin(pin)
    short = engine.tree(max_nodes=1, hottest=1, text_tokens=6)
    assert len(short.nodes) == len(short.hottest) == 1
    [hot] = short.hottest
    assert (hot.head, hot.tail) == (ids[:3], ids[-3:])
    assert hot.text is not None
    assert stem.startswith(hot.text.split(" … ")[0])
    assert stem.endswith(hot.text.split(" … ")[1])
    assert engine.tree(hottest=0).hottest == []


def test_the_tree_tells_who_runs(engine: Engine) -> None:
    stream = engine.stream(
        input_ids=[7, 7, 7, 7], sampling_params=SamplingParams(max_tokens=400, ignore_eos=True)
    )
    next(stream)
    view = engine.tree()
    assert [node.users for node in view.nodes if node.users] == [1]
    [only] = engine.tree(max_nodes=1).nodes  # what runs comes before all that is idle
    assert only.users == 1
    stream.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("where", "given"),
    [
        ("max_nodes", {"max_nodes": 0}),
        ("max_nodes", {"max_nodes": 10**9}),
        ("hottest", {"hottest": -1}),
        ("text_tokens", {"text_tokens": 1.5}),
        ("text_tokens", {"text_tokens": True}),
    ],
)
def test_bad_bounds(engine: Engine, where: str, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        engine.tree(**given)
    assert caught.value.where == where


def test_a_tree_without_a_tokenizer_has_ids() -> None:
    with Engine("null", inline=True) as engine:
        engine.generate(input_ids=[[5, 6, 7]], sampling_params=SHORT)
        [hot, *_] = engine.tree().hottest
        assert (hot.text, hot.head[:3]) == (None, [5, 6, 7])
        assert "5 6 7" in top.line(top.Sampler(engine).sample())


def test_rates_are_of_what_happened_since(engine: Engine) -> None:
    engine.flush_cache()
    times = iter([0.0, 2.0, 4.0])
    sampler = top.Sampler(engine, clock=lambda: next(times))
    engine.generate(input_ids=[[9] * 10], sampling_params=SHORT)
    first = sampler.sample()
    assert first.computed_per_second == 5.0
    assert first.generated_per_second == 1.0
    assert first.hit_rate == 0.0
    engine.generate(input_ids=[[9] * 10], sampling_params=SHORT)
    second = sampler.sample()
    assert second.hit_rate == 0.9
    assert second.seconds == 4.0
    assert (second.running, second.waiting, second.in_use) == (0, 0, 0)
    assert second.hit_rate_total is not None
    said = top.line(second)
    assert "hit rate 90%" in said
    assert f"free of {second.capacity}" in said


def test_a_screen_fits_its_terminal(engine: Engine) -> None:
    engine.flush_cache()
    engine.generate(["[b]A\nline[/b] " + "that is long " * 40], SHORT)
    out = io.StringIO()
    console = Console(file=out, width=80, height=24, force_terminal=True, color_system=None)
    console.print(top.screen(top.Sampler(engine).sample(), "program"))
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue()).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(r"[b]A\nline[/b]" in line for line in lines)
    assert any("hottest prefixes" in line for line in lines)


def test_it_draws_on_a_terminal_and_writes_lines_elsewhere(engine: Engine) -> None:
    for terminal in (True, False):
        out = io.StringIO()
        console = Console(file=out, width=90, force_terminal=terminal)
        with cli_top.watched(engine, "program", 0.01, console):
            engine.generate(input_ids=[[3, 4]], sampling_params=SHORT)
        assert ("\x1b[" in out.getvalue()) == terminal
        assert "hit rate" in out.getvalue()
    assert out.getvalue().count("\n") >= 1  # once more at the end


def test_an_engine_that_ends_ends_the_view() -> None:
    engine = Engine("null")
    out = io.StringIO()
    with cli_top.watched(engine, "program", 0.01, Console(file=out)):
        engine.shutdown()


@pytest.fixture
def run(
    tiny_model: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """The command on a tiny model: exit code, standard output, standard error."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    model = str(tiny_model("llama3", text=True).folder)

    def call(name: str, *more: str) -> tuple[int, str, str]:
        code = cli.main(["top", f"{path}:{name}", "--model", model, "--interval", "0.05", *more])
        return code, *capsys.readouterr()

    return call


@pytest.mark.timeout(900)
def test_the_command(run: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = run("branches", "--arg", "about=dogs")
    assert code == 0
    assert "running" in out
    assert "Some words about dogs" in out  # the text of the hottest prefix
    assert "gen x" in err  # the report
    code, out, err = run("branches", "--times", "3", "--at-once", "2")
    assert code == 0
    assert "3 runs, 0 failed" in err
    code, _, err = run("fails")
    assert code == 1
    assert "column 1" in err


@pytest.mark.parametrize(
    "more", [["--times", "0"], ["--at-once", "0"], ["--interval", "0"], ["--interval", "nan"]]
)
def test_bad_options(run: Callable[..., tuple[int, str, str]], more: list[str]) -> None:
    code, _, err = run("branches", *more)
    assert code == 2
    assert more[0] in err
