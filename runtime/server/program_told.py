"""What a program's run tells: its values, and what went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import BranchError, EspalierError, IncompleteError, ProgramError
from ...frontend_lang.compiler.hosted import Given
from .api_programs import ProgramLogprob, ProgramSample
from .failures import ErrorBody, HTTPError, as_http
from .replies import finite, usage


def value_told(given: Given) -> dict[str, Any]:
    """A value that has ended, as the fields of `ProgramValue`."""
    variable, meta = given.variable, given.variable.meta
    told = named(given)
    error = variable.read_error
    if error is not None:
        told["error"] = error_told(error)
    else:
        told["value"] = plain(variable.value)
    if given.kind == "gen" and "token_ids" in meta:
        told["samples"] = [_sample(each) for each in meta.get("samples") or [meta]]
        told["usage"] = usage(
            meta["prompt_tokens"],
            meta["cached_tokens"],
            sum(each["completion_tokens"] for each in meta.get("samples") or [meta]),
        )
    elif given.kind == "select" and "probabilities" in meta:
        told["probabilities"] = dict(meta["probabilities"])
    return told


def named(given: Given) -> dict[str, Any]:
    """What a value is called."""
    return {
        "number": given.number,
        "kind": given.kind,
        "name": given.variable.name,
        "branch": list(given.branch),
    }


def _sample(meta: Mapping[str, Any]) -> ProgramSample:
    sample = ProgramSample(
        text=meta["text"],
        token_ids=meta["token_ids"],
        finish_reason=meta["finish_reason"]["type"],
        matched_stop=meta["finish_reason"]["matched"],
        incomplete=meta["incomplete"],
        seed=meta["seed"],
    )
    if "output_token_logprobs" in meta:
        each = zip(meta["output_token_logprobs"], meta["output_top_logprobs"], strict=True)
        sample.logprobs = [
            ProgramLogprob(
                token_id=token,
                logprob=finite(logprob),
                top=[(other, finite(value)) for value, other, _ in top],
            )
            for (logprob, token, _), top in each
        ]
    return sample


def plain(value: Any) -> Any:
    """A value as JSON has it; an error that a join keeps as an error's answer."""
    if isinstance(value, BranchError):
        return {"error": error_told(value).model_dump()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return value


def root_of(error: BaseException) -> BaseException:
    """What began it, behind what the program made of it."""
    while True:
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        elif isinstance(error, ProgramError) and error.__cause__ is not None:
            error = error.__cause__
        else:
            return error


def error_told(error: BaseException) -> ErrorBody:
    """What a program's failure says: its line and the call in its own words, what began it in those
    that a client may see."""
    root = root_of(error)
    if isinstance(root, ProgramError):
        cut = isinstance(root, IncompleteError)
        found = HTTPError(
            400,
            str(error if isinstance(error, EspalierError) else root),
            kind="program_error",
            code="incomplete_value" if cut else "program_failed",
            param=root.where,
        )
    else:
        found = as_http(root)
    message, where = found.message, found.param
    if error is not root and not isinstance(root, ProgramError):
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, EspalierError):
            where = error.where
            call = error.message.partition(" failed: ")[0].removesuffix(" failed")
            message = f"{call} failed: {message} (at {where})"
    return ErrorBody(message=message[:2_000], type=found.kind, param=where, code=found.code)
