"""`espalier batch IN OUT`: the requests of a file, answered into another one."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ..errors import EspalierError, InvalidRequestError, NotSupportedError
from .cli_batch_file import Entry, Output, entries
from .cli_flags import as_typed, named_here, typed
from .cli_serve import configure_engine, name_of, options_of
from .http_client import check_url

if TYPE_CHECKING:
    import contextlib

    import httpx

ABOUT = """\
Answer a file of requests in OpenAI's batch format: a JSON object a line, with custom_id, method
(POST), url (/v1/chat/completions, /v1/completions or /v1/embeddings) and body. OUT gets a line for
each, as they are answered, errors too. It runs its own engine, without a port, or asks a server.

A run that was interrupted goes on where it was when the same command is given again. Exit code 1
when a request failed; --retry-failed asks those again.

examples
  espalier batch in.jsonl out.jsonl
  espalier batch in.jsonl out.jsonl --model ./my-model --concurrency 256
  espalier batch in.jsonl out.jsonl --url http://localhost:30000"""
_JSON = {"content-type": "application/json"}
_PATIENCE = 12  # times that a server that is busy is asked again
_LONGEST = 30.0  # seconds between two times


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = ABOUT
    parser.allow_abbrev = False
    add = parser.add_argument
    add("input", metavar="IN")
    add("output", metavar="OUT")
    add("--url", help="of a server, instead of an engine of its own")
    add("--api-key", default=os.environ.get("ESPALIER_API_KEY"), help="of that server")
    add("--model", help="sprig (the default), a folder or a hub id")
    add("--served-model-name", nargs="+", metavar="NAME", help="what `model` of a body may be")
    add("--concurrency", type=int, default=64, metavar="N", help="requests at once")
    add("--retry-failed", action="store_true", help="ask those again that failed before")
    add("--quiet", action="store_true", help="no progress bar")
    engine = parser.add_argument_group("engine")
    configure_engine(engine)
    parser.set_defaults(of_an_engine=[action.dest for action in engine._group_actions])


def run(args: argparse.Namespace) -> int:
    _check(args)
    try:
        import httpx  # noqa: F401
    except ModuleNotFoundError as error:
        raise NotSupportedError(
            f"batches need {error.name}, which is not installed",
            hint="pip install 'espalier[serve]'",
        ) from None
    ids = [entry.id for entry in entries(args.input)]
    if not ids:
        raise InvalidRequestError(expected="a request a line", got="none", where=args.input)
    with as_typed(args), Output(args.output) as output:
        done = output.resume(ids, args.input, args.retry_failed)
        batch = Batch(args, output, done)
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            with tqdm(
                total=len(ids), initial=len(done), unit=" requests", disable=args.quiet or None
            ) as bar:
                if len(done) < len(ids):
                    asyncio.run(batch.answer_all(bar))
        except (KeyboardInterrupt, EspalierError):
            _say(f"{output.answered:,} of {len(ids):,} are answered; the same command goes on")
            raise
        finally:
            signal.signal(signal.SIGTERM, before)
        _say(
            f"{output.answered:,} answered, {output.failed:,} of them with an error: {args.output}"
        )
        return 1 if output.failed else 0


def _say(text: str) -> None:
    print(f"espalier batch: {text}", file=sys.stderr)


def _check(args: argparse.Namespace) -> None:
    if args.concurrency < 1:
        raise InvalidRequestError(
            expected="at least 1", got=str(args.concurrency), where="--concurrency"
        )
    if os.path.realpath(args.input) == os.path.realpath(args.output):
        raise InvalidRequestError(expected="two files", got=args.input, where="OUT")
    if args.url is None:
        if named_here(args, "api_key"):
            raise InvalidRequestError(expected="--url beside it", where="--api-key")
        return
    check_url(args.url, "--url")
    for dest in ("model", "served_model_name", *args.of_an_engine):
        if named_here(args, dest):
            raise InvalidRequestError(
                expected="--url or an engine of its own",
                got="both: the server has its own flags",
                where=typed(args, dest),
            )


class Batch:
    """Asks what is not answered yet, `concurrency` requests at once. What one request did wrong is
    its own answer; what would befall all of them ends the run."""

    def __init__(self, args: argparse.Namespace, output: Output, done: set[str]) -> None:
        self._args = args
        self._output = output
        self._done = done
        self._answers = 0

    async def answer_all(self, bar: tqdm[Any]) -> None:
        """Until the file is answered. Raises EspalierError where nobody can answer."""
        left = (entry for entry in entries(self._args.input) if entry.id not in self._done)
        async with self._client() as client:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(self._args.concurrency):
                        group.create_task(self._work(client, left, bar))
            except* EspalierError as errors:
                raise errors.exceptions[0] from None

    def _client(self) -> contextlib.AbstractAsyncContextManager[httpx.AsyncClient]:
        if self._args.url is not None:
            from .cli_batch_clients import remote

            return remote(self._args.url, self._args.api_key, self._args.concurrency)
        from .cli_batch_clients import own

        model = self._args.model or "sprig"
        names = tuple(self._args.served_model_name or [name_of(model)])
        return own(options_of(self._args, model), names)

    async def _work(self, client: httpx.AsyncClient, left: Iterator[Entry], bar: tqdm[Any]) -> None:
        for entry in left:
            if entry.fault is not None:
                self._output.write(entry, None)
            else:
                self._output.write(entry, await self._asked(client, entry))
            bar.update()

    async def _asked(self, client: httpx.AsyncClient, entry: Entry) -> httpx.Response:
        """The answer. A server that is busy, restarting or away is asked again, with patience, and
        for as long as others of ours are answered."""
        import httpx

        body = json.dumps(entry.body).encode()  # in ASCII: half a surrogate pair crosses too
        failure = ""
        attempt, answers = 0, self._answers
        while attempt < _PATIENCE:
            try:
                response = await client.post(entry.url, content=body, headers=_JSON)
            except httpx.TransportError as error:
                failure = f"the server cannot be reached: {type(error).__name__}"
                wait = 0.2 * 2**attempt
            else:
                if response.status_code == 401:
                    raise InvalidRequestError("the server knows no such key", where="--api-key")
                if response.status_code not in (429, 503):
                    self._answers += 1
                    return response
                failure = f"the server answers {response.status_code}: {_message(response)}"
                told = response.headers.get("retry-after", "")
                wait = float(told) if told.isdigit() else 0.2 * 2**attempt
            await asyncio.sleep(min(wait, _LONGEST))
            attempt = attempt + 1 if answers == self._answers else 0
            answers = self._answers
        raise EspalierError(failure, where=entry.url)


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]
