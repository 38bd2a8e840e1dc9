"""The messages of a request as the model's own template takes them, calls of tools included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .chat_messages import Message, template_messages
from .dialect import Dialect
from .tool_detection import is_sprig
from .tool_formats import ToolSpec
from .tool_sprig import sprig_messages


def history(
    messages: Sequence[Message], dialect: Dialect, tools: Sequence[ToolSpec] = ()
) -> list[dict[str, Any]]:
    """tools: those offered, where messages list them. Raises as `template_messages` does."""
    listed = is_sprig(dialect.tokenizer)
    called = any(message.tool_calls for message in messages)
    written = dialect.written if called and not listed else None
    plain = template_messages(messages, dialect.tokenizer, written)
    return sprig_messages(plain, tools) if listed else plain
