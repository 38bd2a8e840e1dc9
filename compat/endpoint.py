"""`sglang.lang.backend.runtime_endpoint`: a server, and an engine that a program starts."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidRequestError, NotSupportedError
from ..frontend_lang.backends.http import HTTPBackend
from ..runtime.engine import Engine
from .base_backend import BaseBackend
from .tokenizers import get_tokenizer

_OPTIONS = {
    "model_path": "model",
    "tokenizer_path": "tokenizer",
    "random_seed": "seed",
    "max_running_requests": "max_running",
    "chunked_prefill_size": "chunk_tokens",
}


class RuntimeEndpoint(BaseBackend):
    """The server at `base_url` (`espalier serve`)."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        verify: str | None = None,
        chat_template_name: str | None = None,
    ) -> None:
        for name, given in (("verify", verify), ("chat_template_name", chat_template_name)):
            if given is not None:
                raise NotSupportedError(
                    f"RuntimeEndpoint({name}=...) is not supported",
                    where=name,
                    hint="The model's own chat template and the system's certificates are used.",
                )
        super().__init__(HTTPBackend(base_url, api_key=api_key))
        self.base_url = base_url


class Runtime(BaseBackend):
    """An engine of its own, in a process of its own, until `shutdown()`.

    Options are SGLang's where Espalier has the same (`model_path`, `tokenizer_path`,
    `random_seed`, `max_running_requests`, `chunked_prefill_size`), and those of `espalier.Engine`.
    No port is opened: `espalier serve` does that.
    """

    def __init__(
        self, log_level: str = "error", launch_timeout: float = 300.0, **options: Any
    ) -> None:
        for name, given, usual in (
            ("log_level", log_level, "error"),
            ("launch_timeout", launch_timeout, 300.0),
            ("port", options.pop("port", None), None),
        ):
            if given != usual:
                raise NotSupportedError(
                    f"Runtime({name}=...) is not supported",
                    where=name,
                    hint="No server is started; `espalier serve` is one.",
                )
        if "model_path" not in options:
            raise InvalidRequestError("Runtime wants a model_path", where="model_path")
        self.engine = Engine(**{_OPTIONS.get(name, name): v for name, v in options.items()})
        super().__init__(self.engine)

    def get_tokenizer(self) -> Any:
        """The model's tokenizer, as transformers has it."""
        return get_tokenizer(self.get_model_name())

    def shutdown(self) -> None:
        """End the engine's process."""
        self.engine.shutdown()


__all__ = ["Runtime", "RuntimeEndpoint"]
