"""Cassettes: what is recorded is what is replayed, and what is not on them says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import espalier as esp
from espalier import testing
from espalier.errors import InvalidRequestError, ProgramError, ServerError
from tests.apis.fake_api import KEY, FakeAPI, Fault

State = Any


@dataclass
class Person:
    name: str
    age: int


@esp.function
def everything(s: State, who: str = "Ada") -> None:
    s += esp.system("Be brief.") + esp.user(f"Who is {who}?")
    s += esp.assistant(esp.gen("a", max_tokens=9, logprobs=1) + "." + esp.gen("b", max_tokens=4))
    s += esp.user("Is that good?") + esp.assistant(esp.select("c", ["yes", "yes, very", "no"]))
    forks = s.fork(2)
    for number, branch in enumerate(forks):
        branch += esp.user(f"{number}?") + esp.assistant(esp.gen("d", max_tokens=5, temperature=1))
    forks.join()
    s += esp.user("Form?") + esp.assistant(esp.gen("n", regex="[0-9]{2}", n=2, temperature=1))


@pytest.fixture(scope="module")
def engine() -> Iterator[esp.Engine]:
    with esp.Engine("sprig", inline=True) as running:
        yield running


@pytest.mark.parametrize("streamed", [False, True])
def test_an_engine_is_replayed(streamed: bool, engine: esp.Engine, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.jsonl"
    with testing.record(path, engine) as recording:
        first = everything.run(backend=recording, seed=1, stream=streamed)
        first.sync()
    assert first.error() is None
    backend = testing.replay(path)
    second = everything.run(backend=backend, seed=2, stream=streamed)  # seeds tell nothing apart
    assert second.text() == first.text()
    for name in "abcdn":
        assert second[name] == first[name]
    for name in ("a", "c"):
        one, other = (state.get_meta_info(name) for state in (first, second))
        for part in ("finish_reason", "probabilities", "prompt_tokens", "completion_tokens"):
            assert other.get(part) == pytest.approx(one.get(part)) or other.get(part) == one.get(
                part
            )
    tokens = [state.get_meta_info("a")["output_token_logprobs"] for state in (first, second)]
    assert [logprob for logprob, *_ in tokens[1]] == [logprob for logprob, *_ in tokens[0]]
    assert second.report().totals()["prompt"] == first.report().totals()["prompt"]
    assert backend.unused() == []
    second._interpreter.check_invariants()


def test_the_same_program_writes_the_same_lines(engine: esp.Engine, tmp_path: Path) -> None:
    texts = []
    for number in range(2):
        with testing.record(tmp_path / f"{number}", engine) as recording:
            everything.run(backend=recording, seed=1)
        lines = [json.loads(line) for line in (tmp_path / f"{number}").read_text().splitlines()]
        for line in lines:
            for gives in [line["gives"]] if isinstance(line.get("gives"), dict) else []:
                for told in [gives, *gives.get("samples", [])]:
                    for name in ("seconds", "cached_tokens", "computed_tokens", "shared_tokens"):
                        told.pop(name, None)
        texts.append([line for line in lines if isinstance(line.get("gives"), dict)])
    assert texts[0] == texts[1]
    assert [line["by"]["name"] for line in texts[0]] == ["a", "b", "d", "d", "n"]
    assert "Who is Ada?" in texts[0][0]["asks"]["gen"]


def test_what_is_not_on_it(tmp_path: Path) -> None:
    @esp.function
    def ask(s: State, city: str, **options: Any) -> None:
        s += f"The capital of {city} is" + esp.gen("a", **options)

    path = tmp_path / "a.jsonl"
    with testing.record(path, esp.Scripted(default=" x")) as recording:
        ask.run(city="France", temperature=0.5, backend=recording)
        ask.run(city="a country far away", backend=recording)
    backend = testing.replay(path)
    with pytest.raises(ProgramError) as caught:
        ask.run(city="Frankonia", backend=backend)["a"]
    told = str(caught.value)
    assert isinstance(caught.value.__cause__, InvalidRequestError)
    assert "The nearest is line 2, gen('a')" in told
    at = len("<|bos|>The capital of Fran")
    assert f"the prompt differs at character {at}, recorded '" in told
    assert "France is'" in told
    assert "Frankonia is'" in told
    assert "params.temperature differs, recorded 0.5, asked None" in told
    assert backend.unused() == ["line 2, gen('a')", "line 3, gen('a')"]
    same = ask.run(city="France", temperature=0.5, max_tokens=3, backend=backend).error()
    assert "params.max_tokens differs, recorded None, asked 3" in str(same)
    assert "prompt differs" not in str(same)

    @esp.function
    def constrained(s: State) -> None:
        s += "The capital of France is" + esp.gen("a", temperature=0.5, regex="x")

    error = constrained.run(backend=backend).error()
    assert "grammar.kind differs, recorded None, asked 'regex'" in str(error)


def test_an_answer_is_given_once(tmp_path: Path) -> None:
    @esp.function
    def twice(s: State) -> None:
        forks = s.fork(2)
        forks += "x" + esp.gen("a")
        forks.join()

    path = tmp_path / "a.jsonl"
    answers = esp.Scripted(lambda asked: f"branch {asked.path[1]}")
    with testing.record(path, answers) as recording:
        assert twice.run(backend=recording)["a"] == ["branch 0", "branch 1"]
    backend = testing.replay(path)
    assert twice.run(backend=backend)["a"] == ["branch 0", "branch 1"]  # each its own
    with pytest.raises(ExceptionGroup, match="once more"):
        twice.run(backend=backend)


def test_of_calls_that_ask_the_same_the_seed_tells(tmp_path: Path) -> None:
    @esp.function
    def draw(s: State) -> None:
        s += "x" + esp.gen("a", temperature=1)

    path = tmp_path / "a.jsonl"
    with testing.record(path, esp.Scripted(["one", "two"])) as recording:
        for seed in (1, 2):
            draw.run(backend=recording, seed=seed)
    backend = testing.replay(path)
    assert [draw.run(backend=backend, seed=seed)["a"] for seed in (2, 1)] == ["two", "one"]


def test_errors_are_recorded(tmp_path: Path) -> None:
    @esp.function
    def ask(s: State) -> None:
        s += "x" + esp.gen("a")

    path = tmp_path / "a.jsonl"
    with testing.record(path, esp.Scripted(ServerError("down", hint="Wait"))) as recording:
        first = ask.run(backend=recording).error()
    second = ask.run(backend=testing.replay(path)).error()
    assert str(first) == str(second)
    assert isinstance(second.__cause__, ServerError)


def test_secrets_are_never_written(tmp_path: Path) -> None:
    @esp.function
    def ask(s: State) -> None:
        s += esp.user('my "password" is 12"34') + esp.assistant(esp.gen("a"))

    path = tmp_path / "a.jsonl"
    said = f"the key {KEY} is wrong"
    with ExitStack() as stack:
        api = stack.enter_context(FakeAPI(lambda prompt: KEY, faults=[None, Fault(401, body=said)]))
        options: Any = {"base_url": f"{api.url}/v1", "api_key": KEY, "retries": 0}
        backend = stack.enter_context(esp.OpenAI("fake", **options))
        recording = stack.enter_context(testing.record(path, backend, secrets=['12"34']))
        assert ask.run(backend=recording)["a"] == KEY
        assert ask.run(backend=recording).error() is not None
    text = path.read_text()
    assert KEY not in text
    assert json.dumps('12"34')[1:-1] not in text
    assert text.count("***") >= 3
    replayed = testing.replay(path, secrets=['12"34'])
    assert ask.run(backend=replayed)["a"] == "***"
    with pytest.raises(InvalidRequestError, match="secrets"):
        testing.record(path, backend, secrets=[""])


def test_secrets_are_not_spread_over_tokens_either(engine: esp.Engine, tmp_path: Path) -> None:
    @esp.function
    def ask(s: State) -> None:
        s += "The cat sat on" + esp.gen("a", max_tokens=6, logprobs=2, stop="never")
        s += esp.select("b", [" a secret", " gen"])

    said = ask.run(backend=engine)["a"]
    secret = said[2:9]
    path = tmp_path / "a.jsonl"
    with testing.record(path, engine, secrets=[secret, "gen", "secret"]) as recording:
        ask.run(backend=recording, stream=True).sync()
    _, first, second = (json.loads(line) for line in path.read_text().splitlines())
    pieces = "".join(part for part in first["pieces"])
    tokens = "".join(part for part in first["gives"]["tokens"])
    logprobs = "".join(part[0] for part in first["gives"]["logprobs"])
    for text in (pieces, tokens, logprobs, path.read_text()):
        assert secret not in text
    assert first["asks"]["gen"].endswith("sat on")  # the names of the cassette's own parts stay
    assert set("".join(part[0] for row in second["gives"] for part in row["prompt_logprobs"])) == {
        "*"
    }
    replayed = ask.run(backend=testing.replay(path, secrets=[secret, "gen", "secret"]))
    assert replayed["a"] == said.replace(secret, "***")


def test_an_api_is_replayed(tmp_path: Path) -> None:
    @esp.function(num_api_spec_tokens=64)
    def ask(s: State) -> None:
        s += esp.user("Who?") + esp.assistant("Name:" + esp.gen("a", stop="\n"))
        s += esp.user("As JSON?") + esp.assistant(esp.gen("b", Person))

    def model(prompt: str) -> str:
        return '{"name": "Ada", "age": 3}' if "JSON" in prompt else "Name: Ada.\nEnd"

    path = tmp_path / "a.jsonl"
    with ExitStack() as stack:
        api = stack.enter_context(FakeAPI(model))
        options: Any = {"base_url": f"{api.url}/v1", "api_key": KEY}
        backend = stack.enter_context(esp.OpenAI("fake", **options))
        recording = stack.enter_context(testing.record(path, backend))
        first = ask.run(backend=recording)
    second = ask.run(backend=testing.replay(path))
    assert (second["a"], second["b"]) == (first["a"], first["b"]) == (" Ada.", Person("Ada", 3))
    assert second.text() == first.text()


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for text, told in (("", "version"), ("{}", "version"), ('{"cassette": 1', ":1")):
        path.write_text(text)
        with pytest.raises(InvalidRequestError, match=told):
            testing.replay(path)
    with testing.record(path, esp.Scripted(default="x")):
        pass
    backend = testing.replay(path)
    with pytest.raises(InvalidRequestError, match="empty"):
        run_one(backend)
    with pytest.raises(InvalidRequestError, match="no chat"):
        backend.tokenizer.render_chat([{"role": "user", "content": "x"}])


def run_one(backend: Any) -> None:
    @esp.function
    def ask(s: State) -> None:
        s += "x" + esp.gen("a")

    error = ask.run(backend=backend).error()
    assert error is not None
    assert error.__cause__ is not None
    raise error.__cause__


def test_the_rest_of_the_protocol_is_passed_on(tmp_path: Path) -> None:
    scripted = esp.Scripted(default="x")
    recording = testing.record(tmp_path / "a", scripted)
    number = recording.pin([1, 2], "", None)
    assert scripted.pins == {number: [1, 2]}
    recording.unpin(number)
    assert (scripted.pins, recording.flush_cache()) == ({}, 0)
    assert recording.info() == scripted.info()
    assert recording.stats() == scripted.stats()
    assert recording.clock is scripted.clock
    recording.close()
    backend = testing.replay(tmp_path / "a")
    backend.unpin(backend.pin([1], "", None))
    assert (backend.flush_cache(), backend.info()["model"]) == (0, "scripted")
    assert backend.stats() == {"requests": 0, "unused": 0}
