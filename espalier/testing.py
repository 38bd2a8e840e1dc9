"""What tests of programs need: backends that answer from a script, and a clock that does not wait.

docs/testing.md shows each at work.
"""

from __future__ import annotations

from .frontend_lang.backends.scripted import Asked, Reply, Scripted
from .frontend_lang.manual_clock import ManualClock as Clock

__all__ = ["Asked", "Clock", "Reply", "Scripted"]
