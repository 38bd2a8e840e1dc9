"""The grammar benchmark on a tiny vocabulary, without peers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from espalier.benchmarks import grammar, grammar_growth
from espalier.benchmarks.grammar_engines import OURS, Options, spec_of
from espalier.benchmarks.grammar_rows import case_rows, real_rows, suite_rows, verdicts
from espalier.benchmarks.grammar_runs import Bench, case_jobs, most_properties
from espalier.benchmarks.report import Row
from espalier.errors import InvalidRequestError
from espalier.grammar import GrammarCompiler, Vocabulary
from tests.support import data_path
from tests.tiny_tokenizers import byte_level

SCHEMA = '{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}'


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer = byte_level()
    tokenizer.save(str(file))
    return Bench(file, [1], 60.0, lambda what, done, total: None)


def _case(bench: Bench, kind: str, text: str, valid: str, invalid: str) -> dict[str, object]:
    return {
        "kind": "case", "name": kind, "texts": {kind: text}, "valid": [bench.encode(valid)],
        "invalid": [bench.encode(invalid)], "walks": [],
    }  # fmt: skip


def test_cases(bench: Bench) -> None:
    jobs = [
        _case(bench, "regex", "[ab]{2,3}", "aba", "abab"),
        _case(bench, "ebnf", 'root ::= "(" root ")" | "x"', "((x))", "((x)"),
        _case(bench, "regex", "(", "a", "b"),
    ]
    walks = [
        job | {"kind": "walk", "documents": 4, "tokens": 8, "seed": 1, "name": "walk"}
        for job in jobs[:2]
    ]
    set_up, walked = bench.ask(OURS, walks)
    assert set_up["set-up"] > 0
    for job, answer in zip(jobs, walked, strict=False):
        job["walks"] = answer["documents"]
        assert len(answer["documents"]) == 4
    _, answers = bench.ask(OURS, jobs)
    assert [answer.get("rejected") for answer in answers] == [0, 0, None]
    assert [answer.get("accepted") for answer in answers] == [0, 0, None]
    assert [answer.get("walks") for answer in answers] == [2, 2, None]
    assert "never closed" in answers[2]["error"]
    rows = case_rows(jobs, {OURS: answers, "XGrammar": [{"error": "no"}] * 3})
    found = {row.name: row for row in rows}
    assert found["grammar/ebnf: wrong verdicts"].value == 0
    assert found["grammar/regex: cold total"].value > 0
    assert not found["grammar/ebnf: compile"].peers


def test_schemas(bench: Bench) -> None:
    tests = [bench.encode(text) for text in ('{"a": 1}', '{"a": "x"}')]
    job = {"name": "mine", "schema": SCHEMA, "tests": tests, "valid": [True, False]}
    nothing = job | {"schema": '{"type": "string", "enum": [1]}', "valid": [False, False]}
    jobs = [job | {"kind": "suite"}, nothing | {"kind": "suite"}]
    _, answers = bench.ask(OURS, jobs)
    assert [answer["verdicts"] for answer in answers] == [[True, False], [False, False]]
    rows = {row.name: row.value for row in suite_rows(jobs, {OURS: answers})}
    assert rows["grammar/suite/all: right"] == 4
    _, answers = bench.ask(OURS, [job | {"kind": "real"}])
    rows = {row.name: row.value for row in real_rows([job], {OURS: answers})}
    assert rows["grammar/real/passing"] == 1
    assert 0 < rows["grammar/real/memory of a grammar, median"] < 10
    assert rows["grammar/real/mask and accept p99"] > 0


@pytest.mark.data
def test_a_case_that_is_not_there_is_told_with_the_nearest(bench: Bench) -> None:
    data_path("yardsticks/grammar_cases.json")
    with pytest.raises(InvalidRequestError, match=r"Did you mean re_email\?"):
        case_jobs(bench, ["cfg_", "re_emial"], 1, 1)


WORKER = """
import json, os, sys, time
engine, jobs, answers = sys.argv[1:]
out = open(answers, "w", buffering=1)
for number, line in enumerate(open(jobs)):
    what = json.loads(line).get("name")
    if what == "dies":
        print("goodbye", file=sys.stderr, flush=True)
        os._exit(3)
    if what == "hangs":
        time.sleep(60)
    out.write(json.dumps({"done": what}) + "\\n")
"""


def test_a_job_that_kills_or_hangs_its_engine_is_lost_alone(bench: Bench, tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    said: list[tuple[str, int, int]] = []
    mine = Bench(
        Path(bench._file), [1], 3.0, lambda *what: said.append(what), (sys.executable, str(script))
    )
    jobs = [{"name": name} for name in ("a", "dies", "b", "hangs", "c")]
    set_up, answers = mine.ask("engine", jobs)
    assert set_up == {"done": None}
    assert [answer.get("done") for answer in answers] == ["a", None, "b", None, "c"]
    assert answers[1]["error"] == "the process ended with 3: goodbye"
    assert answers[3]["error"] == "no answer in 3 s"
    assert said[-1] == ("engine: c", 5, 5)


def test_verdicts_count_tests() -> None:
    job = {"valid": [True, False, True]}
    assert verdicts(job, {"error": "no"}) == {"refused": 3}
    assert verdicts(job, {"verdicts": [True, True, False]}) == {
        "right": 1, "accepts invalid": 1, "rejects valid": 1,
    }  # fmt: skip


def test_helpers() -> None:
    schema = {"properties": {"a": {"properties": {"b": 1, "c": 2, "d": 3}}}, "items": [{}]}
    assert most_properties(schema) == 3
    assert spec_of({"json_schema": "{}"}, Options(any_order=True)).property_order == "any"
    rows = [
        Row(name=f"grammar/real/the slowest mask and accept of @ {tail}", value=tail, unit="us",
            peers={"XGrammar": 2.0 * tail})
        for tail in (2, 10)
    ]  # fmt: skip
    assert "XGrammar" in grammar.plot(rows)
    assert np.isfinite(rows[0].value)


def test_missing_peers_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ESPALIER_DATA", str(tmp_path))
    with pytest.raises(InvalidRequestError, match=r"tokenizer\.json"):
        grammar.main(["--part", "cases"])
    said = capsys.readouterr().out
    assert "XGrammar" in said or not grammar.missing()


def test_growth() -> None:
    compiler = GrammarCompiler(Vocabulary([bytes([i]) for i in range(256)], [], []))
    rows = {row.name: row.value for row in grammar_growth.measure(compiler, sizes=(3, 10, 30))}
    assert len(rows) == len(grammar_growth.KINDS) * 2 * 4
    assert rows["grammar/growth, enum: compile @ 30"] > 0
    assert -1 < rows["grammar/growth, oneOf of objects: first mask: slope"] < 2.5
