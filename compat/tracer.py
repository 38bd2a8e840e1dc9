"""`sglang.lang.tracer`: SGLang's tracer. Espalier's own is behind `program.trace()`."""

from __future__ import annotations

from .refused import refused

_TRACE = "Use program.trace()."


class StopTracing(Exception):
    """What SGLang's tracer stops itself with; never raised here."""


TracerProgramState = refused("TracerProgramState", _TRACE)
TracingScope = refused("TracingScope", _TRACE)
extract_prefix_by_tracing = refused("extract_prefix_by_tracing", _TRACE)
trace_program = refused("trace_program", _TRACE)

__all__ = [
    "StopTracing",
    "TracerProgramState",
    "TracingScope",
    "extract_prefix_by_tracing",
    "trace_program",
]
