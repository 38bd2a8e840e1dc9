"""Jobs for the engines of `espalier bench grammar`, and their answers, each in its own process."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from .grammar_engines import OURS
from .report import check_only, data_file

EOS_IDS = (128001, 128009)  # of Llama 3, whose tokenizer file names no special roles
SMALL_OBJECT = 8  # properties up to which a real schema's objects take them in any order
WORKER = (sys.executable, "-m", "espalier.benchmarks.grammar_worker")
SET_UP = 300.0  # seconds that an engine may take to make a vocabulary ready
Job = dict[str, Any]
Say = Callable[[str, int, int], None]  # what, how many are done, of how many


class Bench:
    """What the engines share: the tokenizer, how long a job may take (seconds), and the command
    that runs an engine."""

    def __init__(
        self,
        tokenizer_file: Path,
        eos_ids: Sequence[int],
        limit: float,
        say: Say,
        worker: Sequence[str] = WORKER,
    ) -> None:
        self._file = str(tokenizer_file)
        self._eos_ids = list(eos_ids)
        self._limit = limit
        self._say = say
        self._worker = worker
        self._tokenizer = Tokenizer.from_file(self._file)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def ask(self, engine: str, jobs: Sequence[Job]) -> tuple[Job, list[Job]]:
        """The answer of the engine's set-up, and those to the jobs. An answer with `error`: the
        engine refused, failed, crashed, or took too long."""
        set_up: Job = {}
        found: list[Job] = []
        with tempfile.TemporaryDirectory() as folder:
            while len(found) < len(jobs):
                done, why = self._run(engine, jobs, len(found), Path(folder))
                set_up = set_up or (done[0] if done else {})
                found += done[1:]
                if len(found) < len(jobs):
                    # Without a set-up nothing will ever come; else only this job is lost.
                    lost = 1 if done else len(jobs) - len(found)
                    found += [{"error": why} for _ in range(lost)]
        return set_up, found

    def _run(
        self, engine: str, jobs: Sequence[Job], start: int, folder: Path
    ) -> tuple[list[Job], str]:
        """Answers of one process to jobs[start:], the set-up's first, and why there are no more."""
        asked, answers, errors = folder / "jobs", folder / "answers", folder / "errors"
        header = {"tokenizer": self._file, "eos_ids": self._eos_ids}
        asked.write_text("".join(json.dumps(job) + "\n" for job in [header, *jobs[start:]]))
        answers.write_text("")
        found: list[Job] = []
        with errors.open("w") as complaints, answers.open() as lines:
            process = subprocess.Popen(
                [*self._worker, engine, str(asked), str(answers)],
                stdout=complaints,
                stderr=complaints,
            )
            try:
                part, since = "", time.monotonic()
                while len(found) <= len(jobs) - start:
                    ended = process.poll() is not None
                    *whole, part = (part + lines.read()).split("\n")
                    for line in whole:
                        found.append(json.loads(line))
                        since = time.monotonic()
                        number = min(start + len(found) - 1, len(jobs) - 1)
                        self._say(f"{engine}: {jobs[number]['name']}", number + 1, len(jobs))
                    if time.monotonic() - since > (self._limit if found else SET_UP):
                        return found, f"no answer in {self._limit:g} s"
                    if ended and not whole:
                        break
                    time.sleep(0.02)
            finally:
                process.kill()
                process.wait()
        said = errors.read_text().strip().splitlines()[-1:]
        return found, f"the process ended with {process.returncode}: {' '.join(said)[:200]}"


# -- jobs ------------------------------------------------------------------------------------------


def case_jobs(bench: Bench, only: Sequence[str], documents: int, tokens: int) -> list[Job]:
    """The yardstick's grammars, and their context-free ones in lark's syntax apart, each with other
    documents by random walks."""
    variants: dict[str, tuple[Mapping[str, str], Any]] = {}
    for case in json.loads(data_file("yardsticks/grammar_cases.json").read_text()):
        texts: Mapping[str, str] = case["text"]
        variants[case["name"]] = texts, case
        if "ebnf" in texts:
            variants[f"{case['name']} (lark)"] = {"lark": texts["lark"]}, case
    absent = [wanted for wanted in only if not any(wanted in name for name in variants)]
    check_only(absent, [*variants])
    found = []
    for name, (texts, case) in variants.items():
        if only and not any(wanted in name for wanted in only):
            continue
        job: Job = {"name": name, "texts": texts}
        job["valid"] = [bench.encode(text) for text in case["valid"]]
        job["invalid"] = [bench.encode(text) for text in case["invalid"]]
        found.append(job)
    walks = [
        job | {"kind": "walk", "documents": documents, "tokens": tokens, "seed": number}
        for number, job in enumerate(found)
    ]
    _, walked = bench.ask(OURS, walks)
    for job, answer in zip(found, walked, strict=True):
        job |= {"kind": "case", "walks": answer.get("documents", [])}
    return found


def suite_jobs(bench: Bench, every: int) -> list[Job]:
    """The groups of the JSON-Schema-Test-Suite's required tests, by keyword."""
    suite = data_file("json-schema-test-suite")
    options = {"annotate": True, "any_order": True, "flexible": True}
    found = []
    for file in sorted((suite / "draft2020-12").glob("*.json")):
        for group in json.loads(file.read_text()):
            job = _schema_job(bench, file.stem, group) | {"kind": "suite"}
            found.append(job | {"options": {**options, "registry": str(suite / "remotes")}})
    return found[::every]


def real_jobs(bench: Bench, every: int) -> list[Job]:
    """Schemas from the wild."""
    lines = data_file("real-schemas/schemas.jsonl").read_text().splitlines()
    found = []
    for line in lines[::every]:
        row = json.loads(line)
        job = _schema_job(bench, row["name"], row) | {"kind": "real"}
        any_order = most_properties(row["schema"]) <= SMALL_OBJECT
        found.append(job | {"options": {"any_order": any_order, "flexible": True}})
    return found


def _schema_job(bench: Bench, name: str, row: Mapping[str, Any]) -> Job:
    texts = [json.dumps(test["data"], ensure_ascii=False) for test in row["tests"]]
    return {
        "name": name,
        "schema": json.dumps(row["schema"]),
        "tests": [bench.encode(text) for text in texts],
        "valid": [test["valid"] for test in row["tests"]],
    }


def most_properties(schema: object) -> int:
    """The largest number of properties that one object of the schema declares."""
    most, waiting = 0, [schema]
    while waiting:
        here = waiting.pop()
        if isinstance(here, dict):
            properties = here.get("properties")
            most = max(most, len(properties) if isinstance(properties, dict) else 0)
            waiting.extend(here.values())
        elif isinstance(here, list):
            waiting.extend(here)
    return most
