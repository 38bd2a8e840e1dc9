"""Withholding: tokens after which the text could not be completed within the budget.

Each configuration has a distance, an upper bound of the tokens that complete it (`distance.py` for
terminals, summed over what is still to be done). The distance is a potential: from a configuration
at distance d > 0 some token leads to one at distance d - 1 at most. So if the start fits into the
budget, allowing only tokens whose successor fits in what is left keeps the text completable, and
the mask is never empty. Where not even the start fits, the tokens that shorten most are allowed.

The exact filter costs a walk per configuration, so two cheap bounds come first: bytes, then tokens,
from the furthest state that one token can reach.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from .arena import Arena
from .distance import tokens
from .fan import Fan
from .inner import Inner
from .machine import Config, Kont, Machine
from .masks import Rows
from .node import INFINITE, Node
from .program import CALL, CHOICE, LOOP, SEQ, TERM, Expr
from .reach import Reach
from .trie import TokenTrie
from .vocabulary import pack_bits

KEPT_DISTANCES = 16  # configurations whose tokens' distances are kept (4 bytes a token)
_FAR = np.iinfo(np.int32).max


class Budget:
    """Distances and filtered masks of one grammar."""

    def __init__(self, machine: Machine, rows: Rows) -> None:
        self._machine = machine
        self._rows = rows
        self._trie: TokenTrie = rows.trie
        self._arena: Arena = machine.arena
        self._rules: list[int] | None = None
        self._far: OrderedDict[Config, tuple[np.ndarray | None, np.ndarray]] = OrderedDict()

    # -- distances ---------------------------------------------------------------------------------

    def distance(self, config: Config) -> int:
        """Tokens that complete `config`, at most; 0 where it may end."""
        if config.can_end:
            return 0
        return min(self._state(node) + self._kont(kont) for node, kont in config.threads)

    def _state(self, node: Node) -> int:
        return tokens(self._arena, self._trie, node)

    def _kont(self, kont: Kont) -> int:
        """Without recursion: a stack may be deep."""
        waiting = [kont]
        while waiting:
            current = waiting[-1]
            if current.cost is None:
                missing = [rest for _, rest in current.alternatives if rest.cost is None]
                if missing:
                    waiting.extend(missing)
                    continue
                ways = [self._expr(e) + (rest.cost or 0) for e, rest in current.alternatives]
                current.cost = 0 if current.end else min(ways)
            waiting.pop()
        return kont.cost or 0

    def _expr(self, expr: Expr) -> int:
        if expr.cost is None:
            expr.cost = 0 if expr.nullable else self._find(expr)
        return expr.cost

    def _find(self, expr: Expr) -> int:
        if expr.kind == TERM and expr.node is not None:
            return self._state(expr.node)
        if expr.kind == CALL:
            if self._rules is None:
                costs = self._machine.program.facts.measure(self._state)
                self._rules = list(costs.values())
            return self._rules[expr.rule]
        if expr.kind == LOOP:
            return min(expr.low * self._expr(expr.head), INFINITE)
        if expr.kind == CHOICE:
            return min(self._expr(item) for item in expr.items)
        total = 0
        while expr.kind == SEQ:
            total += self._expr(expr.head)
            expr = expr.tail
        return min(total + self._expr(expr), INFINITE)

    # -- masks -------------------------------------------------------------------------------------

    def row(self, config: Config, remaining: int) -> int:
        """The pool's row for `config` when `remaining` more tokens may come, EOS not counted."""
        base = self._rows.row(self._machine, config)
        if remaining - 1 >= self._need(config) or remaining - 1 >= self._tight_need(config):
            return base
        bits = self._filtered(config, remaining - 1)
        return self._rows.pool.add(bits)[0]

    def _need(self, config: Config) -> int:
        """No token leads further from an end than this many bytes, hence tokens."""
        if config.need is None:
            machine, need = self._machine, 0
            clamped = machine.clamp(config)
            for node, kont in config.threads:
                inner = self._rows.inner(machine.cut(node))
                excess = node.shortest - machine.cut(node).shortest
                if inner.tokens:
                    need = max(need, inner.tail + excess + kont.nearest)
            for node, kont in clamped.threads:
                if self._rows.inner(node).exits:
                    for part, rest in self._rows.crossing(machine, node, kont).parts:
                        need = max(need, part.tail + rest.nearest)
            config.need = need + self._excess(config, clamped)
        return config.need

    def _excess(self, config: Config, clamped: Config) -> int:
        """Bytes that the counters cut from what follows the terminals would still take."""
        if clamped is config:
            return 0
        far = max((kont.nearest for _, kont in config.threads), default=0)
        return far - min((kont.nearest for _, kont in clamped.threads), default=0)

    def _tight_need(self, config: Config) -> int:
        """As `_need`, in tokens."""
        if config.tight_need is None:
            machine, need = self._machine, 0
            clamped = machine.clamp(config)
            for node, kont in config.threads:
                cut = machine.cut(node)
                inner = self._rows.inner(cut)
                excess = node.shortest - cut.shortest
                if inner.tokens:
                    need = max(need, self._tail_tokens(inner) + excess + self._kont(kont))
            for node, kont in clamped.threads:
                if self._rows.inner(node).exits:
                    for part, rest in self._rows.crossing(machine, node, kont).parts:
                        need = max(need, self._tail_tokens(part) + self._kont(rest))
            config.tight_need = need + self._excess(config, clamped)
        return config.tight_need

    def _tail_tokens(self, inner: Inner) -> int:
        """`inner.tail` in tokens."""
        if inner.tail_tokens is None:
            inner.tail_tokens = inner.more + max(map(self._state, inner.ends), default=0)
        return inner.tail_tokens

    def _filtered(self, config: Config, left: int) -> np.ndarray:
        """The mask with tokens whose successor is at most `left` tokens from an end; the nearest
        ones where there is none and the text may not end."""
        known = self._far.get(config)
        if known is None:
            known = self._far[config] = self._distances(config)
            if len(self._far) > KEPT_DISTANCES:
                self._far.popitem(last=False)
        self._far.move_to_end(config)
        tokens, far = known
        fitting = far <= min(left, _FAR - 1)
        if not config.can_end and not fitting.any():
            fitting = far == far.min()
        if tokens is not None:
            fitting, those = np.zeros(self._trie.vocabulary.size, dtype=bool), tokens[fitting]
            fitting[those] = True
        bits = pack_bits(fitting, self._trie.vocabulary.words)
        return bits | self._rows.eos if config.can_end else bits

    def _distances(self, config: Config) -> tuple[np.ndarray | None, np.ndarray]:
        """The tokens that are allowed, and int32 the distance after each (a token may stand there
        twice: the least counts). None: of all tokens, _FAR where one is not allowed."""
        reaches: list[tuple[Reach, np.ndarray]] = []
        waiting: list[tuple[Config, Fan]] = [(config, self._rows.walker.root)]
        while waiting:
            current, sources = waiting.pop()
            for node, kont in current.threads:
                reach = self._rows.reaches.of(node, sources)
                reaches.append((reach, self._costs(reach.states, self._kont(kont))))
                if reach.fan is not None:
                    following = self._machine.after(kont)
                    if following.threads:
                        waiting.append((following, reach.fan))
        few = [(reach.tokens, costs.take(reach.index)) for reach, costs in reaches]
        if not few:
            return np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.int32)
        there = [some for some, _ in few if some is not None]
        if len(there) == len(few):
            return np.concatenate(there), np.concatenate([far for _, far in few])
        every = np.full(self._trie.vocabulary.size, _FAR, dtype=np.int32)
        for some, far in few:
            if some is None:
                np.minimum(every, far, out=every)
            else:
                every[some] = np.minimum(every[some], far)
        return None, every

    def _costs(self, states: list[Node], after: int) -> np.ndarray:
        """int32: for each of the states the tokens from there to the end of the text, when `after`
        complete it behind the terminal; _FAR only where there is no end, however far it is."""
        costs = np.full(len(states), _FAR, dtype=np.int32)
        for number, state in enumerate(states):
            cost = self._state(state)
            if cost < INFINITE:
                costs[number] = min(cost + after, _FAR - 1)
        return costs
