"""`espalier serve`: an OpenAI-compatible server, one port, started in seconds without flags."""

from __future__ import annotations

import argparse
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InvalidRequestError
from . import cli_others
from .cli_flags import as_typed, count, named_here, typed

if TYPE_CHECKING:
    from .options import EngineOptions
    from .server.settings import ServerSettings

ABOUT = """\
Serve a model over HTTP: OpenAI's chat and completions, streamed or not, with tools and with answers
held to a JSON schema, a regex or a grammar. Without flags: the embedded model, for this machine
alone, on port 30000.

examples
  espalier serve
  espalier serve ./my-model --port 8000 --served-model-name mine
  ESPALIER_API_KEY=secret espalier serve ./my-model --host 0.0.0.0
  curl localhost:30000/v1/chat/completions -H 'content-type: application/json' \\
    -d '{"messages": [{"role": "user", "content": "What is 37 + 48?"}]}'

Keys: --api-key-file and --admin-key-file (one key a line), or ESPALIER_API_KEY and
ESPALIER_ADMIN_KEY. A key given as a flag can be read by everybody on the machine.

The spellings of vLLM and SGLang for the same thing are taken too; --help=others lists those of
their flags that have no setting here, and what to use instead.

  espalier serve --help=engine          one group of flags: engine, server, access, others
  espalier serve --config serve.yaml    flags from a file (YAML, TOML, JSON): `port: 8000`"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = ABOUT
    parser.allow_abbrev = False
    parser.add_argument(
        "model_path", nargs="?", metavar="MODEL", help="sprig, a folder or a hub id"
    )
    parser.add_argument("--model", "--model-path", dest="model", help=argparse.SUPPRESS)
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="flags and their values, where the command line has none (.yaml, .toml, .json)",
    )
    cli_others.configure(parser)
    configure_engine(parser.add_argument_group("engine"))
    _configure_server(parser.add_argument_group("server"))
    _configure_access(parser.add_argument_group("access"))


def configure_engine(group: argparse._ArgumentGroup) -> None:
    """Add the flags of an engine, which `options_of` reads."""
    add = group.add_argument
    add("--tokenizer", "--tokenizer-path", metavar="FOLDER")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    add("--dtype", default="auto", type=_dtype, choices=["auto", "float32", "bfloat16", "float16"])
    add("--kv-dtype", "--kv-cache-dtype", default="auto", type=_kv_dtype,
        choices=["auto", "fp8_e4m3", "int8"], help="of the KV cache; auto: as --dtype")  # fmt: skip
    add("--quantization", "-q", default="none", choices=["none", "int8"],
        help="of weights: 8 bits, on a CPU")  # fmt: skip
    add("--context-length", "--max-model-len", type=count, metavar="TOKENS",
        help="that a sequence may have; 8K is 8192")  # fmt: skip
    add("--max-total-tokens", type=count, metavar="TOKENS", help="slots of the KV cache")
    add("--host-total-tokens", type=count, default=0, metavar="TOKENS", help="kept in host memory")
    add("--max-running", "--max-num-seqs", "--max-running-requests", type=count, default=256,
        metavar="N", help="sequences at once")  # fmt: skip
    add("--step-tokens", "--max-num-batched-tokens", type=count, default=2048, metavar="TOKENS",
        help="in a step")  # fmt: skip
    add("--chunk-tokens", "--chunked-prefill-size", type=count, metavar="TOKENS",
        help="of prompts in a step, while others decode")  # fmt: skip
    add("--page-size", "--block-size", type=count, default=1, metavar="TOKENS")
    add("--eviction", "--radix-eviction-policy", choices=["density", "lru"], default="density")
    add("--schedule-policy", choices=["lpm", "fcfs", "random"], default="lpm",
        help="who is next: the longest cached prefix, first come, or drawn")  # fmt: skip
    add("--grammar-bytes", type=count, default=256 << 20, metavar="BYTES",
        help="of grammars that are kept, and of mask rows; 64M is 64 MiB")  # fmt: skip
    add("--overlap", "--async-scheduling", action="store_true", default=None,
        help="plan a step while the one before it runs (the default on CUDA)")  # fmt: skip
    add("--no-overlap", "--no-async-scheduling", "--disable-overlap-schedule", dest="no_overlap",
        action="store_true")  # fmt: skip
    add("--cuda-graphs", action="store_true", default=None,
        help="of small steps (the default where Triton's kernels run)")  # fmt: skip
    add("--no-cuda-graphs", "--enforce-eager", "--disable-cuda-graph", dest="no_cuda_graphs",
        action="store_true")  # fmt: skip
    add("--no-radix-cache", "--disable-radix-cache", "--no-enable-prefix-caching",
        action="store_true", help="share no prefixes")  # fmt: skip
    add("--deterministic", "--enable-deterministic-inference", action="store_true")


def _configure_server(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=30000, help="0: a free one")
    add("--served-model-name", nargs="+", metavar="NAME", help="what `model` may be")
    add("--max-queued-requests", "--max-num-queued-reqs", type=int, default=2048,
        help="waiting ones; more get 429")  # fmt: skip
    add("--max-connections", type=int, metavar="N",
        help="at once (4096, or twice --max-running and --max-queued-requests); idle ones make "
             "room, and where none is, more get 503")  # fmt: skip
    add("--max-logprobs", type=int, default=None,
        help="alternatives per token; more get 400 (20; on /generate 100)")  # fmt: skip
    add("--max-body-bytes", type=int, default=4 << 20, help="of a request; larger ones get 413")
    add("--max-total-body-bytes", type=int, metavar="BYTES",
        help="of all requests' together (32 times --max-body-bytes); more get 429. Answers that "
             "are not read yet have as many again; more get 503")  # fmt: skip
    add("--shutdown-timeout", type=float, default=30.0, metavar="SECONDS",
        help="that running requests get after SIGTERM")  # fmt: skip
    add("--watchdog-timeout", type=float, default=300.0, metavar="SECONDS",
        help="without an answer, the engine is ended and started again; 0: never")  # fmt: skip
    add("--max-restarts", type=int, default=3, help="of a dead engine, in ten minutes")
    add("--log-level", default="warning", choices=["debug", "info", "warning", "error"])


def _configure_access(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--api-key", action="append", default=[], metavar="KEY")
    add("--api-key-file", metavar="FILE")
    add("--admin-key", "--admin-api-key", metavar="KEY")
    add("--admin-key-file", metavar="FILE")
    add("--insecure", action="store_true", help="let other machines in without a key")
    add("--allowed-host", action="append", default=[], metavar="NAME", help="of the Host header")
    add("--cors-origin", action="append", default=[], metavar="ORIGIN")
    add("--ssl-certfile", metavar="FILE")
    add("--ssl-keyfile", metavar="FILE")


def run(args: argparse.Namespace) -> int:
    began = _process_start()
    logging.basicConfig(
        level=args.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    with as_typed(args):
        check(args)
        model = args.model_path or args.model or "sprig"
        settings = settings_of(args, model)
        settings.check()
        from .server.launch import serve

        return serve(options_of(args, model), settings, began)


def check(args: argparse.Namespace) -> None:
    """Raise for flags that are refused, and for those that contradict each other."""
    cli_others.check(args)
    named = args.model if named_here(args, "model") else None
    if named is not None and args.model_path is not None:
        raise InvalidRequestError(
            expected="one model", got=f"{args.model_path} and {named}", where="--model"
        )
    contradictions = {
        ("--overlap", "--no-overlap"): bool(args.overlap) and args.no_overlap,
        ("--enable-prefix-caching", "--no-radix-cache"): args.no_radix_cache
        and cli_others.asked(args, "--enable-prefix-caching"),
        ("--cuda-graphs", "--no-cuda-graphs"): bool(args.cuda_graphs) and args.no_cuda_graphs,
        ("--host-total-tokens", "--no-radix-cache"): args.no_radix_cache
        and args.host_total_tokens > 0,
    }
    for names, both in contradictions.items():
        if both:
            one, other = (typed(args, name) for name in names)
            raise InvalidRequestError(
                expected=f"{one} or {other}", got="both: they contradict each other", where=one
            )
    if args.chunk_tokens is not None and args.chunk_tokens > args.step_tokens:
        raise InvalidRequestError(
            expected=f"at most {typed(args, 'step_tokens')}, which is {args.step_tokens}",
            got=str(args.chunk_tokens),
            where=typed(args, "chunk_tokens"),
        )


def options_of(args: argparse.Namespace, model: str) -> EngineOptions:
    """The engine's options that the flags say."""
    from .options import EngineOptions

    return EngineOptions(
        model=model,
        tokenizer=args.tokenizer,
        device=args.device,
        dtype=args.dtype,
        kv_dtype=args.kv_dtype,
        quantization=None if args.quantization == "none" else args.quantization,
        cuda_graphs=False if args.no_cuda_graphs else args.cuda_graphs,
        context_length=args.context_length,
        max_total_tokens=args.max_total_tokens,
        host_total_tokens=args.host_total_tokens,
        max_running=args.max_running,
        step_tokens=args.step_tokens,
        chunk_tokens=args.chunk_tokens,
        page_size=args.page_size,
        eviction=args.eviction,
        schedule_policy=args.schedule_policy,
        grammar_bytes=args.grammar_bytes,
        enable_radix_cache=not args.no_radix_cache,
        deterministic=args.deterministic,
        overlap=False if args.no_overlap else args.overlap,
    )


def settings_of(args: argparse.Namespace, model: str) -> ServerSettings:
    """The server's settings that the flags, the key files and the environment say."""
    from .server.settings import Limits, ServerSettings

    if args.admin_key and args.admin_key_file:
        raise InvalidRequestError(
            expected="--admin-key or --admin-key-file", got="both", where="--admin-key"
        )
    keys = [*args.api_key, *_keys(args.api_key_file, "--api-key-file", "ESPALIER_API_KEY")]
    admin = _keys(args.admin_key_file, "--admin-key-file", "ESPALIER_ADMIN_KEY")
    admin = [args.admin_key] if args.admin_key else admin
    if len(admin) > 1:
        raise InvalidRequestError(
            expected="one admin key", got=str(len(admin)), where="--admin-key-file"
        )
    if keys and args.insecure:
        raise InvalidRequestError(
            expected="--insecure or keys",
            got="both: with a key nobody is let in without",
            where="--insecure",
        )
    return ServerSettings(
        host=args.host,
        port=args.port,
        served_model_names=tuple(args.served_model_name or [name_of(model)]),
        api_keys=tuple(keys),
        admin_key=admin[0] if admin else None,
        insecure=args.insecure,
        allowed_hosts=tuple(args.allowed_host),
        max_inflight=args.max_running + args.max_queued_requests,
        shutdown_timeout=args.shutdown_timeout,
        max_restarts=args.max_restarts,
        watchdog=args.watchdog_timeout,
        cors_origins=tuple(args.cors_origin),
        tls_cert=args.ssl_certfile,
        tls_key=args.ssl_keyfile,
        limits=Limits(**_given(args)),
    )


def _given(args: argparse.Namespace) -> dict[str, int]:
    """Of a server's limits, those that flags set."""
    given: dict[str, int] = {"body_bytes": args.max_body_bytes}
    total = args.max_total_body_bytes
    given["bodies_bytes"] = 32 * args.max_body_bytes if total is None else total
    given["connections"] = args.max_connections
    if args.max_connections is None:
        given["connections"] = max(4096, 2 * (args.max_running + args.max_queued_requests))
    if args.max_logprobs is not None:
        given["logprobs"] = given["top_logprobs"] = args.max_logprobs
    return given


def name_of(model: str) -> str:
    """What a model is called where no name is given: of a folder, its last part."""
    return model.rstrip("/").rsplit("/", 1)[-1] if Path(model).exists() else model


def _dtype(text: str) -> str:
    """A number type, also as torch's users call it."""
    return {"half": "float16", "float": "float32"}.get(text, text)


def _kv_dtype(text: str) -> str:
    """A number type of the cache, also as vLLM calls it."""
    return {"fp8": "fp8_e4m3"}.get(text, text)


def _keys(file: str | None, flag: str, variable: str) -> list[str]:
    """The keys of a file, one a line, or else of the environment."""
    if file is None:
        return [key] if (key := os.environ.get(variable)) else []
    try:
        keys = Path(file).read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequestError(
            f"the file of keys cannot be read: {type(error).__name__}", where=flag
        ) from None
    if not keys:
        raise InvalidRequestError(expected="one key a line", got="an empty file", where=flag)
    return keys


def _process_start() -> float:
    """`time.monotonic()` at which this process was started; now, where the system does not say."""
    now = time.monotonic()
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        since_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return min(now, now - (time.clock_gettime(time.CLOCK_BOOTTIME) - since_boot))
    except (OSError, ValueError, IndexError, AttributeError):
        return now
