"""What /v1/completions takes and gives."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field

from .asked import SamplingFields
from .fields import Fields, Many, Refusals, few
from .replies import Finish, Usage

TokenId = Annotated[int, Field(ge=0, le=2**31)]


class CompletionRequest(SamplingFields):
    """A completion of texts or token ids. echo: the prompt stands before the answer, and with
    logprobs in them too. best_of: samples made, of which the n likeliest per token are told."""

    prompt: Annotated[str | Many[str] | Many[TokenId] | Many[Many[TokenId]], few("prompt")]
    logprobs: Annotated[int, Field(ge=0)] | None = None
    echo: bool | None = None
    best_of: Annotated[int, Field(ge=1)] | None = None

    refused: ClassVar[Refusals] = {
        **Fields.refused,
        "tools": ((None, []), "use /v1/chat/completions"),
        "messages": ((None,), "use /v1/chat/completions"),
    }


class CompletionLogprobs(BaseModel):
    """text_offset: of each token in the text."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(BaseModel):
    """stop_reason, incomplete: as of a chat's choice."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Finish | None
    stop_reason: str | int | None = None
    incomplete: str | None = None
    prompt_logprobs: list[dict[str, Any] | None] | None = None


class Completion(BaseModel):
    """An answer, and each event of a streamed one (the last event is `[DONE]`)."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None
