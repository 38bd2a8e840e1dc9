"""How a server answers under load: throughput, and the spread of waiting times.

Closed loops hold a number of requests in flight; open ones send by a Poisson process at a rate, and
count waiting from when a request should have been sent, so that a server that falls behind is seen
to. Without --url it starts one of its own, beside which it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..errors import InvalidRequestError
from ..runtime.cli_flags import named_here
from ..runtime.http_client import check_url
from .plot import log_log, stacked
from .report import Row, finish, parser
from .serve_client import Connection, Timed

ABOUT = """\
examples
  espalier bench serve --concurrency 1 2 4 8 16 --svg serve.svg
  espalier bench serve --model null --no-stream --concurrency 64 --requests 2000
  espalier bench serve --url http://localhost:8000 --rate 1 2 4 8 --requests 200"""
TTFT, ITL, E2E = "time to first token", "between tokens", "whole answer"
_SWEEPS = {"at once": "clients at once", "a second": "requests a second, by Poisson"}
_READY = re.compile(r"ready on (http\S+)")
PATH = "/v1/chat/completions"
Loop = Callable[[Callable[[], object]], Coroutine[Any, Any, list[Timed]]]
"""Sends a load's requests, and calls what it is given at each answer."""


def main(argv: Sequence[str]) -> int:
    args = _parse(argv)
    if args.requests < 1 or not all(n >= 1 for n in args.concurrency):
        raise InvalidRequestError(expected="integers >= 1", where="--requests, --concurrency")
    if not all(0 < rate < 1e6 for rate in args.rate):
        raise InvalidRequestError(expected="requests per second above 0", where="--rate")
    if not args.concurrency and not args.rate:
        args.concurrency = [1, 16]
    if args.svg is not None and max(len(set(args.concurrency)), len(set(args.rate))) < 2:
        raise InvalidRequestError(expected="two loads or more to plot", where="--svg")
    _check_server(args)
    with contextlib.ExitStack() as stack:
        url = args.url or stack.enter_context(served(args.model or "sprig"))
        asyncio.run(_warm(url, args))
        loads: list[tuple[str, Loop]] = [
            *(
                (f"{count} at once", partial(closed, url, args, count))
                for count in args.concurrency
            ),
            *((f"{rate:g} a second", partial(opened, url, args, rate)) for rate in args.rate),
        ]
        rows: list[Row] = []
        faults: dict[str, str] = {}
        for name, loop in loads:
            rows += _measured(name, args.requests, loop, faults)
    if args.svg is not None:
        args.svg.write_text(plot(rows))
    finish("serve", argv, args.json, rows)
    for kind, said in faults.items():
        print(f"{kind}: {' '.join(said.split())[:300]}")
    return 0 if all(row.value == 0 for row in rows if row.name.endswith("failed")) else 1


def _parse(argv: Sequence[str]) -> Any:
    made = parser("serve", f"{__doc__}\n{ABOUT}", plot="a plot over the loads")
    made.add_argument("--url", help="a server that runs already")
    made.add_argument("--api-key", default=os.environ.get("ESPALIER_API_KEY"))
    made.add_argument("--model", help="of the server that is started (default: sprig)")
    made.add_argument("--requests", type=int, default=200, metavar="N", help="of each loop")
    several: dict[str, Any] = {"action": "extend", "nargs": "+", "default": []}
    made.add_argument("--concurrency", type=int, metavar="N", help="clients at once", **several)
    made.add_argument("--rate", type=float, metavar="PER_SECOND", help="by Poisson", **several)
    made.add_argument("--max-tokens", type=int, default=64)
    made.add_argument("--words", type=int, default=16, help="of each prompt")
    made.add_argument("--no-stream", dest="stream", action="store_false")
    made.add_argument("--seed", type=int, default=0)
    return made.parse_args(list(argv))


def _check_server(args: Any) -> None:
    """Raise InvalidRequestError for flags of a server that is not the one asked."""
    if args.url is not None:
        check_url(args.url, "--url")
        if args.model is not None:
            raise InvalidRequestError(
                expected="one of --url and --model", got="both of them", where="--model"
            )
    elif named_here(args, "api_key"):
        raise InvalidRequestError(expected="--url beside it", where="--api-key")


def _measured(name: str, requests: int, loop: Loop, faults: dict[str, str]) -> list[Row]:
    """A load's figures. It is seen going on; faults gets what failures of a new kind say."""
    began = time.perf_counter()
    with tqdm(desc=name, total=requests, unit=" requests", leave=False, disable=None) as bar:
        timed = asyncio.run(loop(bar.update))
    seconds = time.perf_counter() - began
    bad = [one for one in timed if not one.good]
    for one in bad:
        faults.setdefault(one.fault, one.said)
    print(
        f"{name}: {len(timed) - len(bad)} of {requests} answered in {seconds:.1f} s",
        file=sys.stderr,
    )
    return figures(name, timed, seconds)


def bodies(args: Any) -> Iterator[dict[str, Any]]:
    """Requests whose prompts share their first words, as chats of one application do."""
    rng = random.Random(args.seed)
    words = "red blue green small large old new round flat warm cold".split()  # noqa: SIM905
    while True:
        said = " ".join(rng.choices(words, k=args.words))
        usage = {"stream_options": {"include_usage": True}} if args.stream else {}
        yield {
            **usage,
            "messages": [{"role": "user", "content": f"Describe a {said} thing."}],
            "max_tokens": args.max_tokens,
            "ignore_eos": True,
            "stream": args.stream,
        }


async def _warm(url: str, args: Any) -> None:
    body = next(bodies(args))
    timed = Timed(time.perf_counter())
    connection = Connection(url, args.api_key)
    await connection.post(PATH, body, timed)
    connection.close()
    if not timed.good:
        raise InvalidRequestError(
            f"the server at {url} does not answer as it should: {timed.fault} {timed.said}",
            hint="Give its key with --api-key." if timed.status == 401 else None,
        )


async def closed(url: str, args: Any, count: int, answered: Callable[[], object]) -> list[Timed]:
    """`count` clients, each sending its next request when it has its answer."""
    done: list[Timed] = []
    source = bodies(args)
    left = iter(range(args.requests))

    async def client() -> None:
        connection = Connection(url, args.api_key)
        for _ in left:
            timed = Timed(time.perf_counter())
            done.append(timed)
            await connection.post(PATH, next(source), timed)
            answered()
        connection.close()

    await asyncio.gather(*(client() for _ in range(count)))
    return done


async def opened(url: str, args: Any, rate: float, answered: Callable[[], object]) -> list[Timed]:
    """Requests at times that a Poisson process gives, however long answers take."""
    rng, source = random.Random(args.seed + 1), bodies(args)
    free: list[Connection] = []
    start, at = time.perf_counter(), 0.0
    done: list[Timed] = []

    async def one(due: float, body: dict[str, Any]) -> None:
        timed = Timed(due)
        done.append(timed)
        connection = free.pop() if free else Connection(url, args.api_key)
        await connection.post(PATH, body, timed)
        answered()
        free.append(connection)

    tasks = []
    for _ in range(args.requests):
        at += rng.expovariate(rate)
        await asyncio.sleep(max(0.0, start + at - time.perf_counter()))
        tasks.append(asyncio.ensure_future(one(start + at, next(source))))
    await asyncio.gather(*tasks)
    for connection in free:
        connection.close()
    return done


def figures(name: str, timed: Sequence[Timed], seconds: float) -> list[Row]:
    """Throughput, and the spread of what clients wait for."""
    good = [one for one in timed if one.good]
    rows = [
        Row(name=f"{name}: requests a second", value=len(good) / seconds, unit="1/s"),
        Row(
            name=f"{name}: tokens a second",
            value=sum(one.tokens for one in good) / seconds,
            unit="1/s",
        ),
        Row(name=f"{name}: failed", value=len(timed) - len(good), unit="requests"),
    ]
    kinds = Counter(one.fault for one in timed if not one.good)
    rows += [
        Row(name=f"{name}: failed, {kind}", value=count, unit="requests")
        for kind, count in kinds.most_common()
    ]
    spreads = {
        TTFT: [one.first for one in good],
        ITL: [gap for one in good for gap in one.gaps],
        E2E: [one.whole for one in good],
    }
    for what, values in spreads.items():
        for share in (0.5, 0.9, 0.99):
            if values:
                at = sorted(values)[min(len(values) - 1, int(share * len(values)))]
                row = Row(name=f"{name}: {what}, p{share * 100:g}", value=at * 1000, unit="ms")
                rows.append(row)
    return rows


def plot(rows: Sequence[Row]) -> str:
    """What clients wait for, over the load, as SVG: a chart for each sweep of two loads or more."""
    charts = []
    for kind, axis in _SWEEPS.items():
        series: dict[str, list[tuple[float, float]]] = {}
        for row in rows:
            load, _, figure = row.name.partition(": ")
            if row.unit == "ms" and row.value > 0 and load.endswith(kind):
                at = float(load.removesuffix(kind))
                series.setdefault(figure, []).append((at, row.value))
        lines = {name: sorted(points) for name, points in series.items() if len(points) > 1}
        if lines:
            charts.append(log_log("How long clients wait", axis, "milliseconds", lines))
    return stacked(charts)


@contextlib.contextmanager
def served(model: str, *more: str) -> Iterator[str]:
    """A server of its own, ended with the block. more: flags."""
    with tempfile.TemporaryDirectory() as name:
        flags = [model, "--port", "0", *more]
        if model == "null":
            flags += ["--tokenizer", str(_text_tokenizer(Path(name)))]
        command = [sys.executable, "-m", "espalier.runtime.cli", "serve", *flags]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        yield from _ready(process)


def _text_tokenizer(folder: Path) -> Path:
    """The embedded model's tokenizer with the null model's one token as text."""
    own = Path(__file__).parents[1] / "runtime" / "sprig"
    made = json.loads((own / "tokenizer.json").read_text())
    for token in made["added_tokens"]:
        token["special"] = token["special"] and token["id"] != 1
    (folder / "tokenizer.json").write_text(json.dumps(made))
    config = json.loads((own / "tokenizer_config.json").read_text())
    config |= {"eos_token": None, "chat_template": "{{ messages[0].content }}"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def _ready(process: subprocess.Popen[str]) -> Iterator[str]:
    try:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if (found := _READY.search(line)) is not None:
                yield found[1]
                return
        raise InvalidRequestError(f"the server did not start: {''.join(said)[-500:]}")
    finally:
        process.terminate()
        process.communicate()
