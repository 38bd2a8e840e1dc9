"""`espalier bench NAME`: runs `benchmarks/NAME.py`."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from ..errors import InvalidRequestError

BUILT = {
    "prefix": "prompt tokens computed, over the exact optimum of shared-prefix workloads",
    "cpu": "decoding speed on one CPU thread, beside transformers",
    "scheduler": "CPU time of a step around a model that costs nothing, as batch and queue grow",
    "grammar": "compiling and masks beside XGrammar, llguidance and outlines-core; verdicts",
    "frontend": "forks, constants and calls of programs, beside SGLang's frontend",
    "radix": "match, insert and evict at 1e3 to 1e6 nodes of the prefix tree",
    "startup": "seconds of each phase from the command to the first token over HTTP",
    "forks": "attention and steps of many branches of one prompt, beside reading it for each",
    "offline": "throughput of requests that come all at once, beside transformers, llama.cpp",
    "latency": "how long for the first token and between tokens at a batch size, percentiles",
    "serve": "requests and tokens a second of a server under load, and how long clients wait",
}
LONG = {
    "gpu": "all that a GPU can be asked, within nine minutes (what `make bench-gpu` does)",
    "ablation": "programs without cache, tree, order, parallelism, hints: what each is good for",
    "programs": "programs interpreted and compiled: tokens computed over the optimum, and time",
    "soak": "50,000 requests of mixed kinds in too little memory: is any wrong or left over?",
    "soak_server": "50,000 requests over HTTP, right, wrong and left: does a server grow or fail?",
}
GPU = {
    "decode": "steps and workloads of the engine beside what a GPU's memory and arithmetic allow",
    "kernels": "times of the Triton kernels on a GPU, beside torch's and what bandwidth allows",
}
KNOWN = BUILT | LONG | GPU
RESULTS = Path("benchmarks/results")
"""Where `all` writes."""

ABOUT = """\
Measures something, prints a table, and writes the figures with --json FILE.

{built}
  all         each of the above, written to benchmarks/results/ (what `make bench` does)
{long}
{gpu}

examples
  espalier bench prefix --model null
  espalier bench prefix --only identical --only judge --json prefix.json
  espalier bench cpu --help

prefix, cpu and grammar read their workloads, and the shapes 6.8M and 387M, from the folder that
ESPALIER_DATA names."""


def configure(parser: argparse.ArgumentParser) -> None:
    built, long, gpu = (
        "\n".join(f"  {name:11} {what}" for name, what in group.items())
        for group in (BUILT, LONG, GPU)
    )
    parser.description = ABOUT.format(built=built, long=long, gpu=gpu)
    parser.add_argument("name", metavar="NAME", help="one of the above, or all")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="the benchmark's own options")


def run(args: argparse.Namespace) -> int:
    names = list(BUILT) if args.name == "all" else [args.name]
    if args.name == "all" and args.rest:
        raise InvalidRequestError(
            expected="no options with `all`", got=" ".join(args.rest), where="espalier bench all"
        )
    for name in names:
        if name not in KNOWN:
            raise InvalidRequestError(
                expected=f"one of {', '.join(KNOWN)}",
                got=repr(name),
                where="espalier bench",
            )
    if args.name == "all":
        RESULTS.mkdir(parents=True, exist_ok=True)
    for name in names:
        module = importlib.import_module(f"...benchmarks.{name}", __name__)
        rest = args.rest
        if args.name == "all":
            rest = ["--json", str(RESULTS / f"{name}.json")]
            if hasattr(module, "plot"):
                rest += ["--svg", str(RESULTS / f"{name}.svg")]
        if code := int(module.main(rest)):
            return code
    return 0
