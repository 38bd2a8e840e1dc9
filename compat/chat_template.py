"""`sglang.lang.chat_template`: templates by name, for rendering by hand.

Roles of programs are rendered by the model's own template, whatever stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from ..errors import InvalidRequestError, NotSupportedError
from ..frontend_lang.backends.base import Tokenizer


class ChatTemplateStyle(Enum):
    """LLAMA2 writes the system message inside the first user's."""

    PLAIN = auto()
    LLAMA2 = auto()


@dataclass
class ChatTemplate:
    """What stands before and after each role's content."""

    name: str
    default_system_prompt: str | None
    role_prefix_and_suffix: dict[str, tuple[str, str]]
    stop_str: Sequence[str] = ()
    image_token: str = "<image>"
    audio_token: str = "<audio>"
    style: ChatTemplateStyle = ChatTemplateStyle.PLAIN

    def get_prefix_and_suffix(
        self, role: str, hist_messages: Sequence[Mapping[str, Any]]
    ) -> tuple[str, str]:
        """What stands around the next message, which is of `role`."""
        marks = self.role_prefix_and_suffix
        prefix, suffix = marks.get(role, ("", ""))
        if self.style is not ChatTemplateStyle.LLAMA2:
            return prefix, suffix
        if role == "system" and not hist_messages:
            return marks.get("user", ("", ""))[0] + prefix, suffix
        if role == "user" and len(hist_messages) == 1 and hist_messages[0]["content"] is not None:
            return "", suffix
        return prefix, suffix

    def get_prompt(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The chat as one text."""
        prompt = ""
        for at, message in enumerate(messages):
            content = message["content"]
            if message["role"] == "system" and content is None:
                content = self.default_system_prompt
                if content is None:
                    continue
            prefix, suffix = self.get_prefix_and_suffix(message["role"], messages[:at])
            prompt += f"{prefix}{content}{suffix}"
        return prompt


class ModelTemplate(ChatTemplate):
    """A model's own template, which is a program."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__("the model's own", None, {})
        self._tokenizer = tokenizer

    def get_prefix_and_suffix(
        self,
        role: str,
        hist_messages: Sequence[Mapping[str, Any]],  # noqa: ARG002
    ) -> tuple[str, str]:
        """Raises NotSupportedError: a program has no constant marks."""
        raise NotSupportedError(
            f"the model's own chat template has no constant marks for {role!r}",
            where="get_prefix_and_suffix",
            hint="Render whole chats with get_prompt(messages).",
        )

    def get_prompt(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The chat as one text."""
        return self._tokenizer.render_chat(messages)


chat_template_registry: dict[str, ChatTemplate] = {}
matching_function_registry: list[Callable[[str], str | None]] = []


def register_chat_template(template: ChatTemplate) -> None:
    """Let `get_chat_template` find it."""
    chat_template_registry[template.name] = template


def register_chat_template_matching_function(func: Callable[[str], str | None]) -> Any:
    """Let `get_chat_template_by_model_path` ask it for a template's name."""
    matching_function_registry.append(func)
    return func


def get_chat_template(name: str) -> ChatTemplate:
    """A registered template. Raises InvalidRequestError, telling which there are."""
    if name not in chat_template_registry:
        raise InvalidRequestError(
            f"no chat template is registered as {name!r}",
            where="get_chat_template",
            hint=f"There are {', '.join(chat_template_registry)}; programs use the model's own.",
        )
    return chat_template_registry[name]


def get_chat_template_by_model_path(model_path: str) -> ChatTemplate:
    """The first that a matching function names, or the default one."""
    names = (func(model_path) for func in matching_function_registry)
    return get_chat_template(next((name for name in names if name is not None), "default"))


def _chatml(role: str) -> tuple[str, str]:
    return f"<|im_start|>{role}\n", "<|im_end|>\n"


_ROLES = ("system", "user", "assistant")
register_chat_template(
    ChatTemplate("default", None, {role: (f"{role.upper()}:", "\n") for role in _ROLES})
)
register_chat_template(
    ChatTemplate("chatml", None, {role: _chatml(role) for role in _ROLES}, ("<|im_end|>",))
)

__all__ = [
    "ChatTemplate",
    "ChatTemplateStyle",
    "chat_template_registry",
    "get_chat_template",
    "get_chat_template_by_model_path",
    "matching_function_registry",
    "register_chat_template",
    "register_chat_template_matching_function",
]
