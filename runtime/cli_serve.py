"""`espalier serve`: refused until the server is built."""

from __future__ import annotations

import argparse

from ..errors import NotSupportedError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = "An OpenAI-compatible server. It is not built yet."
    parser.add_argument("--model", default="sprig")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=30000)


def run(args: argparse.Namespace) -> int:
    raise NotSupportedError(
        "the server is not built yet (issue 5)",
        where=f"{args.host}:{args.port}",
        hint="Use espalier.Engine in Python, or espalier run and espalier chat on the command line",
    )
