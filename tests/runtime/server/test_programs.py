"""/v1/programs: a compiled program beside the cache says what it says in its author's process."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import espalier as esp
from espalier.errors import (
    BranchError,
    IncompleteError,
    InvalidRequestError,
    NotSupportedError,
    ProgramError,
)
from espalier.runtime.engine import Engine
from espalier.runtime.http_client import HTTPClient
from tests.runtime.serving import InProcess, call_until

State = Any
ROUTE = "/v1/programs"


@dataclasses.dataclass
class Person:
    name: str
    age: int


@esp.function
def extract(s: State, text: str = "Ida is 41 years old and lives in Bergen.") -> Any:
    s += esp.user(f"Extract name, age as JSON: {text}")
    s += esp.assistant(esp.gen("person", Person, max_tokens=60))
    return s["person"], text


@esp.function
def branching(s: State, number: int) -> Any:
    s += esp.user(f"What is {number:03d} + 48?")
    s += esp.assistant(esp.gen("sum", max_tokens=30))
    forks = s.fork(3)
    for at, fork in enumerate(forks):
        fork += esp.user(f"And {s['sum']!r} + {at}{s['sum']:>40}?")
        fork += esp.assistant(esp.gen("sum2", max_tokens=12, temperature=0.8))
        fork += esp.gen(None, max_tokens=2, temperature=1.0)
    forks.join()
    s += esp.user("Is it good? " + ", ".join(f"{x}" for x in s["sum2"]))
    s += esp.assistant(esp.select("good", ["yes", "no"]))
    if s["good"] == "yes":
        s += esp.user("Why?") + esp.assistant(esp.gen("why", max_tokens=4, n=2, temperature=1.0))
        return {"why": s["why"], "number": number}
    s.set_var("why", [s["good"], 1])
    return {"why": s["why"], "number": number}


@esp.function
def scoped(s: State, words: list[str], deep: dict[str, Any]) -> Any:
    with s.var_scope("all"):
        s += f"a {words[0]}" + esp.gen("x", max_tokens=6, stop=["e"], logprobs=1, seed=3)
    branch = s.fork(2)
    branch += lambda i: f" {i} {s['all']}" + esp.gen("y", max_tokens=3, temperature=0.5)
    branch.join("concate_and_append")
    s += f"{deep['a'][1]} {s.get_meta_info('x')['completion_tokens']}"
    s += esp.separate_reasoning(esp.gen("thought", max_tokens=5), model_type="qwen3")
    return f"{s['x']}!"


@esp.function
def number(s: State) -> Any:
    s += "7 + 8 = " + esp.gen("n", int, max_tokens=3) + ", and " + esp.gen("b", bool)
    s += f" {s['n']:05d}"
    s += esp.gen("many", tuple[bool, bool])
    return s["n"]


RUNS: list[tuple[Any, dict[str, Any]]] = [
    (extract, {}),
    (branching, {"number": 4}),
    (scoped, {"words": ["fine"], "deep": {"a": [1, "é🙂"]}}),
    (number, {}),
]


def graph_of(program: Any, **given: Any) -> dict[str, Any]:
    graph: dict[str, Any] = json.loads(program.compile(**given).to_json())
    return graph


def samples_of(state: Any, name: str) -> list[list[int]]:
    meta = state.get_meta_info(name)
    return [each["token_ids"] for each in meta.get("samples") or [meta]]


@pytest.fixture(params=["sprig", "null"])
def serving(request: Any) -> InProcess:
    made: InProcess = request.getfixturevalue(request.param)
    return made


@pytest.mark.parametrize(("program", "arguments"), RUNS, ids=[run[0].name for run in RUNS])
def test_it_says_what_it_says_in_process(
    serving: InProcess, program: Any, arguments: dict[str, Any]
) -> None:
    """Token by token: texts, ids, values, and what it returns; whole and streamed."""
    if serving.server.model_name == "null" and program is number:
        pytest.skip("a model that computes nothing ends no number")
    options = {"temperature": 0.3, "max_tokens": 9}
    compiled = program.compile()
    here = compiled.run(backend=serving.engine, seed=11, **arguments, **options)
    body = {
        "program": graph_of(program),
        "arguments": arguments,
        "sampling_params": options,
        "seed": 11,
    }
    told = serving.ok(ROUTE, **body)
    assert (told["text"], told["seed"], told["error"]) == (here.text(), 11, None)
    for value in told["values"]:
        if not value["branch"] and value["name"] in here:
            if value["kind"] == "gen":
                ids = [sample["token_ids"] for sample in value["samples"]]
                assert ids == samples_of(here, value["name"])
            if "error" not in value and value["name"] not in ("person", "many"):
                assert value["value"] == here[value["name"]]
    totals = here.report().totals()
    assert told["usage"]["completion_tokens"] == totals["generated"]

    events = serving.events(ROUTE, **body)
    assert [events[0]["event"], events[-1]["event"]] == ["began", "end"]
    assert events[-1]["text"] == told["text"]
    ended = [dict(each) for each in events if each["event"] == "value"]
    grown: dict[int, str] = {}
    for each in events:
        if each["event"] == "text":
            assert not any(each["number"] == one["number"] for one in ended[: -len(ended)])
            grown[each["number"]] = grown.get(each["number"], "") + each["text"]
    for value in ended:
        if value["number"] in grown and "error" not in value:
            assert str(grown[value["number"]]) == (
                value["value"] if isinstance(value["value"], str) else value["samples"][0]["text"]
            )
    plain = [{k: v for k, v in one.items() if k not in ("event", "usage")} for one in ended]
    whole = [{k: v for k, v in one.items() if k != "usage"} for one in told["values"]]
    assert sorted(plain, key=lambda one: one["number"]) == whole
    assert serving.left_over() == (0, 0, 0)


def test_a_value_is_told_as_soon_as_it_is_there(sprig: InProcess) -> None:
    """Texts before the value that they make, a branch's value before the join's."""

    def place(kind: str, name: str, branch: list[int]) -> int:
        return next(
            at
            for at, each in enumerate(events)
            if (each["event"], each.get("name"), each.get("branch")) == (kind, name, branch)
        )

    events = sprig.events(ROUTE, program=graph_of(branching), arguments={"number": 5}, seed=1)
    assert place("text", "sum", []) < place("value", "sum", []) < place("text", "sum2", [0, 1])
    assert place("value", "sum2", [0, 2]) < place("value", "sum2", []) < place("value", "good", [])
    texts = [each for each in events if each["event"] == "text" and each["name"] == "sum"]
    assert len(texts) > 5


# -- the author's end ------------------------------------------------------------------------------


class _Sync(httpx.BaseTransport):
    def __init__(self, serving: InProcess) -> None:
        self._serving = serving

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._serving.request(
            request.method, request.url.path, content=request.read(), headers=dict(request.headers)
        )
        return httpx.Response(answer.status_code, content=answer.content)


@pytest.fixture
def backend(sprig: InProcess) -> esp.HTTPBackend:
    made = esp.HTTPBackend("http://localhost")
    made.client = HTTPClient("http://localhost", sync_transport=_Sync(sprig))
    return made


@pytest.mark.parametrize(("program", "arguments"), RUNS, ids=[run[0].name for run in RUNS])
def test_run_remote_reads_as_a_state(
    backend: esp.HTTPBackend, sprig_engine: Engine, program: Any, arguments: dict[str, Any]
) -> None:
    compiled = program.using(temperature=0.3).compile()
    here = compiled.run(backend=sprig_engine, seed=11, **arguments)
    there = compiled.run_remote(backend=backend, seed=11, **arguments)
    assert there.text() == here.text()
    assert there.ret_value == here.ret_value
    assert there.seed == 11
    assert [*there] == [*there.var_names] == [*here.var_names]
    assert there
    assert len(there) == len(here)
    for name in here.var_names:
        assert there[name] == here[name]
    assert there.unnamed() == here.unnamed()


def test_run_remote_tells_failures_and_refuses_what_does_not_cross(
    backend: esp.HTTPBackend, sprig_engine: Engine
) -> None:
    compiled = extract.compile()
    cut = compiled.run_remote(backend=backend, max_tokens=3)
    assert cut.error() is None
    short = extract.using(max_tokens=2)

    @esp.function
    def small(s: State) -> None:
        s += "x" + esp.gen("p", Person, max_tokens=3)

    run = small.compile().run_remote(backend=backend)
    with pytest.raises(IncompleteError) as caught:
        _ = run["p"]
    assert caught.value.text == run.get_meta_info("p")["samples"][0]["text"]
    with pytest.raises(ProgramError, match="was not set"):
        _ = run["q"]
    with pytest.raises(InvalidRequestError, match="gets arguments as JSON"):
        compiled.run_remote(backend=backend, text=("a",))
    with pytest.raises(InvalidRequestError, match="HTTPBackend"):
        compiled.run_remote(backend=sprig_engine)
    with pytest.raises(NotSupportedError, match="does not stream"):
        short.compile().run_remote(backend=backend, stream=True)


def test_what_was_fixed_when_it_was_compiled_does_not_cross(backend: esp.HTTPBackend) -> None:
    """Nor need it be JSON."""

    @esp.function
    def several(s: State, words: tuple[str, ...], end: str) -> None:
        for word in words:
            s += word + esp.gen(word, max_tokens=2)
        s += end

    run = several.compile(words=("a", "b")).run_remote(backend=backend, end="!")
    assert [*run] == ["a", "b"]
    assert run.text().endswith("!")


def test_a_joins_failures_are_errors_there_too(backend: esp.HTTPBackend) -> None:
    @esp.function
    def keeping(s: State) -> None:
        s += "Say:"
        forks = s.fork(3)
        forks += lambda i: (" no" * 3000 if i == 1 else " yes") + esp.gen("x", max_tokens=3)
        forks.join(errors="keep")

    run = keeping.compile().run_remote(backend=backend)
    first, second, third = run["x"]
    assert isinstance(first, str)
    assert isinstance(third, str)
    assert isinstance(second, BranchError)
    assert "longer than the context" in str(second)
    assert run.error() is None
    assert run.branch(0, 2)["x"] == third
    with pytest.raises(ProgramError, match="longer than the context"):
        _ = run.branch(0, 1)["x"]


# -- what fails ------------------------------------------------------------------------------------


def test_a_branch_that_fails_ends_its_run(sprig: InProcess) -> None:
    """With its line; the other branches' values are told, and the cause by its own code."""

    @esp.function
    def failing(s: State, text: str) -> None:
        s += "Say:"
        forks = s.fork(2)
        forks[0] += " yes" + esp.gen("x", max_tokens=3)
        forks[1] += text + esp.gen("x", max_tokens=3)
        forks.join()

    body = {"program": graph_of(failing), "arguments": {"text": " no" * 3000}}
    told = sprig.ok(ROUTE, **body)
    assert told["error"]["code"] == "context_length_exceeded"
    assert __file__ in told["error"]["message"]
    one, other = (v for v in told["values"] if v["name"] == "x" and v["branch"])
    assert one["samples"]
    assert other["error"]["code"] == "context_length_exceeded"
    events = sprig.events(ROUTE, **body)
    assert events[-1]["error"]["code"] == "context_length_exceeded"
    assert sprig.left_over() == (0, 0, 0)
    assert 'code="context_length_exceeded"} 2' in sprig.get("/metrics").text


def test_reads_that_fail_are_the_programs(sprig: InProcess) -> None:
    @esp.function
    def reading(s: State, what: dict) -> None:  # type: ignore[type-arg]
        s += "x" + f"{what['key']}" + esp.gen("x", max_tokens=1)

    for what in ({}, [], "text", None, {"other": 1}):
        told = sprig.ok(ROUTE, program=graph_of(reading), arguments={"what": what})
        assert told["error"]["code"] == "program_failed"
        assert "has no entry ['=key']" in told["error"]["message"]
    assert sprig.ok(ROUTE, program=graph_of(reading), arguments={"what": {"key": 1}})["text"]


def test_a_deadline_and_an_engine_that_dies(
    null: InProcess, text_folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    @esp.function
    def long(s: State) -> None:
        for at in range(12):
            s += "x" + esp.gen(f"x{at}", max_tokens=2000, ignore_eos=True)

    told = null.ok(ROUTE, program=graph_of(long), deadline=0.05)
    assert told["seconds"] < 5
    codes = [value["error"]["code"] for value in told["values"] if "error" in value]
    assert codes
    assert set(codes) == {"deadline_exceeded"}
    with Engine("null", tokenizer=text_folder, inline=True) as engine:
        dying = InProcess(engine, served_model_names=("null",))
        core = engine.link.core  # type: ignore[attr-defined]
        step = core.step

        def die() -> Any:
            if core.scheduler.counters.generated_tokens > 5:
                engine._exchange.link._closed = True
                engine._exchange.link._require_open()
            return step()

        monkeypatch.setattr(core, "step", die)
        assert dying.refused(ROUTE, 503, program=graph_of(long))["code"] == "engine_dead"
        assert dying.server.admission.inflight == 0


# -- clients that go -------------------------------------------------------------------------------


@esp.function
def endless(s: State) -> None:
    forks = s.fork(3)
    for fork in forks:
        for at in range(5):
            fork += f"{at}" + esp.gen(f"x{at}", max_tokens=1500, ignore_eos=True)
    forks.join()


@pytest.fixture
def small(text_folder: Any) -> Iterator[InProcess]:
    with Engine("null", tokenizer=text_folder, inline=True, max_total_tokens=20_000) as engine:
        made = InProcess(engine, served_model_names=("null",))
        yield made
        assert made.left_over() == (0, 0, 0)
        stats = engine.stats()
        assert stats["free_slots"] + stats["evictable_slots"] == stats["capacity"]
        assert stats["pinned_slots"] == 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_takes_all_of_its_requests_with_it(
    small: InProcess, stream: bool
) -> None:
    """At once, before anything runs, and while its branches run."""
    counters = small.engine.link.core.scheduler.counters  # type: ignore[attr-defined]
    for tokens in (0, 1, 30, 300):
        began = counters.generated_tokens

        def leave(sent: Any, upto: int = began + tokens) -> bool:
            return bool(counters.generated_tokens >= upto)

        body = {"program": graph_of(endless), "stream": stream}
        asyncio.run(call_until(small.app, ROUTE, body, leave))
        assert small.left_over() == (0, 0, 0)
        # Of 22,500. Between the look at the counter and the leaving a machine on which four others
        # work makes some 3,000.
        assert counters.generated_tokens < began + tokens + 11_000
        left = counters.generated_tokens
        time.sleep(0.02)
        assert counters.generated_tokens == left  # nothing goes on


def test_a_run_is_aborted_by_its_id(small: InProcess) -> None:
    async def both() -> httpx.Response:
        transport = httpx.ASGITransport(small.app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            body = {"program": graph_of(endless), "request_id": "mine"}
            running = asyncio.ensure_future(client.post(ROUTE, json=body))
            while not small.engine.stats()["running"]:
                await asyncio.sleep(0.001)
            told = await client.post("/abort_request", json={"rid": "another"})
            assert told.json() == {"aborted": 0}
            assert (await client.post("/abort_request", json={"rid": "mine"})).json() == {
                "aborted": 1
            }
            return await running

    answer = asyncio.run(both()).json()
    assert answer["error"]["code"] == "request_cancelled"
    assert "it was aborted" in answer["error"]["message"]


def test_it_is_in_work_like_any_other(null_engine: Engine) -> None:
    """A program counts for what it may run at once; a full server refuses it, one that drains
    too."""
    full = InProcess(null_engine, served_model_names=("null",), max_inflight=4)
    assert full.ok(ROUTE, program=graph_of(branching), arguments={"number": 1})["values"]
    with full.server.admission.entered("", 2):
        body = {"program": graph_of(branching), "arguments": {"number": 1}}
        assert full.refused(ROUTE, 429, **body)["code"] == "queue_full"
        assert full.ok(ROUTE, program=graph_of(extract))["values"]
    full.server.admission.draining = True
    assert full.refused(ROUTE, 503, program=graph_of(extract))["code"] == "shutting_down"


def test_prefixes_are_shared_inside_ones_own_namespace(sprig_engine: Engine) -> None:
    keys = {"api_keys": ("one", "two")}
    serving = InProcess(sprig_engine, **keys)
    body = {"program": graph_of(extract), "arguments": {"text": "Otto, whom nobody knows, is 9."}}

    def cached(key: str, **more: Any) -> int:
        answer = serving.post(ROUTE, body | more, headers={"authorization": f"Bearer {key}"})
        told: int = answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
        return told

    assert cached("one") == 0
    assert cached("one") > 20
    assert cached("two") == 0
    assert cached("one", cache_salt="s") == 0
    assert cached("one", cache_salt="s") > 20
    assert serving.post(ROUTE, body).status_code == 401


# -- strangers -------------------------------------------------------------------------------------


def doubling(levels: int) -> dict[str, Any]:
    """Each value holds the one before it twice."""
    graph = graph_of(extract)

    def twice(at: int) -> dict[str, Any]:
        slot = {"type": "slot", "value": 900 + at}
        return {"type": "items", "kind": "list", "items": [slot, slot]}

    first = {"type": "constant", "data": "x"}
    graph["block"]["ops"] = [
        {"op": "set", "stream": 0, "where": "file.py:1", "name": f"v{at}", "value": 901 + at,
         "data": twice(at) if at else first}
        for at in range(levels)
    ]  # fmt: skip
    graph["block"]["returns"] = {"type": "constant"}
    return graph


def test_what_doubles_is_stopped(sprig: InProcess) -> None:
    began = time.perf_counter()
    told = sprig.ok(ROUTE, program=doubling(60))
    assert time.perf_counter() - began < 5
    assert told["error"]["code"] == "invalid_value"
    assert "at most 1,000,000 characters" in told["error"]["message"]
    assert len(json.dumps(told)) < 10_000_000
    assert sprig.ok(ROUTE, program=doubling(5))["error"] is None


@esp.function
def dear(s: State, text: str = "") -> None:
    s += "x" + text
    s += esp.gen("x", max_tokens=2) + esp.gen("y", max_tokens=2)


def choosing(count: int) -> dict[str, Any]:
    graph = graph_of(dear)
    graph["block"]["ops"][1:] = [
        {"op": "select", "stream": 0, "where": "file.py:1", "value": 0,
         "choices": [[f"{at}"] for at in range(count)]}
    ]  # fmt: skip
    return {"program": graph}


def bound_body(**params: Any) -> dict[str, Any]:
    graph = graph_of(dear)
    graph["block"]["ops"][1]["params"].update(params)
    return {"program": graph}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (bound_body(max_tokens=200_000, n=40), "program"),
        (bound_body(n=500), "n"),
        (choosing(2000), "choices"),
        (bound_body(stop=["a"] * 100), "stop"),
        (bound_body(logprobs=50), "logprobs"),
        (bound_body(temperature=-1), "temperature"),
        ({**bound_body(), "arguments": {"txt": "x"}}, "txt"),
        ({**bound_body(), "arguments": {"text": 7, "x": 1}}, "x"),
        ({**bound_body(), "sampling_params": {"max_tokens": -1}}, "max_tokens"),
        ({**bound_body(), "sampling_params": {"prompt_logprobs": 1}}, "prompt_logprobs"),
        ({**bound_body(), "deadline": -1.0}, "deadline"),
        ({**bound_body(), "seed": 2**64}, "seed"),
        ({**bound_body(), "stream": True, "arguments": {"txt": "x"}}, "txt"),
        ({"program": "x"}, "program"),
        ({"program": {"format": "pickle"}}, None),
        ({**bound_body(), "backend": "http://elsewhere"}, "backend"),
    ],
    ids=str,
)
def test_what_is_asked_too_much_is_refused(
    sprig: InProcess, body: dict[str, Any], param: str | None
) -> None:
    error = sprig.refused(ROUTE, **body)
    if param is not None:
        assert param in (error["param"] or "") + error["message"]
    assert sprig.left_over() == (0, 0, 0)


def test_a_priority_beyond_ones_share_is_refused(sprig_engine: Engine) -> None:
    locked = InProcess(sprig_engine, api_keys=("one",), admin_key="admin")
    graph = graph_of(dear)
    graph["block"]["ops"][1]["priority"] = 100

    def status(key: str) -> int:
        headers = {"authorization": f"Bearer {key}"}
        return locked.post(ROUTE, {"program": graph}, headers=headers).status_code

    assert (status("one"), status("admin")) == (400, 200)
