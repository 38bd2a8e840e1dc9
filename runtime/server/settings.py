"""How a server behaves, as plain data."""

from __future__ import annotations

import ipaddress
import math

import msgspec

from ...errors import InvalidRequestError

PROMPTS = 1024  # of one request


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one request may ask at most.

    body_bytes: of its body. bodies_bytes: of all that are read or in work, beyond 64 KiB of each;
    and as many of answers. answer_seconds: until one longer than that is read. room_seconds: how
    long it waits for its bytes. connections: of all clients at once; idle ones make room.
    body_seconds: until the body is there. header_bytes: of its head.
    head_seconds: from a connection's first byte, or its last answer, until a head is there.
    samples: n. prompts, stops, biases, tools: entries of these lists. grammar_chars: of a schema or
    grammar. top_logprobs: alternatives per token, OpenAI's bound; logprobs: those of /generate.
    priority: of who is not the admin. send_seconds: how long a reader may leave a piece of a stream
    untaken. program_*: of a compiled program (frontend_lang/compiler/limits.py says what they are).
    """

    connections: int = 4608
    body_bytes: int = 4 << 20
    bodies_bytes: int = 128 << 20
    answer_seconds: float = 120.0
    room_seconds: float = 10.0
    body_seconds: float = 60.0
    header_bytes: int = 64 << 10
    head_seconds: float = 30.0
    samples: int = 128
    prompts: int = PROMPTS
    stops: int = 64
    biases: int = 4096
    tools: int = 256
    grammar_chars: int = 1_000_000
    top_logprobs: int = 20
    logprobs: int = 100
    priority: int = 10
    send_seconds: float = 120.0
    program_nodes: int = 50_000
    program_ops: int = 4_096
    program_streams: int = 256
    program_scopes: int = 64
    program_tokens: int = 65_536
    program_characters: int = 1_000_000


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to serve.

    host, port: where; port 0 takes a free one. served_model_names: what `model` may be, the first
    being what answers call it. api_keys: one of them is needed, where there are any; admin_key:
    for what concerns other users too. insecure: listen beyond this machine without keys.
    allowed_hosts: further `Host` headers, beside the names of this machine. max_inflight: samples
    at once, running and waiting; more get 429, and so do those of a key beyond its share
    (shares.py). shutdown_timeout: seconds that running requests get after SIGTERM. max_restarts:
    of a dead engine, in `restart_window` seconds. watchdog: seconds without an answer after which
    an engine is taken for stuck; 0: never. cors_origins: who may call from a browser's page of
    another origin. tls_cert, tls_key: files.
    """

    host: str = "127.0.0.1"
    port: int = 30000
    served_model_names: tuple[str, ...] = ("sprig",)
    api_keys: tuple[str, ...] = ()
    admin_key: str | None = None
    insecure: bool = False
    allowed_hosts: tuple[str, ...] = ()
    max_inflight: int = 2304
    shutdown_timeout: float = 30.0
    max_restarts: int = 3
    restart_window: float = 600.0
    watchdog: float = 300.0
    cors_origins: tuple[str, ...] = ()
    tls_cert: str | None = None
    tls_key: str | None = None
    limits: Limits = Limits()

    def check(self) -> None:
        """Raise InvalidRequestError for what cannot be, or must not."""
        if not 0 <= self.port <= 65535:
            raise InvalidRequestError(expected="0..65535", got=str(self.port), where="--port")
        if self.max_inflight < 1:
            raise InvalidRequestError(
                expected="at least 1 request",
                got=str(self.max_inflight),
                where="--max-queued-requests",
            )
        least = 2 * self.limits.body_bytes  # of many keys, one may have half
        if self.limits.bodies_bytes < least:
            raise InvalidRequestError(
                expected=f"at least {least}, twice --max-body-bytes",
                got=str(self.limits.bodies_bytes),
                where="--max-total-body-bytes",
            )
        if self.limits.connections < 1:
            raise InvalidRequestError(
                expected="at least 1 connection",
                got=str(self.limits.connections),
                where="--max-connections",
            )
        seconds = {"--shutdown-timeout": self.shutdown_timeout, "--watchdog-timeout": self.watchdog}
        for name, value in seconds.items():
            if not 0 <= value < math.inf:
                raise InvalidRequestError(expected="seconds >= 0", got=str(value), where=name)
        for key in (*self.api_keys, *([] if self.admin_key is None else [self.admin_key])):
            if not key or not key.isascii() or not key.isprintable() or " " in key:
                raise InvalidRequestError(
                    expected="keys of visible ASCII characters", where="--api-key"
                )
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InvalidRequestError(
                expected="both --ssl-certfile and --ssl-keyfile, or neither", where="--ssl-certfile"
            )
        if "*" in self.cors_origins and not self.api_keys:
            raise InvalidRequestError(
                "--cors-origin '*' lets every page in, and there is no key",
                where="--cors-origin",
                hint="Give --api-key-file or ESPALIER_API_KEY, or name the pages' origins",
            )
        if not self.loopback and not self.api_keys and not self.insecure:
            raise InvalidRequestError(
                f"--host {self.host} lets other machines in, and there is no key",
                where="--host",
                hint="Give --api-key-file or ESPALIER_API_KEY, keep --host 127.0.0.1, or say "
                "--insecure",
            )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"
