"""What SGLang's native /generate takes and gives."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, Field

from .api_completion import TokenId
from .asked import Int32
from .fields import Fields, Many, Refusals, few
from .settings import PROMPTS
from .structural_format import check_parts
from .structured import StructuredFields


class GenerateParams(Fields, StructuredFields):
    """SGLang's sampling parameters. max_new_tokens: 128 where none is given."""

    max_new_tokens: int | None = None
    min_new_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    sampling_seed: int | None = None
    stop: str | Many[str] | None = None
    stop_token_ids: Many[int] | None = None
    stop_regex: str | Many[str] | None = None
    ignore_eos: bool | None = None
    deterministic: bool | None = None
    n: int | None = None

    refused: ClassVar[Refusals] = {
        **Fields.refused,
        "stream_interval": ((None, 1), "every token is a piece"),
    }


def _bounded(given: Any) -> Any:
    """Bound the formats of all prompts together."""
    if isinstance(given, list):
        check_parts(
            params["response_format"]
            for params in given
            if isinstance(params, dict) and "response_format" in params
        )
    return given


class GenerateRequest(Fields):
    """One prompt or several, as text or token ids. logprob_start_len: from this prompt token on
    their log probabilities are told too; -1: none."""

    text: Annotated[str | Many[str] | None, few("text")] = None
    input_ids: Annotated[Many[TokenId] | Many[Many[TokenId]] | None, few("input_ids")] = None
    sampling_params: Annotated[
        GenerateParams | Many[GenerateParams] | None,
        few("sampling_params", PROMPTS),
        BeforeValidator(_bounded),
    ] = None
    rid: Annotated[str, Field(max_length=128)] | None = None
    model: str | None = None
    return_logprob: bool | None = None
    logprob_start_len: int | None = None
    top_logprobs_num: Annotated[int, Field(ge=0)] | None = None
    return_text_in_logprobs: bool | None = None
    stream: bool | None = None
    priority: Int32 | None = None
    deadline: float | None = None
    cache_salt: Annotated[str, Field(min_length=1, max_length=1024)] | None = None

    refused: ClassVar[Refusals] = {
        **Fields.refused,
        "image_data": ((None,), "models run on text alone here"),
        "video_data": ((None,), "models run on text alone here"),
        "audio_data": ((None,), "models run on text alone here"),
        "input_embeds": ((None,), "give text or input_ids"),
        "token_ids_logprob": ((None,), "use top_logprobs_num"),
        "log_metrics": ((None, True), "leave it out"),
        "return_prompt_token_ids": ((None, False), "use /tokenize"),
    }


TokenTold = tuple[float | None, int, str | None]


class FinishedBecause(BaseModel):
    """type: stop, length or abort. matched: the stop string or token; length: the tokens made."""

    type: Literal["stop", "length", "abort"]
    matched: str | int | None = None
    length: int | None = None


class MetaInfo(BaseModel):
    """incomplete: why a text is not a sentence of its grammar. stop_reason: "deadline", where that
    ended it."""

    id: str
    finish_reason: FinishedBecause | None
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    e2e_latency: float | None = None
    seed: int | None = None
    incomplete: str | None = None
    stop_reason: str | None = None
    input_token_logprobs: list[TokenTold] | None = None
    input_top_logprobs: list[list[TokenTold] | None] | None = None
    output_token_logprobs: list[TokenTold] | None = None
    output_top_logprobs: list[list[TokenTold] | None] | None = None


class Generated(BaseModel):
    """One sample; in a stream, all of it so far."""

    text: str
    output_ids: list[int]
    meta_info: MetaInfo
    index: int | None = None


Answer = Generated | list[Generated]
