"""`espalier demo`: a guided tour with the embedded model, which checks its own answers.

Three programs run on one engine: fields of real sentences into a dataclass, one text judged along
forks and merged, and a loop that calls tools. Then: what every call cost, and what sharing saved.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict

import msgspec
from rich.console import Console

from .. import frontend_lang as esp
from ..errors import EspalierError, InvalidRequestError
from .engine import Engine

ABOUT = """\
A guided tour in under a minute, on the embedded model: typed JSON from sentences, one text judged
along several forks and merged, a small tool-using loop, and what sharing prefixes saved. It checks
its own answers: exit code 1 when one is wrong.

examples
  espalier demo
  espalier demo --text "Ida is 41 years old and lives in Bergen."
  espalier demo --text "Omar bought three lamps at $20 each." --fields item,quantity,price
  espalier demo --cases FILE     score lines of {"text", "fields", "expected"} instead (-: stdin)"""

FIELDS: dict[str, type] = {
    **dict.fromkeys(("name", "city", "job", "company"), str),
    "age": int,
    **dict.fromkeys(("item", "customer"), str),
    "quantity": int,
    "price": float,
    **dict.fromkeys(("title", "date", "time", "place"), str),
}


@dataclasses.dataclass
class Person:
    name: str
    age: int
    city: str


PEOPLE = {
    "Zorina Okafor is 34 years old and lives in Lisbon.": Person("Zorina Okafor", 34, "Lisbon"),
    "Meet Tomas, a 27 year old from Krakow.": Person("Tomas", 27, "Krakow"),
    "At 52, Ingrid Solberg moved to Bergen.": Person("Ingrid Solberg", 52, "Bergen"),
}

TEXT = "Thank you so much! The pizza arrived on Friday at 7 pm. Please hurry with the other one!"
DIMENSIONS = {
    "tone": ["friendly", "neutral", "rude"],
    "urgency": ["urgent", "calm"],
    "topic": ["food", "travel", "work", "sport"],
}
VERDICTS = ["friendly", "urgent", "food"]


def weather(city: str) -> str:
    return {"Paris": "sunny, 21 degrees", "Oslo": "snow, -3 degrees"}.get(city, "no report")


def add(a: int, b: int) -> str:
    return str(a + b)


def population(city: str) -> str:
    return {"Rome": "2.8 million", "Oslo": "700 thousand"}.get(city, "unknown")


TOOLS = (weather, add, population)
CALLS = {
    "What is the weather in Paris?": {"tool": "weather", "args": {"city": "Paris"}},
    "What is 12 plus 30?": {"tool": "add", "args": {"a": 12, "b": 30}},
}


@esp.function
def extract(s: esp.ProgramState, sentence: str, record: Any) -> None:
    fields = ", ".join(field.name for field in dataclasses.fields(record))
    s += esp.user(f"Extract {fields} as JSON: {sentence}")
    s += esp.assistant(esp.gen("record", record))


@esp.function
def judge(s: esp.ProgramState, text: str, dimensions: dict[str, list[str]]) -> None:
    s += esp.user(f"Text: {text}")
    s += esp.assistant("Ready.")
    branches = s.fork(len(dimensions))
    for branch, (name, words) in zip(branches, dimensions.items(), strict=True):
        options = ", ".join(words[:-1]) + " or " + words[-1]
        branch += esp.user(f"Judge the {name}: {options}?")
        branch += esp.assistant(esp.select("verdict", choices=words))
    branches.join()  # the branches' variables become lists, in the branches' order
    s["summary"] = ", ".join(s["verdict"])


@esp.function
def assist(
    s: esp.ProgramState, tools: Sequence[Callable[..., str]], questions: Sequence[str]
) -> None:
    listing = ", ".join(f"{tool.__name__}({', '.join(arguments(tool))})" for tool in tools)
    s += esp.user(f"Tools: {listing}\n{questions[0]}")
    for at, question in enumerate(questions):
        if at:
            s += esp.user(question)
        s += esp.assistant(esp.gen(f"call{at}", json_schema=call_schema(tools)))
        call = json.loads(s[f"call{at}"])
        (tool,) = (tool for tool in tools if tool.__name__ == call["tool"])
        s += esp.user(f"Result: {tool(**call['args'])}")
        s += esp.assistant(esp.gen(f"answer{at}", max_tokens=40))


def arguments(tool: Callable[..., str]) -> dict[str, dict[str, str]]:
    """A tool's parameters as JSON Schema types, from its annotations."""
    kinds = {int: "integer", str: "string", float: "number"}
    return {
        name: {"type": kinds[parameter.annotation]}
        for name, parameter in inspect.signature(tool, eval_str=True).parameters.items()
    }


def call_schema(tools: Sequence[Callable[..., str]]) -> dict[str, Any]:
    """`{"tool": ..., "args": {...}}`, with each tool's own arguments and no other."""

    def exactly(properties: dict[str, Any]) -> dict[str, Any]:
        closed = {"required": list(properties), "additionalProperties": False}
        return {"type": "object", "properties": properties, **closed}

    return {
        "anyOf": [
            exactly({"tool": {"const": tool.__name__}, "args": exactly(arguments(tool))})
            for tool in tools
        ]
    }


NEXT = """\
Next
  espalier demo --text "Your own sentence about somebody, their age and their city."
  espalier chat                            talk to the same model
  espalier run examples/judge.py           the second program, from a file (in a checkout)
  espalier --help"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = ABOUT
    parser.add_argument("--text", help="your own sentence, instead of the tour's")
    parser.add_argument("--fields", help=f"what to extract from it; of {', '.join(FIELDS)}")
    parser.add_argument("--cases", metavar="FILE", help="JSON lines with right answers, to score")
    parser.add_argument("--model", default="sprig", help="sprig, a folder or a hub id")


def run(args: argparse.Namespace) -> int:
    if args.fields is not None and args.text is None:
        raise InvalidRequestError("--fields goes with --text", where="--fields")
    if args.cases is not None and args.text is not None:
        raise InvalidRequestError("--cases bring their own texts", where="--text")
    fields = record((args.fields or "name,age,city").split(","))
    cases = read_cases(args.cases) if args.cases is not None else None
    began = time.perf_counter()
    with Engine(model=args.model) as engine:
        tour = Tour(engine)
        if cases is not None:
            return tour.score(cases)
        seconds = time.perf_counter() - began
        print(f"The model {args.model} is up on {engine.info.device} in {seconds:.1f} s.")
        if args.text is None:
            tour.typed(PEOPLE)
            tour.judged(TEXT, VERDICTS)
            tour.tools(CALLS)
        else:
            tour.typed({args.text: None}, fields)
            tour.judged(args.text, None)
        tour.saved(began)
    print(NEXT if not tour.wrong else f"\n{tour.wrong} of the demo's own answers are wrong.")
    return 1 if tour.wrong else 0


class Case(TypedDict):
    """A sentence, which of its fields to extract, and their right values."""

    text: str
    fields: list[str]
    expected: dict[str, Any]


def read_cases(file: str) -> list[Case]:
    """JSON lines of a file, or of standard input for `-`."""
    if file != "-" and not Path(file).is_file():
        raise InvalidRequestError(expected="a file of JSON lines", got=file, where="--cases")
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        cases = [msgspec.json.decode(line, type=Case) for line in text.splitlines()]
    except (ValueError, msgspec.MsgspecError) as error:
        raise InvalidRequestError(f"not JSON lines of cases: {error}", where="--cases") from error
    if not cases:
        raise InvalidRequestError(expected="at least one case", got="none", where="--cases")
    return cases


def record(names: Sequence[str]) -> type:
    """A dataclass of known fields, in the order named."""
    names = [name.strip() for name in names]
    for name in names:
        if name not in FIELDS:
            raise InvalidRequestError(
                expected=f"fields of {', '.join(FIELDS)}", got=repr(name), where="--fields"
            )
        if names.count(name) > 1:
            raise InvalidRequestError(f"the field {name} is named twice", where="--fields")
    return dataclasses.make_dataclass("Record", [(name, FIELDS[name]) for name in names])


class Tour:
    """The stages, each of which prints what it does and counts its wrong answers."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.wrong = 0

    def typed(self, sentences: dict[str, Any], kind: type = Person) -> None:
        """Sentences to typed values, all in one batch."""
        title('1. Typed values: gen("record", Person) cannot return anything but a Person')
        source(extract)
        batch = [{"sentence": sentence, "record": kind} for sentence in sentences]
        states = extract.run_batch(batch, backend=self.engine, seed=0)
        for state, (sentence, expected) in zip(states, sentences.items(), strict=True):
            print(f"  {sentence}")
            self.check(state["record"], expected)

    def judged(self, text: str, expected: Any) -> None:
        """One text along several branches, merged."""
        title("2. Forks: one text, judged along three branches that share all that was said before")
        source(judge)
        state = judge.run(text, DIMENSIONS, backend=self.engine, seed=0)
        print(f"  {text}")
        self.check(state["verdict"], expected)
        print()
        state.report().print(Console(width=None if sys.stdout.isatty() else 110))

    def tools(self, calls: dict[str, Any]) -> None:
        """A conversation that calls Python functions."""
        title("3. Tools: the schema of the calls comes from the functions' own signatures")
        source(assist)
        state = assist.run(TOOLS, list(calls), backend=self.engine, seed=0)
        for at, (question, expected) in enumerate(calls.items()):
            print(f"  {question}")
            self.check(json.loads(state[f"call{at}"]), expected)
            print(f"     {state[f'answer{at}']}")

    def saved(self, began: float) -> None:
        """What was computed, of what was asked for."""
        title("What sharing saved")
        stats = self.engine.stats()
        prompt, computed = stats["prompt_tokens"], stats["computed_tokens"]
        print(
            f"  {prompt:,} prompt tokens in all; {computed:,} computed, "
            f"{stats['cached_tokens']:,} found in the cache, {stats['shared_tokens']:,} computed "
            f"once for several rows of a step.\n"
            f"  Without sharing all {prompt:,} would have been: "
            f"{prompt / max(1, computed):.1f} times as many. "
            f"{stats['generated_tokens']:,} tokens generated, "
            f"{time.perf_counter() - began:.1f} s in all.\n"
        )

    def check(self, value: Any, expected: Any) -> None:
        """Print a value, and count it when it is not the one expected (None: anything goes)."""
        good = expected is None or value == expected
        self.wrong += not good
        print(f"  -> {value}" + ("" if good else f"   WRONG, expected {expected}"))

    def score(self, cases: list[Case]) -> int:
        """Extract from each case's text; exit code 1 when fewer than nine in ten are right."""
        batch = [{"sentence": case["text"], "record": record(case["fields"])} for case in cases]
        right = 0
        for case, state in zip(cases, extract.run_batch(batch, backend=self.engine), strict=True):
            try:
                got = dataclasses.asdict(state["record"])
            except EspalierError as error:
                got = {"error": str(error)}
            right += got == case["expected"]
            if got != case["expected"]:
                print(f"{case['text']}\n  expected {case['expected']}\n  got      {got}")
        print(f"{right} of {len(cases)} right")
        return 0 if 10 * right >= 9 * len(cases) else 1


def title(text: str) -> None:
    print(f"\n{text}\n")


def source(program: Any) -> None:
    """The program itself, as it stands in this file."""
    print(textwrap.indent(inspect.getsource(program.body), "    | "))
    sys.stdout.flush()
