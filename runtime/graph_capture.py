"""What captures work on the device as CUDA graphs, and runs it by them from then on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

_log = logging.getLogger("espalier.engine")

EAGER = 3
"""Steps of a bucket before it is captured."""

Replay = Callable[[], None]


class Capture(Protocol):
    """How work on the device is captured."""

    def __call__(self, work: Callable[[], Tensor]) -> tuple[Tensor, Replay]:
        """What `work` returns, and what does the same again to the same memory."""
        ...


class CudaCapture:
    """Captures CUDA graphs, which share their memory: they never run at once."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream()  # of this GPU: torch's own is the first one's

    def __call__(self, work: Callable[[], Tensor]) -> tuple[Tensor, Replay]:
        graph = torch.cuda.CUDAGraph()
        before = torch.cuda.current_stream()
        try:
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
            ):
                out = work()
        except BaseException:  # torch leaves its stream current where ending a capture fails
            torch.cuda.set_stream(before)
            before.wait_stream(self._stream)
            raise
        return out, graph.replay


@dataclass
class Captured:
    """A part of a step, and its graph. seen: steps that it might have run. out: the memory it
    leaves its result in. stamp: what it reads that may come to lie elsewhere."""

    seen: int = 0
    out: Tensor | None = None
    replay: Replay | None = None
    stamp: int = 0

    @property
    def warming(self) -> bool:
        """Whether this step is one of the first, which run without a graph; counts it."""
        self.seen += 1
        return self.seen <= EAGER


class Graphs:
    """Runs parts of steps by their graphs. made: graphs captured; failed: whether one could not be,
    after which none is captured."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self.made = 0
        self.failed = False

    def run(self, part: Captured, work: Callable[[], Tensor], what: str) -> Tensor:
        """Does `work` by the part's graph, which is captured when there is none; the memory it
        leaves its result in is always the same from then on."""
        if part.replay is not None:
            assert part.out is not None
            part.replay()
            return part.out
        done = work()  # compiles kernels, and is what this step gets
        if not self.failed:
            try:
                part.out, part.replay = self._capture(work)
                part.out.copy_(done)
                self.made += 1
                return part.out
            except Exception:
                self.failed, part.out = True, None
                _log.warning(
                    "%s could not be captured: there will be no more CUDA graphs than there are",
                    what,
                    exc_info=True,
                )
        return done
