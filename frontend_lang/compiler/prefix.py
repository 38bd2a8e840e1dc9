"""What every run of a graph begins with, whatever its arguments: the constant prefix.

The first run of a batch computes it, and a hold of the batch's own keeps it until the batch has
ended, however many runs come and go meanwhile. Each run's first call asks for it anew, so a hold
that was lost comes back.
"""

from __future__ import annotations

import contextlib

from ...errors import EspalierError
from ..content import Content
from ..holds import Holds
from ..session import Machine
from . import ir


def constant_tokens(graph: ir.Graph, machine: Machine) -> int:
    """How many tokens that is: none of them may merge with what an argument or a value brings."""
    content = Content(machine.encoder, machine.chat)
    with contextlib.suppress(EspalierError):  # what a template refuses, the runs will say
        for op in graph.block.ops:
            if not _say(content, op):
                break
        return len(content.fork().tokens)
    return 0


def _say(content: Content, op: ir.Op) -> bool:
    """Add what is constant of the op; whether what follows is the prefix's, too."""
    match op:
        case ir.Say(pieces=pieces):
            for piece in pieces:
                if not isinstance(piece, str):
                    return False
                content.add_text(piece)
        case ir.Role(role=role, opens=True):
            content.begin_role(role)
        case ir.Role(role=role):
            content.end_role(role)
        case ir.Scope() | ir.Assign() | ir.Apply():
            pass  # none of them says anything
        case _:
            return False
    return True


class PrefixHold:
    """A batch's hold on its constant prefix; `close` releases it."""

    def __init__(self, graph: ir.Graph, machine: Machine) -> None:
        self._holds = Holds(machine.backend)
        self._key = self._holds.key()
        self.tokens = constant_tokens(graph, machine)

    def lend(self, holds: Holds) -> None:
        """To a run: its first call asks for it."""
        if self.tokens:
            holds.borrow(self._holds.give((self._key.hold(self.tokens),)))

    def close(self) -> None:
        """The batch has ended."""
        self._holds.close()
