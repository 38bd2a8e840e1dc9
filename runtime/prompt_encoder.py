"""What callers give, as token ids: in their thread, or beside their event loop."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

from ..errors import InvalidRequestError
from .inputs import Prompts, as_prompts
from .tokenizer import Tokenizer, find_tokenizer


class PromptEncoder:
    """Encodes prompts by the tokenizer of `source`, a model's name or folder.

    beside: `aencode` leaves the event loop free. It has one thread, for a tokenizer encodes one
    text at a time, and so requests come to the engine in the order in which they were made.
    """

    def __init__(self, source: str, *, beside: bool) -> None:
        self._source = source
        self._beside = beside
        self._owner = os.getpid()  # a forked child has none of our threads

    @cached_property
    def found(self) -> Tokenizer | None:
        """The tokenizer; None where there is none."""
        return find_tokenizer(self._source)

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer. Raises InvalidRequestError where there is none."""
        if self.found is None:
            raise InvalidRequestError(
                f"the model {self._source!r} has no tokenizer",
                hint="Give input_ids instead of text, or start the engine with tokenizer=",
            )
        return self.found

    def encode(self, prompts: Any, messages: Any, input_ids: Any) -> Prompts:
        """Token ids of whichever one of the three is given."""
        return as_prompts(lambda: self.tokenizer, prompts, messages, input_ids)

    async def aencode(self, prompts: Any, messages: Any, input_ids: Any) -> Prompts:
        """`encode` for asyncio."""
        given = (prompts, messages, input_ids)
        texts = prompts is not None or messages is not None
        if not texts or not self._beside or os.getpid() != self._owner:
            return self.encode(*given)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.encode, *given)

    @cached_property
    def _thread(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, thread_name_prefix="espalier-encoder")
