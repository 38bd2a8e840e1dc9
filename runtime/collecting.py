"""When the engine's process looks for garbage in cycles.

A full collection looks at every object that Python tracks: with some hundred grammars that is more
than a tenth of a second, in the middle of a step. So it comes when nobody waits; while somebody
does, only when very much has come to be. What survives one is frozen: the next looks at what is new
alone. All of it is looked at again when nobody waits; and, for a server that somebody always asks
for something, when twice as much is frozen as the last time. (Configurations of a grammar refer to
each other, so that a grammar nobody holds any more is such garbage.)

For a process of the engine's own: a caller's thread is not ours to say this for.
"""

from __future__ import annotations

import gc

QUIET = 0.2
"""Seconds for which nobody has asked for anything."""
_NEVER = 1 << 30
_DUE = 4  # collections of middle-aged objects, of some 7,000 new ones each
_MUCH = 150


class Collector:
    """Of one process. Nothing changes before `start`."""

    def __init__(self) -> None:
        self._started = False
        self._stayed = 0  # objects that were left when all were looked at

    def start(self) -> None:
        """All that is there stays: modules, the model, the vocabulary. Collecting may have been off
        while they came to be."""
        young, middle, _ = gc.get_threshold()
        gc.set_threshold(young, middle, _NEVER)
        self._started = True
        gc.freeze()
        self._stayed = gc.get_freeze_count()
        gc.enable()

    @property
    def due(self) -> bool:
        """Whether a pause would be of use."""
        return self._started and gc.get_count()[2] >= _DUE

    def idle(self) -> None:
        """Nobody waits."""
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        self._stayed = gc.get_freeze_count()

    def step(self) -> None:
        """Between two steps."""
        if not self._started or gc.get_count()[2] < _MUCH:
            return
        if gc.get_freeze_count() > 2 * self._stayed:
            self.idle()
        else:
            gc.collect()
            gc.freeze()
