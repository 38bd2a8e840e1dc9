"""`sglang.lang.ir`: expressions, and regular expressions whose texts are JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..frontend_lang.expr import (
    Expr as SglExpr,
    ExprList as SglExprList,
    Gen as SglGen,
    RoleBegin as SglRoleBegin,
    RoleEnd as SglRoleEnd,
    ScopeBegin as SglVarScopeBegin,
    ScopeEnd as SglVarScopeEnd,
    Select as SglSelect,
    Text as SglConstantText,
)
from .programs import SglFunction
from .refused import refused

# As SGLang's, but that every text of them is a JSON value (and white space behind it).
REGEX_INT = r"-?(0|[1-9][0-9]*)[ \n]*"
REGEX_FLOAT = r"-?(0|[1-9][0-9]*)(\.[0-9]+)?[ \n]*"
REGEX_BOOL = r"(true|false)"
REGEX_STR = r'"[\w\d ]*"'


@dataclass
class SglSamplingParams:
    """A run's sampling parameters, under SGLang's names and defaults."""

    max_new_tokens: int = 128
    min_new_tokens: int = 0
    n: int = 1
    stop: str | list[str] | tuple[str, ...] = ()
    stop_token_ids: list[int] | tuple[int, ...] | None = ()
    stop_regex: str | list[str] | tuple[str, ...] | None = ()
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    ignore_eos: bool = False
    return_logprob: bool | None = None
    logprob_start_len: int | None = None
    top_logprobs_num: int | None = None
    return_text_in_logprobs: bool | None = None
    json_schema: str | None = None
    dtype: Any = None
    regex: str | None = None

    def clone(self) -> SglSamplingParams:
        """Another one with the same values."""
        return SglSamplingParams(**vars(self))


_ADD = "Programs say it by `s += ...`, s.fork() and join()."
_SAY = "Use sglang.image and sglang.video, which say what is supported."
SglArgument = refused("SglArgument", "Use program.trace() for a program's graph.")
SglCommitLazy = refused("SglCommitLazy", _ADD)
SglConcateAndAppend = refused("SglConcateAndAppend", _ADD)
SglFork = refused("SglFork", _ADD)
SglGetForkItem = refused("SglGetForkItem", _ADD)
SglImage = refused("SglImage", _SAY)
SglSeparateReasoning = refused("SglSeparateReasoning", "Use sglang.separate_reasoning.")
SglVariable = refused("SglVariable", "Read the value with s[name].")
SglVideo = refused("SglVideo", _SAY)

__all__ = [
    "REGEX_BOOL",
    "REGEX_FLOAT",
    "REGEX_INT",
    "REGEX_STR",
    "SglArgument",
    "SglCommitLazy",
    "SglConcateAndAppend",
    "SglConstantText",
    "SglExpr",
    "SglExprList",
    "SglFork",
    "SglFunction",
    "SglGen",
    "SglGetForkItem",
    "SglImage",
    "SglRoleBegin",
    "SglRoleEnd",
    "SglSamplingParams",
    "SglSelect",
    "SglSeparateReasoning",
    "SglVarScopeBegin",
    "SglVarScopeEnd",
    "SglVariable",
    "SglVideo",
]
