"""`sglang.utils`: the small helpers that programs around SGLang's frontend use."""

from __future__ import annotations

import json
import os
import sys
import traceback
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from ..frontend_lang.state import ProgramState


def read_jsonl(filename: str) -> Iterator[Any]:
    """The values of a file with one JSON text per line; lines that begin with # are left out."""
    with open(filename, encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith("#"):
                yield json.loads(line)


def dump_state_text(filename: str, states: Sequence[Any], mode: str = "w") -> None:
    """Write the texts of states (or texts) to a file, numbered."""
    with open(filename, mode, encoding="utf-8") as file:
        for number, state in enumerate(states):
            text = state.text() if isinstance(state, ProgramState) else str(state)
            line = "=" * 40
            file.write(f"{line} {number} {line}\n{text}\n{line}{line}\n\n")


def normalize_base_url(host: str, port: int) -> str:
    """`http://host:port`, with brackets around an IPv6 address; a scheme that is there stays."""
    if "://" in host:
        return f"{host}:{port}"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def get_exception_traceback() -> str:
    """The exception that is being handled, as Python prints it."""
    return "".join(traceback.format_exception(*sys.exc_info()))


def is_same_type(values: Sequence[Any]) -> bool:
    """Whether all are of the first one's type."""
    return all(isinstance(value, type(values[0])) for value in values[1:])


def download_and_cache_file(url: str, filename: str | None = None) -> str:
    """Fetch a URL into a file, unless the file is there; returns its name."""
    path = Path(filename or os.path.join(gettempdir(), url.rpartition("/")[2]))
    if not path.exists():
        partial = path.with_name(path.name + ".partial")
        urllib.request.urlretrieve(url, partial)
        partial.replace(path)
    return str(path)


def is_in_ci() -> bool:
    """Whether SGLANG_IS_IN_CI says so."""
    return os.environ.get("SGLANG_IS_IN_CI", "").lower() in ("1", "true")


def print_highlight(html_content: object) -> None:
    """Print it."""
    sys.stdout.write(f"{html_content}\n")


def convert_json_schema_to_str(json_schema: Any) -> str:
    """A schema from a dict, a JSON text or a pydantic model, as JSON text."""
    if isinstance(json_schema, str):
        return json_schema
    if isinstance(json_schema, dict):
        return json.dumps(json_schema)
    if hasattr(json_schema, "model_json_schema"):
        return json.dumps(json_schema.model_json_schema())
    raise ValueError(f"expected a dict, a JSON text or a pydantic model, got {json_schema!r:.80}")


def trim_overlap(existing_text: str, new_chunk: str) -> str:
    """`new_chunk` without what `existing_text` ends in already."""
    for length in range(min(len(existing_text), len(new_chunk)), 0, -1):
        if existing_text.endswith(new_chunk[:length]):
            return new_chunk[length:]
    return new_chunk


def stream_and_merge(llm: Any, prompt: str, sampling_params: Any) -> str:
    """The whole text of a stream."""
    return "".join(chunk.text for chunk in llm.stream(prompt, sampling_params))


async def async_stream_and_merge(llm: Any, prompt: str, sampling_params: Any) -> AsyncIterator[str]:
    """The pieces of a stream."""
    async for chunk in llm.astream(prompt, sampling_params):
        if chunk.text:
            yield chunk.text


__all__ = [
    "async_stream_and_merge",
    "convert_json_schema_to_str",
    "download_and_cache_file",
    "dump_state_text",
    "get_exception_traceback",
    "is_in_ci",
    "is_same_type",
    "normalize_base_url",
    "print_highlight",
    "read_jsonl",
    "stream_and_merge",
    "trim_overlap",
]
