"""What /v1/programs takes and gives."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field, RootModel

from .asked import Int32
from .failures import ErrorBody
from .fields import Fields, Many, Refusals
from .replies import Usage


class ProgramParams(Fields):
    """What calls of the program take where they say nothing themselves. They are the defaults of a
    run beside an engine: greedy, 128 tokens."""

    max_tokens: int | None = None
    min_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    stop: str | Many[str] | None = None
    stop_token_ids: Many[int] | None = None
    stop_regex: str | Many[str] | None = None
    ignore_eos: bool | None = None
    deterministic: bool | None = None
    n: int | None = None
    logprobs: Annotated[int, Field(ge=0)] | None = None

    refused: ClassVar[Refusals] = {
        **Fields.refused,
        "prompt_logprobs": ((None,), "use /v1/completions"),
    }


class ProgramRequest(Fields):
    """A compiled program (what its `save` writes, as JSON and not as a text of it) and what a run
    of it takes.

    arguments: the program's own, by name. seed: of the whole run; drawn and told where none is
    given. deadline: seconds for all of it. stream: values as they end, and texts while they grow.
    """

    program: dict[str, Any]
    arguments: dict[str, Any] | None = None
    sampling_params: ProgramParams | None = None
    seed: int | None = None
    model: str | None = None
    stream: bool | None = None
    priority: Int32 | None = None
    deadline: float | None = None
    cache_salt: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    request_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None


ValueKind = Literal["gen", "reasoning", "select", "scope", "join", "set"]


class ProgramLogprob(BaseModel):
    """A generated token and its likeliest alternatives, by the model's raw logits."""

    token_id: int
    logprob: float
    top: list[tuple[int, float]]


class ProgramSample(BaseModel):
    """One text that a gen made, as the model wrote it (its reasoning with it). incomplete: why it
    is not a sentence of its grammar."""

    text: str
    token_ids: list[int]
    finish_reason: Literal["stop", "length", "deadline"]
    matched_stop: str | int | None
    incomplete: str | None
    seed: int
    logprobs: list[ProgramLogprob] | None = None


class ProgramValue(BaseModel):
    """A value of the program: of a call, of a scope, of what its branches made, or set by hand.

    number: what the graph calls it. branch: of whose state it is, as (number of the fork, branch)
    per level; empty for the program's own. value: as JSON; of a gen of a class its text. error: why
    it cannot be read (a gen that was cut has its samples, too). samples: of a gen. probabilities:
    of a select. A branch's failure that a join keeps stands as an ErrorResponse in its place.
    """

    number: int
    kind: ValueKind
    name: str | None
    branch: list[int]
    value: Any = None
    error: ErrorBody | None = None
    samples: list[ProgramSample] | None = None
    probabilities: dict[str, float] | None = None
    usage: Usage | None = None


class ProgramEnd(BaseModel):
    """How a run ended. text: what the program's own state has said. returned: what the program
    returns, as JSON. error: what its function would have raised; the values say more."""

    text: str | None
    returned: Any = None
    error: ErrorBody | None
    seconds: float
    usage: Usage


class ProgramRun(ProgramEnd):
    """A whole run."""

    id: str
    object: Literal["program.run"]
    created: int
    model: str
    program: str
    seed: int
    values: list[ProgramValue]


class ProgramBegan(BaseModel):
    """The first event of a stream."""

    event: Literal["began"]
    id: str
    created: int
    model: str
    program: str
    seed: int


class ProgramText(BaseModel):
    """More text of a value that grows (a gen of one sample, and its reasoning)."""

    event: Literal["text"]
    number: int
    kind: ValueKind
    name: str | None
    branch: list[int]
    text: str


class ProgramTold(ProgramValue):
    """A value that has ended."""

    event: Literal["value"]


class ProgramEnded(ProgramEnd):
    """The last event before `[DONE]`."""

    event: Literal["end"]


class ProgramEvent(
    RootModel[
        Annotated[
            ProgramBegan | ProgramText | ProgramTold | ProgramEnded, Field(discriminator="event")
        ]
    ]
):
    """An event of a streamed run."""
