"""What a client may ask an engine beside running requests, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from ..errors import EspalierError, InvalidRequestError
from .accounts import counters_of
from .core import EngineCore


def call(core: EngineCore, name: str, args: dict[str, Any]) -> Any:
    """Carry out a control. Raises EspalierError for an unknown name or a failed one."""
    control = CONTROLS.get(name)
    if control is None:
        raise InvalidRequestError(
            expected=f"one of {', '.join(sorted(CONTROLS))}", got=repr(name), where="control"
        )
    return control(core, **args)


def _stats(core: EngineCore) -> dict[str, Any]:
    core.settle()
    return counters_of(core.scheduler) | {
        "held": core.pins.held,
        "compiling": len(core._grammars.waiting),
        "pace": core.pace.told(),
        "graphs": core._runner.counters(),
    }


def _check_invariants(core: EngineCore) -> None:
    core.check_invariants()


def _flush_cache(core: EngineCore) -> int:
    """Drop everything cached that nobody uses, and all that the host keeps. Returns how many
    tokens of the first."""
    core.settle()
    if core.scheduler.tier is not None:
        core.scheduler.tier.reset()
    return core.scheduler.cache.reset()


def _explain(core: EngineCore, input_ids: list[int], namespace: str) -> Any:
    core.settle()
    key, tier = np.array(input_ids, dtype=np.int64), core.scheduler.tier
    found = core.scheduler.cache.explain(key, namespace)
    host = 0 if tier is None else tier.found(key, namespace, found.matched)
    return msgspec.to_builtins(found) | {"host": host}


def _tree(core: EngineCore, max_nodes: int, hottest: int, text_tokens: int) -> Any:
    core.settle()
    scheduler = core.scheduler
    running = [seq.node for seq in scheduler.running.values() if seq.node is not None]
    found = scheduler.cache.view(
        running, max_nodes=max_nodes, hottest=hottest, text_tokens=text_tokens
    )
    return msgspec.to_builtins(found)


def _pin(core: EngineCore, input_ids: list[int], namespace: str, ttl: float | None) -> int:
    return core.pins.pin(np.array(input_ids, dtype=np.int64), namespace, ttl)


def _unpin(core: EngineCore, pin: int) -> None:
    core.pins.unpin(pin)


CONTROLS: dict[str, Callable[..., Any]] = {
    "stats": _stats,
    "check_invariants": _check_invariants,
    "flush_cache": _flush_cache,
    "explain": _explain,
    "pin": _pin,
    "tree": _tree,
    "unpin": _unpin,
}

__all__ = ["CONTROLS", "EspalierError", "call"]
