"""SGLang's backends that call APIs."""

from __future__ import annotations

import os
from typing import Any

from ..frontend_lang.backends import anthropic, openai
from ..frontend_lang.backends.later import LiteLLM, VertexAI
from .base_backend import BaseBackend


class OpenAI(BaseBackend):
    """A model behind OpenAI's API, or a server's that speaks it. client: the package's own options
    (base_url, api_key, ...), and those of `espalier.OpenAI`."""

    def __init__(
        self,
        model_name: str,
        is_chat_model: bool | None = None,
        chat_template: Any = None,
        is_azure: bool = False,
        **client: Any,
    ) -> None:
        made = openai.OpenAI(model_name, is_chat_model, chat_template, is_azure, **client)
        super().__init__(made)
        self.model_name = model_name
        self.is_chat_model = made.is_chat_model
        self._made = made

    def shutdown(self) -> None:
        """Close its connections."""
        self._made.close()


class Crusoe(OpenAI):
    """Crusoe's API, which is OpenAI's; the key is taken from CRUSOE_API_KEY."""

    def __init__(
        self, model_name: str, api_key: str | None = None, base_url: str | None = None, **more: Any
    ) -> None:
        super().__init__(
            model_name,
            api_key=api_key or os.environ.get("CRUSOE_API_KEY"),
            base_url=base_url or "https://managed-inference-api-proxy.crusoecloud.com/v1/",
            **more,
        )


class Anthropic(BaseBackend):
    """A model behind Anthropic's API. client: the package's own options, and those of
    `espalier.Anthropic`."""

    is_chat_model = True

    def __init__(self, model_name: str, **client: Any) -> None:
        made = anthropic.Anthropic(model_name, **client)
        super().__init__(made)
        self.model_name = model_name
        self._made = made

    def shutdown(self) -> None:
        """Close its connections."""
        self._made.close()


__all__ = ["Anthropic", "Crusoe", "LiteLLM", "OpenAI", "VertexAI"]
