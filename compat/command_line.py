"""`sglang.test.test_utils`: the arguments that SGLang's benchmark programs share."""

from __future__ import annotations

import argparse
import unittest
from typing import Any

from ..errors import InvalidRequestError
from .endpoint import RuntimeEndpoint
from .utils import is_in_ci, normalize_base_url

DEFAULT_MODEL_NAME_FOR_TEST = DEFAULT_SMALL_MODEL_NAME_FOR_TEST = "sprig"
CustomTestCase = unittest.TestCase


def add_common_sglang_args_and_parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Add where the backend is and where results go, and parse the command line."""
    parser.add_argument("--parallel", type=int, default=64)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=30000)
    parser.add_argument("--backend", default="srt")
    parser.add_argument("--device", default="auto", choices=["auto", "cuda", "rocm", "cpu"])
    parser.add_argument("--result-file", default="result.jsonl")
    parser.add_argument("--raw-result-file")
    return parser.parse_args()


def select_sglang_backend(args: argparse.Namespace) -> Any:
    """The backend that the command line names: a server (`srt`), or OpenAI's API (`gpt-...`)."""
    if args.backend.startswith("srt"):
        return RuntimeEndpoint(normalize_base_url(args.host, args.port))
    if args.backend.startswith("gpt-"):
        from .backends import OpenAI

        return OpenAI(args.backend)
    raise InvalidRequestError(
        expected="a backend srt, srt-no-parallel or gpt-...", got=args.backend, where="--backend"
    )


__all__ = [
    "DEFAULT_MODEL_NAME_FOR_TEST",
    "DEFAULT_SMALL_MODEL_NAME_FOR_TEST",
    "CustomTestCase",
    "add_common_sglang_args_and_parse",
    "is_in_ci",
    "normalize_base_url",
    "select_sglang_backend",
]
