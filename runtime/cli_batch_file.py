"""The two files of a batch: requests a line, and answers a line, added as they come.

A request is known by its line number and content, so that a run can go on where another was
interrupted: what stands whole in the output is done.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from ..errors import InvalidRequestError

if TYPE_CHECKING:
    import httpx

_ID = "batch_req_"
_BEGIN = f'{{"id": "{_ID}'  # of every line of answers
URLS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A request of the file. fault: why it cannot be asked, and its code; then there is no body."""

    id: str
    custom_id: str | None
    url: str = ""
    body: dict[str, Any] = {}
    fault: tuple[str, str] | None = None


def entries(name: str) -> Iterator[Entry]:
    """The requests of a file. Raises InvalidRequestError for a file that cannot be read; a line
    that is no request is an entry with a fault."""
    seen: set[str] = set()
    try:
        with open(name, "rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                entry = _entry(number, line.strip())
                if entry.fault is None and entry.custom_id in seen:
                    fault = (f"line {number}: the custom_id stands twice", "duplicate_custom_id")
                    entry = Entry(id=entry.id, custom_id=entry.custom_id, fault=fault)
                if entry.custom_id is not None:
                    seen.add(entry.custom_id)
                yield entry
    except OSError as error:
        raise InvalidRequestError(
            f"the file cannot be read: {error.strerror}", where=name
        ) from None


def _entry(number: int, line: bytes) -> Entry:
    id = f"{_ID}{number}_{hashlib.sha256(line).hexdigest()[:16]}"
    said: Any = None
    why: str | None
    try:
        said = json.loads(line)
    except (ValueError, RecursionError) as error:
        why = f"it is no JSON: {error}"
    else:
        why = "expected a JSON object" if not isinstance(said, dict) else _wrong(said)
    custom = said.get("custom_id") if isinstance(said, dict) else None
    custom = custom if isinstance(custom, str) else None
    if why is not None:
        return Entry(id=id, custom_id=custom, fault=(f"line {number}: {why}", "invalid_line"))
    return Entry(id=id, custom_id=custom, url=said["url"], body=said["body"])


def _wrong(said: dict[str, Any]) -> str | None:
    """Why a line is no request."""
    if not isinstance(said.get("custom_id"), str):
        return "expected a text as custom_id"
    if said.get("method") != "POST":
        return "expected POST as method"
    if said.get("url") not in URLS:
        return f"expected one of {', '.join(URLS)} as url"
    if not isinstance(said.get("body"), dict):
        return "expected a JSON object as body"
    if said["body"].get("stream"):
        return "expected a body without stream"
    return None


class Output:
    """The file of answers. Nobody else may write it meanwhile. answered, failed: lines in it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.answered = self.failed = 0
        try:
            self._file = open(name, "ab", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise InvalidRequestError(
                f"the file cannot be written: {error.strerror}", where=name
            ) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise InvalidRequestError("another process writes this file", where=name) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._file.close()

    def resume(self, ids: Sequence[str], source: str, retry_failed: bool) -> set[str]:
        """The ids of what is answered already. What was cut off in the midst of a line is dropped,
        and with retry_failed what failed. Raises InvalidRequestError for a file that holds anything
        but answers to these requests."""
        self._check_rest()
        known = set(ids)
        done: set[str] = set()
        kept: list[bytes] = []
        whole = 0
        for number, line in enumerate(self._lines(), 1):
            id, failed = self._answered(number, line)
            if id not in known:
                raise InvalidRequestError(
                    f"line {number} answers no request of {source}",
                    where=self._name,
                    hint="Give a file of its own to each input, or remove this one.",
                )
            whole += len(line)
            if failed and retry_failed:
                continue
            if retry_failed:
                kept.append(line)
            done.add(id)
            self.failed += failed
        self.answered = len(done)
        if retry_failed:
            self._replace(kept)
        else:
            self._file.truncate(whole)
        return done

    def _check_rest(self) -> None:
        """Raise InvalidRequestError where what stands behind the last whole line is not the
        beginning of an answer: it would be cut off."""
        with open(self._name, "rb") as file:
            rest = next((line for line in file if not line.endswith(b"\n")), b"")
        begin = _BEGIN.encode()
        if not begin.startswith(rest[: len(begin)]):
            raise InvalidRequestError(
                "the file ends in what is no answer of a batch",
                got=repr(rest[:40]),
                where=self._name,
                hint="Name another file, or remove this one.",
            )

    def _lines(self) -> Iterator[bytes]:
        """The whole ones."""
        with open(self._name, "rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line

    def _answered(self, number: int, line: bytes) -> tuple[str, bool]:
        try:
            said = json.loads(line)
            response = said["response"]
            failed = said["error"] is not None or response["status_code"] >= 400
            return str(said["id"]), bool(failed)
        except (ValueError, KeyError, TypeError):
            raise InvalidRequestError(
                f"line {number} is no answer of a batch",
                where=self._name,
                hint="Name another file, or remove this one.",
            ) from None

    def _replace(self, lines: list[bytes]) -> None:
        """Have the file hold these lines alone, whatever befalls meanwhile."""
        new = f"{self._name}.new"
        with open(new, "wb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, self._name)
        self._file.close()
        self._file = open(self._name, "ab", buffering=0)  # noqa: SIM115
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(self, entry: Entry, response: httpx.Response | None) -> None:
        """Add an answer; without a response, the entry's own fault. Raises InvalidRequestError
        where it cannot be written, and leaves no part of it."""
        told: dict[str, Any] = {"id": entry.id, "custom_id": entry.custom_id}  # as in _BEGIN
        if response is None:
            assert entry.fault is not None
            message, code = entry.fault
            told |= {"response": None, "error": {"code": code, "message": message}}
        else:
            told |= {"response": _response(response), "error": None}
        line = json.dumps(told, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
        before = os.fstat(self._file.fileno()).st_size
        try:
            left = memoryview(line)
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(before)
            raise InvalidRequestError(
                f"the file cannot be written: {error.strerror}", where=self._name
            ) from None
        self.answered += 1
        self.failed += response is None or response.status_code >= 400


def _response(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        body = {"error": {"message": response.text[:2000], "code": "no_json"}}
    id = body.get("id") if isinstance(body, dict) else None
    return {"status_code": response.status_code, "request_id": id, "body": body}
