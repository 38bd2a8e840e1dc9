"""`sglang.lang.backend.base_backend`: what a backend is to SGLang's programs, over one of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from ..errors import NotSupportedError
from ..frontend_lang.backends.base import Call, Forwarding, Scoring, Tokenizer
from ..frontend_lang.backends.default import as_backend
from ..types import Chunk, Result
from .chat_template import ChatTemplate, ModelTemplate


@dataclass
class TokenUsage:
    """Tokens of prompts and of answers since the last `reset`."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def reset(self) -> None:
        """Count from zero again."""
        self.prompt_tokens = self.completion_tokens = 0


class BaseBackend(Forwarding):
    """A backend with SGLang's methods beside ours; it counts the tokens that it is asked for.

    Made of an engine or any backend of Espalier's. A backend of one's own is written to
    Espalier's protocol (`frontend_lang/backends/base.py`), which deals in tokens.
    """

    is_chat_model = False
    support_concate_and_append = False

    def __init__(self, backend: Any) -> None:
        super().__init__(as_backend(backend))
        self.token_usage = TokenUsage()

    @property
    def endpoint(self) -> BaseBackend:
        """Itself: what SGLang's `Runtime` keeps its backend under."""
        return self

    @property
    def chat_template(self) -> ChatTemplate:
        """The model's own chat template, which cannot be another."""
        return ModelTemplate(self.tokenizer)

    @chat_template.setter
    def chat_template(self, template: object) -> None:
        if not isinstance(template, ModelTemplate):
            raise NotSupportedError(
                "roles are rendered by the model's own chat template, not by another",
                where="chat_template",
                hint="Leave it out; or write the turns as text.",
            )

    def get_chat_template(self) -> ChatTemplate:
        """The model's own."""
        return self.chat_template

    def get_model_name(self) -> str:
        """The model's folder, hub id or name."""
        return str(self.info()["model"])

    def get_server_info(self) -> dict[str, Any]:
        """What it is, and its counters."""
        return {**self.info(), "stats": self.stats()}

    def cache_prefix(self, prefix_str: str) -> None:
        """Compute a prompt's beginning, so that the cache has it."""
        from ..frontend_lang.function import Program
        from ..frontend_lang.primitives import gen

        def body(s: Any) -> None:
            s += prefix_str + gen(max_tokens=1)

        state = Program(body).run(backend=self.backend)
        error = state.error()
        if error is not None:
            raise error

    def shutdown(self) -> None:
        """Nothing to end: whoever made the engine closes it."""

    # -- the protocol ------------------------------------------------------------------------------

    @property
    def tokenizer(self) -> Tokenizer:
        return self.backend.tokenizer

    async def generate(self, call: Call) -> Result:
        return self._count(await self.backend.generate(call))

    async def stream(self, call: Call) -> AsyncIterator[Chunk]:
        async for chunk in self.backend.stream(call):
            if chunk.result is not None:
                self._count(chunk.result)
            yield chunk

    async def score(self, scoring: Scoring) -> list[Result]:
        return [self._count(result) for result in await self.backend.score(scoring)]

    def _count(self, result: Result) -> Result:
        for sample in result.samples or [result]:
            self.token_usage.prompt_tokens += sample.prompt_tokens
            self.token_usage.completion_tokens += sample.generated_tokens
        return result


__all__ = ["BaseBackend"]
