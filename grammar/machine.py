"""Configurations: where in a grammar a text may be, and how a byte moves them.

A thread is a terminal's state and what is to be done after it, a `Kont` (continuation): a stack of
expressions, or several that share what they can. A `Config` is a set of threads, and whether the
text may end here. Konts and Configs are hash-consed and immutable, so that rollback and copy cost
nothing, and what is learnt about a Config (its mask, its successors) is learnt once.

Invariants (`check_invariants`): M1 a Config has a thread or may end; M2 from every thread an end
can be reached; M3 threads of a Config have distinct states, in the order of their numbers; M4 a
Kont has an alternative or is the end.
"""

from __future__ import annotations

import heapq
from typing import Any

from ..errors import GrammarError, InvariantError
from .counters import clamp
from .derivatives import step
from .node import CAT, INFINITE, LITERAL, Node
from .program import CALL, CHOICE, LOOP, NIL, SEQ, TERM, Expr, Program

KEPT_CONFIGS = 1 << 13  # configurations made before a grammar starts to learn afresh
KEPT_STEPS = 1 << 12  # successors remembered by one configuration
MAX_THREADS = 4096  # of one configuration

Thread = tuple[Node, "Kont"]


class Kont:
    """What is to be done after a terminal: one of `alternatives` (an expression, and what follows
    it), or nothing more (`end`). nearest: bytes of the shortest text that does it. counts: whether
    a loop's counter in it may be too large to matter for one token."""

    __slots__ = ("after", "alternatives", "clamped", "cost", "counts", "end", "id", "nearest")

    def __init__(
        self, number: int, alternatives: tuple[tuple[Expr, Kont], ...], end: bool, limit: int
    ) -> None:
        self.id = number
        self.alternatives = alternatives
        self.end = end
        self.nearest: int = 0 if end else min(expr.nearest + k.nearest for expr, k in alternatives)
        self.counts: bool = any(
            rest.counts or (expr.kind == LOOP and max(expr.low, expr.high or 0) > limit)
            for expr, rest in alternatives
        )
        self.after: Config | None = None
        self.clamped: Kont | None = None
        self.cost: int | None = None


class Config:
    """A set of threads. can_end: the text may end here. steps: successors by token, as learnt."""

    __slots__ = (
        "can_end", "clamped", "crossings", "forced", "need", "row", "steps", "takes", "threads",
        "tight_need",
    )  # fmt: skip

    def __init__(self, threads: tuple[Thread, ...], can_end: bool) -> None:
        self.threads = threads
        self.can_end = can_end
        self.steps: dict[int, Config | None] = {}
        self.clamped: Config | None = None
        # Filled and read by masks.py, budget.py and forced.py.
        self.row: tuple[int, int] | None = None
        self.takes: int | None = None
        self.crossings: dict[Node, Any] = {}
        self.need: int | None = None
        self.tight_need: int | None = None
        self.forced: Any = None


class Machine:
    """The configurations of one grammar. limit: bytes of the longest token; counters above it are
    all the same to a mask (`clamp`)."""

    def __init__(self, program: Program, limit: int) -> None:
        self.program = program
        self.arena = program.arena
        self.limit = limit
        self._partial = self.arena.alphabet is not None
        self._serial = 1
        self._start_afresh()

    def _start_afresh(self) -> None:
        """Forgets what was learnt. Configurations that somebody holds stay good."""
        self._made = 0
        self._konts: dict[object, Kont] = {}
        self._configs: dict[object, Config] = {}
        self.end = Kont(0, (), True, self.limit)
        self.start = self._following(self._push(self.program.start, self.end))

    def begin(self) -> None:
        """Starts a piece of work: one step, one mask."""
        self.arena.begin()
        if self._made > KEPT_CONFIGS:
            self._start_afresh()

    # -- continuations -----------------------------------------------------------------------------

    def _kont(self, alternatives: tuple[tuple[Expr, Kont], ...], end: bool) -> Kont:
        if not alternatives:
            return self.end
        key = (alternatives, end)
        kont = self._konts.get(key)
        if kont is None:
            kont = self._konts[key] = Kont(self._serial, alternatives, end, self.limit)
            self._serial += 1
        return kont

    def _push(self, expr: Expr, rest: Kont) -> Kont:
        if expr.kind == NIL:
            return rest
        if (
            expr.kind == LOOP
            and expr.high is None
            and expr.low == 0
            and len(rest.alternatives) == 1
            and not rest.end
            and rest.alternatives[0][0] is expr
        ):
            return rest  # x* then x* is x*
        return self._kont(((expr, rest),), False)

    def _either(self, one: Kont, other: Kont) -> Kont:
        if one is other:
            return one
        found = {(e.id, k.id): (e, k) for e, k in (*one.alternatives, *other.alternatives)}
        return self._kont(tuple(found[key] for key in sorted(found)), one.end or other.end)

    # -- threads -----------------------------------------------------------------------------------

    def _add(self, threads: dict[Node, Kont], node: Node, kont: Kont) -> None:
        known = threads.get(node)
        threads[node] = kont if known is None else self._either(known, kont)

    def _enter(self, entering: dict[Expr, Kont]) -> dict[Node, Kont]:
        """The terminals that the expressions can begin with, each with at least one byte to take.

        What is entered in several ways is entered once, with all that may follow it: in the order
        of `rank`, an expression comes after everything that leads to it.
        """
        threads: dict[Node, Kont] = {}
        rank = self.program.rank
        waiting = [(-(expr.rank or rank(expr)), expr.id, expr) for expr in entering]
        heapq.heapify(waiting)

        def lead(expr: Expr, kont: Kont) -> None:
            known = entering.get(expr)
            if known is None:
                entering[expr] = kont
                heapq.heappush(waiting, (-(expr.rank or rank(expr)), expr.id, expr))
            elif known is not kont:
                entering[expr] = self._either(known, kont)

        while waiting:
            expr = heapq.heappop(waiting)[2]
            kont = entering[expr]
            if expr.kind == TERM and expr.node is not None:
                self._add(threads, expr.node, kont)
            elif expr.kind == SEQ:
                lead(expr.head, self._push(expr.tail, kont))
                if expr.head.nullable:
                    lead(expr.tail, kont)
            elif expr.kind == CHOICE:
                for item in expr.items:
                    lead(item, kont)
            elif expr.kind == LOOP:
                lead(expr.head, self._push(self.program.less(expr), kont))
            elif expr.kind == CALL:
                lead(self.program.body(expr.rule), kont)
            if len(threads) > MAX_THREADS:
                raise GrammarError(
                    f"more than {MAX_THREADS} readings of the same text",
                    hint="The grammar is too ambiguous: give alternatives distinct beginnings.",
                )
        return threads

    def after(self, kont: Kont) -> Config:
        """The configuration in which `kont` is to be done next."""
        return kont.after or self._following(kont)

    def _following(self, kont: Kont) -> Config:
        entering: dict[Expr, Kont] = {}
        can_end = False
        waiting, seen = [kont], {kont.id}
        while waiting:
            current = waiting.pop()
            can_end |= current.end
            for expr, rest in current.alternatives:
                known = entering.get(expr)
                entering[expr] = rest if known is None else self._either(known, rest)
                if expr.nullable and rest.id not in seen:
                    seen.add(rest.id)
                    waiting.append(rest)
        config = self._config(self._enter(entering), can_end)
        if config is None:
            raise GrammarError("nothing matches this grammar")
        kont.after = config
        return config

    def _config(self, threads: dict[Node, Kont], can_end: bool) -> Config | None:
        """None where no thread can reach an end and the text may not end."""
        found = list(threads.items())
        if self._partial:
            found = [(n, k) for n, k in found if n.shortest < INFINITE and k.nearest < INFINITE]
        if not found and not can_end:
            return None
        if len(found) > 1:
            found.sort(key=lambda thread: thread[0].id)
        key = (tuple(found), can_end)
        config = self._configs.get(key)
        if config is None:
            self._made += 1
            config = self._configs[key] = Config(key[0], can_end)
        return config

    # -- moves -------------------------------------------------------------------------------------

    def accept(self, config: Config, text: bytes) -> Config | None:
        """The configuration after `text`; None where the grammar does not go that way."""
        arena = self.arena
        current: dict[Node, Kont] = dict(config.threads)
        can_end = config.can_end
        skipped = self._along_literal(current, text)
        for byte in text[skipped:]:
            moved: dict[Node, Kont] = {}
            ended: Kont | None = None  # what follows the terminals that may end here
            for node, kont in current.items():
                target = step(arena, node, byte)
                if target.nullable:
                    ended = kont if ended is None else self._either(ended, kont)
                if target is not arena.empty and target is not arena.epsilon:
                    self._add(moved, target, kont)
            can_end = False
            if ended is not None:
                following = ended.after or self._following(ended)
                can_end = following.can_end
                for thread in following.threads:
                    self._add(moved, *thread)
            if not moved and not can_end:
                return None
            current = moved
        return self._config(current, can_end)

    def _along_literal(self, threads: dict[Node, Kont], text: bytes) -> int:
        """Moves the only thread through the literal that it begins with at once, but for the last
        byte of the text and of the literal. The bytes taken."""
        if len(threads) != 1 or len(text) < 2:
            return 0
        [(node, kont)] = threads.items()
        head = node.a if node.kind == CAT else node
        count = min(len(head.text), len(text)) - 1
        if head.kind != LITERAL or count < 1 or head.text[:count] != text[:count]:
            return 0
        rest = self.arena.literal(head.text[count:])
        del threads[node]
        threads[rest if node is head else self.arena.cat(rest, node.b)] = kont
        return count

    def token(self, config: Config, token: int, text: bytes) -> Config | None:
        """As `accept`, remembering the answer."""
        try:
            return config.steps[token]
        except KeyError:
            if len(config.steps) >= KEPT_STEPS:
                config.steps.clear()
            found = config.steps[token] = self.accept(config, text)
            return found

    # -- counters ----------------------------------------------------------------------------------

    def clamp(self, config: Config) -> Config:
        """The configuration with every counter cut to what one token can tell apart: all such have
        the same mask."""
        if config.clamped is None:
            if any(node.big > self.limit or kont.counts for node, kont in config.threads):
                threads: dict[Node, Kont] = {}
                for node, kont in config.threads:
                    self._add(threads, self.cut(node), self._clamp(kont))
                config.clamped = self._config(threads, config.can_end) or config
            else:
                config.clamped = config
        return config.clamped

    def cut(self, node: Node) -> Node:
        """A terminal's state with its counters cut likewise."""
        return clamp(self.arena, node, self.limit)

    def _clamp(self, kont: Kont) -> Kont:
        """Without recursion: a stack may be deep."""
        waiting = [kont]
        while waiting:
            current = waiting[-1]
            if current.clamped is None and current.counts:
                missing = [k for _, k in current.alternatives if k.clamped is None]
                if missing:
                    waiting.extend(missing)
                    continue
                pairs = {
                    (e.id, k.id): (e, k)
                    for e, k in (
                        (self._clamp_loop(e), k.clamped or k) for e, k in current.alternatives
                    )
                }
                current.clamped = self._kont(
                    tuple(pairs[key] for key in sorted(pairs)), current.end
                )
            elif current.clamped is None:
                current.clamped = current
            waiting.pop()
        return kont.clamped or kont

    def _clamp_loop(self, expr: Expr) -> Expr:
        if expr.kind != LOOP:
            return expr
        high = None if expr.high is None else min(expr.high, self.limit)
        return self.program.loop(expr.head, min(expr.low, self.limit), high)

    # -- checks ------------------------------------------------------------------------------------

    def check_invariants(self) -> None:
        for config in self._configs.values():
            if not config.threads and not config.can_end:
                raise InvariantError("M1: a configuration without threads that may not end")
            for node, kont in config.threads:
                if node.shortest >= INFINITE or kont.nearest >= INFINITE:
                    raise InvariantError(f"M2: no end can be reached from {node}")
            order = [node.id for node, _ in config.threads]
            if order != sorted(set(order)):
                raise InvariantError(f"M3: the threads are in the order {order}")
        for kont in self._konts.values():
            if not kont.alternatives and not kont.end:
                raise InvariantError("M4: a continuation that is not the end and has no way")
