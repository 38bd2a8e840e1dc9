"""`espalier chat`: turns at a terminal, streamed, with what each turn found in the cache."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any, Protocol

from ..errors import EspalierError, InvalidRequestError
from ..types import Chunk, Result, SamplingParams
from .cli_flags import as_typed, named_here
from .engine import Engine
from .http_protocol import Ask

ABOUT = """\
Talk to a model. Each turn sends the whole chat again; the line under the answer tells how much of
it was still cached.

  /reset   begin anew        /stats   totals of the engine        /exit   leave (also ^D)

examples
  espalier chat
  espalier chat --model ./my-model --temperature 0.7
  espalier chat --url http://localhost:30000
  echo "What is 37 + 48?" | espalier chat"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = ABOUT
    parser.add_argument("--model", help="sprig (the default), a folder or a hub id")
    parser.add_argument("--quantization", choices=["int8"], help="of weights: 8 bits, on a CPU")
    parser.add_argument("--url", help="of an `espalier serve`, instead of a model here")
    parser.add_argument("--api-key", default=os.environ.get("ESPALIER_API_KEY"), help="its key")
    parser.add_argument("--system", help="a system message to begin with")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--quiet", action="store_true", help="answers only")


def run(args: argparse.Namespace) -> int:
    with as_typed(args):
        params = SamplingParams(
            temperature=args.temperature, max_tokens=args.max_tokens, seed=args.seed
        )
    if args.url is not None:
        for flag in ("model", "quantization"):
            if getattr(args, flag) is not None:
                raise InvalidRequestError(
                    expected=f"one of --url and --{flag}", got="both of them", where=f"--{flag}"
                )
        with as_typed(args):
            remote = Remote(args.url, args.api_key)
        return Chat(remote, params, args.system, args.quiet).loop(read_turns())
    if named_here(args, "api_key"):
        raise InvalidRequestError(expected="--url beside it", where="--api-key")
    model = args.model or "sprig"
    with as_typed(args):
        engine = Engine(model=model, quantization=args.quantization)
    with engine:
        if not args.quiet and sys.stdin.isatty():
            for line in (engine.info.weights, engine.info.kernels):
                if line:
                    print(line, file=sys.stderr)
            print(f"{model} on {engine.info.device}. /reset, /stats, /exit", file=sys.stderr)
        return Chat(engine, params, args.system, args.quiet).loop(read_turns())


def read_turns() -> Iterator[str]:
    """The user's lines; with a prompt where there is a terminal."""
    prompt = "> " if sys.stdin.isatty() else ""
    while True:
        try:
            line = input(prompt).strip()
        except EOFError:
            return
        if line:
            yield line


class Talker(Protocol):
    """What a chat needs of an engine."""

    def stream(
        self, *, messages: Sequence[Any], sampling_params: SamplingParams
    ) -> Iterator[Chunk]: ...
    def stats(self) -> dict[str, Any]: ...


class Remote:
    """A server as a chat's engine."""

    def __init__(self, url: str, api_key: str | None) -> None:
        from .http_client import HTTPClient

        self._client = HTTPClient(url, api_key=api_key)

    def stream(
        self, *, messages: Sequence[Any], sampling_params: SamplingParams
    ) -> Iterator[Chunk]:
        """The answer in pieces."""
        ids = self._client.tokenizer.encode_chat(messages, add_generation_prompt=True)
        ask = Ask(prompts=[ids], params=sampling_params, stream=True)
        with asyncio.Runner() as runner:
            chunks = self._client.stream(ask)
            try:
                while (chunk := runner.run(_next(chunks))) is not None:
                    yield chunk
            finally:  # else the loop's end closes it and httpx's streams below it at the same time
                runner.run(chunks.aclose())

    def stats(self) -> dict[str, Any]:
        """The counters of the engine there; its admin's key is needed where it has one."""
        stats: dict[str, Any] = json.loads(self._client.get("/server_info"))["stats"]
        return stats


async def _next(chunks: AsyncGenerator[Chunk, None]) -> Chunk | None:
    return await anext(chunks, None)


class Chat:
    """The messages so far, and what to do with the next line."""

    def __init__(
        self, engine: Talker, params: SamplingParams, system: str | None, quiet: bool
    ) -> None:
        self.engine = engine
        self.params = params
        self.opening = [{"role": "system", "content": system}] if system else []
        self.messages = list(self.opening)
        self.quiet = quiet

    def loop(self, turns: Iterator[str]) -> int:
        """Answer each turn. A turn that fails is reported and forgotten; exit code 1 then."""
        code = 0
        for line in turns:
            if line == "/exit":
                break
            try:
                self.turn(line)
            except EspalierError as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
                code = 1
        return code

    def turn(self, line: str) -> None:
        """One command, or one message and its answer."""
        if line == "/reset":
            self.messages = list(self.opening)
        elif line == "/stats":
            for name, value in self.engine.stats().items():
                print(f"{name:24} {value}")
        elif line.startswith("/"):
            raise InvalidRequestError(expected="/reset, /stats or /exit", got=repr(line))
        else:
            asked = [*self.messages, {"role": "user", "content": line}]
            answer = self.answer(asked)
            self.messages = [*asked, {"role": "assistant", "content": answer.text}]
            if not self.quiet:
                print(footer(answer), file=sys.stderr)

    def answer(self, messages: list[dict[str, str]]) -> Result:
        """Streams the answer to standard output."""
        for chunk in self.engine.stream(messages=messages, sampling_params=self.params):
            print(chunk.text, end="", flush=True)
            if chunk.result is not None:
                print()
                return chunk.result
        raise AssertionError("a stream ends with its result")


def footer(result: Result) -> str:
    """What the turn cost."""
    text = (
        f"  [{result.prompt_tokens} prompt tokens, {result.cached_tokens} of them cached; "
        f"{result.generated_tokens} generated in {result.times.total:.2f} s"
    )
    if result.finish_reason != "stop":
        text += f"; ended by {result.finish_reason}"
    return text + "]"
