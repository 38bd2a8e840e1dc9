"""Whole programs on a tiny engine: neighbours do not matter, and no prefix is computed twice."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

import espalier as esp
from espalier.errors import EngineError, GrammarError, InvalidRequestError, ProgramError
from espalier.frontend_lang.backends.base import Backend
from espalier.frontend_lang.backends.engine import EngineBackend, looks_like_engine
from tests.frontend_lang import machines

State = Any


@pytest.fixture
def fresh() -> str:
    """A namespace that nothing is cached in."""
    return uuid.uuid4().hex


@esp.function
def story(s: State, who: str, branches: int = 3) -> None:
    s += esp.system("The quick brown fox") + esp.user(
        f"Tell me about {who}, and it's already 12:45"
    )
    s += esp.assistant_begin() + "I say " + esp.gen("plan", 6, ignore_eos=True)
    forks = s.fork(branches)
    forks += lambda i: f" part {i}: " + esp.gen("part", 8, temperature=1.0, ignore_eos=True)
    forks.join()
    s += esp.assistant_end() + esp.user("so: " + "|".join(s["part"]))
    s += esp.assistant(esp.gen("end", 6))


def test_a_program_repeats_and_neighbours_do_not_matter(engine: esp.Engine, fresh: str) -> None:
    alone = story.run(who="foxes", backend=engine, seed=11, namespace=fresh)
    again = story.run(who="foxes", backend=engine, seed=11, namespace=uuid.uuid4().hex)
    batch = story.run_batch(
        [{"who": who} for who in ("dogs", "foxes", "cats", "foxes")],
        backend=engine,
        namespace=fresh,
    )
    repeated = story.run(who="foxes", backend=engine, seed=batch[1].seed)
    for name in ("plan", "part", "end"):
        assert alone[name] == again[name]
        assert batch[1][name] == repeated[name]
    assert alone.token_ids() == again.token_ids()
    assert batch[1]["part"] != batch[3]["part"]  # another seed


def test_branches_differ(engine: esp.Engine) -> None:
    state = story.run(who="foxes", branches=6, backend=engine, seed=3)
    assert len(set(state["part"])) > 1


def test_nothing_is_computed_twice(engine: esp.Engine, fresh: str) -> None:
    """All calls together compute each distinct token of the program's tree once, but for the last
    token of a repeat."""
    state = story.run(who="everything", branches=4, backend=engine, seed=1, namespace=fresh)
    data = state.report().to_dict()
    prompts: list[tuple[int, ...]] = []
    outputs = []
    for call in _calls(data["tree"]):
        assert call["prompt"] == call["cached"] + call["computed"] + call["shared"]
        outputs.append(call)
    trie: set[tuple[int, ...]] = set()
    for ids in _prompts(state):
        prompts.append(tuple(ids))
        trie.update(tuple(ids[: at + 1]) for at in range(len(ids)))
    computed = sum(call["computed"] for call in outputs)
    generated = sum(call["generated"] for call in outputs)
    assert computed <= len(trie)
    assert computed >= len(trie) - generated
    assert data["totals"]["computed_share"] < 0.5


def _calls(tree: dict[str, Any]) -> list[dict[str, Any]]:
    return tree["calls"] + [call for child in tree["children"] for call in _calls(child)]


def _prompts(state: State) -> list[list[int]]:
    """The prompts of the story's calls, from its own record of what was generated."""
    tokenizer = machines.byte_level()
    ids = state.token_ids()
    plan = state.get_meta_info("plan")["token_ids"]
    at = next(i for i in range(len(ids)) if ids[i : i + len(plan)] == plan) + len(plan)
    base = ids[:at]
    parts = [base + tokenizer.encode(f" part {i}: ") for i in range(len(state["part"]))]
    return [base[: -len(plan)], *parts, ids]


def test_a_gen_is_the_engines_answer_to_the_same_tokens(engine: esp.Engine) -> None:
    @esp.function
    def body(s: State) -> None:
        s += "The quick brown" + esp.gen("x", 8, temperature=0.8, seed=77)

    state = body.run(backend=engine)
    ids = machines.byte_level().encode("The quick brown", add_bos=True)
    params = esp.SamplingParams(max_tokens=8, temperature=0.8, seed=77)
    [direct] = engine.generate(input_ids=[ids], sampling_params=params)
    assert state["x"] == direct.text
    assert state.get_meta_info("x")["token_ids"] == direct.token_ids
    assert engine.generate("The quick brown", params)[0].text == direct.text


def test_messages_are_the_engines_messages(engine: esp.Engine) -> None:
    @esp.function
    def body(s: State) -> None:
        s += esp.user("The fox") + esp.assistant(esp.gen("x", 6, ignore_eos=True))

    state = body.run(backend=engine)
    [direct] = engine.generate(
        messages=[{"role": "user", "content": "The fox"}],
        sampling_params=esp.SamplingParams(max_tokens=6, ignore_eos=True),
    )
    assert state["x"] == direct.text
    assert state.get_meta_info("x")["prompt_tokens"] == direct.prompt_tokens


def test_the_end_of_turn_ends_a_gen_and_stands_once(engine: esp.Engine) -> None:
    @esp.function
    def body(s: State) -> None:
        end = next(iter(machines.byte_level().eos_ids))
        s += esp.user("hi")
        s += esp.assistant(esp.gen("x", 20, logit_bias={end: 100.0}, min_tokens=0))

    state = body.run(backend=engine)
    meta = state.get_meta_info("x")
    assert meta["finish_reason"]["type"] == "stop"
    assert state["x"] == ""
    ids = state.token_ids()
    end = next(iter(machines.byte_level().eos_ids))
    assert ids[-1] == end
    assert ids[-2] != end


def test_streams_on_the_engine(engine: esp.Engine) -> None:
    @esp.function
    def body(s: State) -> None:
        s += "The quick" + esp.gen("x", 12, ignore_eos=True, return_logprob=True)

    whole = body.run(backend=engine, seed=1)
    state = body.run(backend=engine, seed=1, stream=True)
    assert "".join(state.text_iter("x")) == whole["x"]
    assert "".join(state.text_iter()) == whole.text()
    assert len(state.get_meta_info("x")["output_token_logprobs"]) == 12


def test_typed_values_on_the_engine(engine: esp.Engine) -> None:
    @esp.function
    def body(s: State) -> None:
        s += "n: " + esp.gen("n", int, max_tokens=8) + " b: " + esp.gen("b", bool)
        s += " r: " + esp.gen("r", regex="(x|yz){2,3}") + " c: " + esp.gen("c", choices=["p", "q"])

    for seed in range(5):
        state = body.run(backend=engine, seed=seed, temperature=1.0)
        assert isinstance(state["n"], int)
        assert isinstance(state["b"], bool)
        assert state["r"].replace("yz", "x") in ("xx", "xxx")
        assert state["c"] in ("p", "q")


def test_a_run_that_asks_to_be_deterministic_is_so_throughout(
    engine: esp.Engine, fresh: str
) -> None:
    """Its calls and its selects share one cache, and its numbers do not depend on neighbours."""

    @esp.function
    def body(s: State) -> None:
        s += "The quick brown fox jumps over the lazy dog" + esp.gen("x", 8, ignore_eos=True)
        s += " and " + esp.select("y", ["the dog", "the cat", "the"]) + esp.gen("z", 4)

    def counts(state: State) -> list[tuple[int, int]]:
        return [(call.prompt, call.cached) for call in state.report().calls()]

    plain = body.run(backend=engine, seed=3, namespace=fresh)
    runs = []
    for options in (
        {"deterministic": True},
        {"sampling_params": {"deterministic": True}},
        {"sampling_params": esp.SamplingParams(deterministic=True, max_tokens=8)},
    ):
        namespace = f"{fresh} {len(runs)}"
        state = body.run(backend=engine, seed=3, namespace=namespace, **options)
        assert counts(state) == counts(plain)  # no prefix is computed twice
        ids = state.token_ids()
        assert engine.explain(ids, namespace, deterministic=True)["matched"] >= len(ids) - 1
        assert engine.explain(ids, namespace)["matched"] == 0
        runs.append([state["x"], *state.get_meta_info("y")["logprobs"].values(), state["z"]])
    assert runs[0] == runs[1] == runs[2]


def test_stop_strings_cut_inside_tokens(engine: esp.Engine) -> None:
    @esp.function
    def body(s: State, stop: str | None) -> None:
        grammar = "(the|lazy| quick| brown|dog){5,9}"
        s += "The quick" + esp.gen("x", 60, temperature=1.0, seed=5, regex=grammar, stop=stop)
        s += " then" + esp.gen("y", 3)

    free = body.run(None, backend=engine)["x"]
    assert len(free) > 12
    for stop in (free[1:3], free[2:4], free[9:12], free[5]):
        state = body.run(stop, backend=engine)
        cut = state.get_meta_info("x")["text"]
        assert cut == free[: free.index(stop)]
        text = machines.text_of(machines.byte_level(), state.token_ids()[1:])
        assert text.startswith("The quick" + cut + " then")


BAD: list[tuple[Any, type[Exception]]] = [
    (lambda: "word " * 2000 + esp.gen("x"), InvalidRequestError),
    (lambda: "a" + esp.gen("x", json_schema={"type": "no such type"}), GrammarError),
    (lambda: "a" + esp.gen("x", regex=r"(?=a)b"), GrammarError),
    (lambda: "a" + esp.gen("x", regex=r"a(?!a)b\bc"), GrammarError),
    (lambda: "a" + esp.gen("x", logit_bias={10**6: 1.0}), InvalidRequestError),
]


@pytest.mark.parametrize(
    ("make", "cause"), BAD, ids=["long", "schema", "lookahead", "more", "bias"]
)
def test_the_engine_goes_on_after_a_bad_request(
    engine: esp.Engine, make: Any, cause: type[Exception]
) -> None:
    @esp.function
    def body(s: State) -> None:
        s += make()

    state = body.run(backend=engine)
    with pytest.raises(ProgramError) as caught:
        state["x"]
    assert isinstance(caught.value.__cause__, cause)
    assert __file__ in str(caught.value.where)
    engine.check_invariants()
    assert len(story.run(who="x", backend=engine)["part"]) == 3


def test_cancelling_leaves_the_engine_whole(engine: esp.Engine) -> None:
    @esp.function
    def body(s: State) -> None:
        s += "The quick" + esp.gen("x", 500, ignore_eos=True)
        s += esp.gen("y")
        s.cancel()

    state = body.run(backend=engine)
    assert isinstance(state.error(), ProgramError)
    engine.check_invariants()
    assert story.run(who="x", backend=engine).error() is None


def test_the_adapter(engine: esp.Engine) -> None:
    backend = EngineBackend(engine)
    assert isinstance(backend, Backend)
    assert looks_like_engine(engine)
    assert not looks_like_engine(backend)
    pin = backend.pin([1, 2, 3], "", 1.0)
    backend.unpin(pin)
    assert backend.flush_cache() >= 0
    assert isinstance(backend.stats(), dict)


def test_a_select_asks_with_the_runs_priority(
    engine: esp.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    submit = engine.link.submit
    monkeypatch.setattr(engine.link, "submit", lambda given: (asked.extend(given), submit(given)))

    @esp.function
    def body(s: State) -> None:
        s += "The quick" + esp.select("x", [" brown", " red"]) + esp.gen("y", 2)

    assert body.run(backend=engine, priority=3, deadline=60).error() is None
    assert [request.priority for request in asked] == [3, 3, 3]
    assert all(0 < request.deadline <= 60 for request in asked)


def test_server_info(engine: esp.Engine) -> None:
    info = esp.get_server_info(engine)
    assert info["model"] == engine.info.model
    assert info["stats"]["capacity"] == info["capacity"]
    assert esp.get_server_info(esp.Scripted("x"))["stats"] == {"requests": 0}


def test_an_engine_of_its_own_process(tiny: tuple[Path, Any]) -> None:
    with esp.Engine(str(tiny[0])) as engine:
        state = story.run(who="foxes", backend=engine, seed=2)
        assert len(state["part"]) == 3
        assert state.error() is None
    with pytest.raises(ExceptionGroup) as caught:
        story.run(who="foxes", backend=engine)
    failed = caught.value.exceptions[0].__cause__
    assert isinstance(failed, ProgramError)
    assert isinstance(failed.__cause__, EngineError)
