"""`espalier compile FILE[:function]`: a program's checks, its token bounds, and its graph."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import InvalidRequestError
from ..frontend_lang.backends.conform import compiled as over_bytes
from ..frontend_lang.compiler.bounds import Bounds, bounds_with
from ..frontend_lang.compiler.checks import check
from ..frontend_lang.compiler.program import CompiledProgram
from .cli_flags import file_to_write
from .cli_run import arguments, find, load
from .config import read_json
from .locate import resolve_folder
from .tokenizer import find_tokenizer

ABOUT = """\
Compile a program: a function decorated with @espalier.function in FILE, or what `save` wrote. Tells
what is wrong or worth knowing, by line, and how many tokens each call asks for at most. A program
that cannot be compiled is refused with the line and what to do. Nothing is generated.

An --arg is a constant from then on: what the program loops over or branches on must be one.

examples
  espalier compile examples/judge.py
  espalier compile examples/judge.py:judge --graph svg > judge.svg
  espalier compile my.py --arg "branches=4" --model ./my-model --save my.json"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = ABOUT
    parser.add_argument("program", metavar="FILE[:function]")
    parser.add_argument("--arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--model", default="sprig", help="whose tokenizer counts: a folder, hub id")
    parser.add_argument("--graph", choices=["text", "json", "svg"], help="print the graph instead")
    parser.add_argument(
        "--save", type=file_to_write, metavar="FILE", help="write the compiled program"
    )


def run(args: argparse.Namespace) -> int:
    compiled = _compiled(args.program, args.arg)
    if args.save is not None:
        compiled.save(args.save)
    if args.graph is not None:
        print(compiled.graph(args.graph))
        return 0
    tokenizer = find_tokenizer(args.model)
    if tokenizer is None:
        raise InvalidRequestError(
            expected="a model with a tokenizer", got=repr(args.model), where="--model"
        )
    context = read_json(resolve_folder(args.model) / "config.json").get("max_position_embeddings")
    bounds = bounds_with(compiled.ir, tokenizer)
    findings = check(compiled.ir, bounds, context, over_bytes)
    for finding in findings:
        print(finding)
    print(table(compiled, bounds))
    return 1 if any(finding.level == "error" for finding in findings) else 0


def _compiled(program: str, given: list[str]) -> CompiledProgram:
    path, _, name = program.partition(":")
    if Path(path).suffix == ".json":
        if given or name:
            raise InvalidRequestError(
                "a saved program has no functions to choose and no constants to give", where=program
            )
        if not Path(path).is_file():
            raise InvalidRequestError(f"there is no file {path}", where="FILE")
        return CompiledProgram.to_check(Path(path).read_bytes())
    found = find(load(Path(path)), name)
    return found.compile(**arguments(found, given))


def table(compiled: CompiledProgram, bounds: Bounds) -> str:
    """The bounds of the way that asks for most, a line a call."""
    lines = [["call", "prompt", "generated", "line"]]
    for call in bounds.calls:
        most = "to the context's end" if call.unbounded else f"<= {call.generated}"
        place = call.where.rpartition("/")[2]
        lines.append([f"{call.kind} {call.name or ''}", str(call.prompt), most, place])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    said = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    gens = [call for call in bounds.calls if call.kind == "gen"]
    said.append(
        f"{compiled.name}: {len(bounds.calls)} call{'s' * (len(bounds.calls) != 1)}"
        + (f" on the longest of {bounds.ways} ways" if bounds.ways > 1 else "")
        + f", {bounds.prompts} prompt tokens, of which at most {bounds.computed} are computed"
        + (f"; {bounds.scored} tokens of choices to score" if bounds.scored else "")
        + (f"; at most {bounds.generated} tokens generated" if gens else "")
        + (", and those of calls without a limit" if any(gen.unbounded for gen in gens) else "")
        + f"; at most {bounds.peak} cached at a time"
    )
    if bounds.missing:
        said.append("not counted, as only a run knows it: " + ", ".join(sorted(bounds.missing)))
    return "\n".join(said)
