"""SGLang's backends that call APIs."""

from __future__ import annotations

from ..frontend_lang.backends.later import Anthropic, Crusoe, LiteLLM, OpenAI, VertexAI

__all__ = ["Anthropic", "Crusoe", "LiteLLM", "OpenAI", "VertexAI"]
