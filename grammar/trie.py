"""The byte trie of a vocabulary, in flat arrays.

Nodes are numbered level by level from the root (node 0), the children of a node side by side in the
order of their bytes. Special and empty tokens are not in it.

Invariants (`check_invariants`): T1 the children of node n are first[n] .. first[n+1]-1, and their
parent is n; T2 siblings' labels ascend; T3 the bytes on the way to node_of[t] spell token t;
T4 every leaf carries a token.
"""

from __future__ import annotations

from array import array

import numpy as np

from ..errors import InvariantError
from . import utf8
from .vocabulary import Vocabulary

SCATTERED = 20_000  # tokens from which all of them are looked at, in the order of their bytes
NO_CHARS, WHOLE_CHARS, BROKEN_CHARS = range(3)
Ints = np.ndarray  # intp, as gathers want it, unless a comment says otherwise


class TokenTrie:
    """label[N], parent[N], first[N+1], levels: node number where each level starts (level 0 is the
    root), and the end. node_of[V]: a token's node, 0 for those that are not in the trie.
    tokens_from[N+1], tokens: node n carries the tokens tokens[tokens_from[n] : tokens_from[n+1]]
    (several where their bytes agree). branches bool[N]: the node has children.
    char_place uint8[N]: where in a character of UTF-8 the bytes from the root to a node end
    (utf8.py). chars int16[N]: bytes on that way that begin a character. place intp[N]: a node's
    number in the order of their bytes, depth first.
    text_tokens: the tokens in the order of their bytes; text_places, text_chars: the char_place and
    chars of their nodes.
    What lies below a node: sizes intp[N], how many nodes, with the node itself; bytes_below
    uint64[N, 3], the bytes on the way, as bit sets: ASCII in two words, and those from C0 on, which
    begin characters; beyond_below uint8[N], whether there are others than ASCII, and then whether
    they all belong to characters of UTF-8; places_below uint16[N], the char_places of tokens, as a
    bit set.
    longest: bytes of the longest token. single: the bytes that are tokens by themselves.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        special = vocabulary.special_ids
        texts = vocabulary.tokens
        order = [t for t in range(vocabulary.size) if texts[t] and t not in special]
        order.sort(key=texts.__getitem__)
        self.text_tokens = np.array(order, dtype=np.intp)
        # Where a token stands in that order; behind all of them, those that are not in the trie.
        self._text_order = np.full(vocabulary.size, len(order), dtype=np.intp)
        self._text_order[self.text_tokens] = np.arange(len(order))
        self._build([texts[t] for t in order], self.text_tokens)
        self.longest = len(self.levels) - 2
        # The same as Python objects: for walks of a few nodes these are faster than the arrays.
        self.labels = self.label.astype(np.uint8).tobytes()
        self.starts: list[int] = self.first.tolist()
        counts = np.diff(self.tokens_from)
        self.carries = (counts > 0).tobytes()
        first = np.full(self.size, -1, dtype=np.int32)
        first[counts == 1] = self.tokens[self.tokens_from[:-1][counts == 1]]
        self._only = array("i", first.tobytes())  # the token of a node that carries one
        self._only_of = first
        self._scratch = np.zeros(self.size, dtype=np.int32)
        self._several = bool((counts > 1).any())
        self._tails: dict[int, int] = {}
        self._by_label = np.argsort(self.label[1:].astype(np.uint8), kind="stable") + 1
        counts = np.bincount(self.label[1:], minlength=256)
        self._label_from: list[int] = [0, *np.cumsum(counts).tolist()]
        self._order_by_depth()
        self._look_below()
        self.single = frozenset(self.labels[n] for n in range(1, self.starts[1]) if self.carries[n])

    def _build(self, texts: list[bytes], order: Ints) -> None:
        lengths = np.array([len(text) for text in texts], dtype=np.int64)
        buffer = np.frombuffer(b"".join(texts), dtype=np.uint8)
        starts = np.cumsum(lengths) - lengths
        at = np.zeros(len(texts), dtype=np.intp)  # each token's node so far
        labels, parents, self.levels = [np.zeros(1, np.uint8)], [np.zeros(1, np.intp)], [0, 1]
        depth, active = 0, np.arange(len(texts))
        while active.size:
            byte, above = buffer[starts[active] + depth], at[active]
            fresh = np.ones(active.size, dtype=bool)  # the first token of each new node
            fresh[1:] = (byte[1:] != byte[:-1]) | (above[1:] != above[:-1])
            at[active] = self.levels[-1] - 1 + np.cumsum(fresh)
            labels.append(byte[fresh])
            parents.append(above[fresh])
            self.levels.append(self.levels[-1] + int(fresh.sum()))
            depth += 1
            active = active[lengths[active] > depth]
        self.label = np.concatenate(labels).astype(np.intp)
        self.parent = np.concatenate(parents)
        self.size = len(self.label)
        children = np.bincount(self.parent[1:], minlength=self.size)
        self.branches = children > 0
        self.first = np.concatenate([[1], 1 + np.cumsum(children)]).astype(np.intp)
        self.node_of = np.zeros(self.vocabulary.size, dtype=np.intp)
        self.node_of[order] = at
        by_node = np.argsort(at, kind="stable")
        self.tokens = order[by_node]
        carried = np.bincount(at, minlength=self.size) if len(at) else np.zeros(self.size, int)
        self.tokens_from = np.concatenate([[0], np.cumsum(carried)]).astype(np.intp)

    def _order_by_depth(self) -> None:
        """Depth first, what lies below a node is one run: `sizes[n]` nodes from `place[n]` on,
        with the node itself; its tokens too."""
        sizes = np.ones(self.size, dtype=np.intp)
        place = np.zeros(self.size, dtype=np.intp)
        for low, high in self._spans(reverse=True):
            np.add.at(sizes, self.parent[low:high], sizes[low:high])
        for low, high in self._spans():
            above = self.parent[low:high]
            behind = np.cumsum(sizes[low:high]) - sizes[low:high]
            place[low:high] = place[above] + 1 + behind - behind[self.first[above] - low]
        self.sizes, self.place = sizes, place
        self._in_order = np.empty(self.size, dtype=np.intp)
        self._in_order[place] = np.arange(self.size)
        carried = np.diff(self.tokens_from)[self._in_order]
        self._tokens_before = np.concatenate([[0], np.cumsum(carried)]).astype(np.intp)

    def _spans(self, *, reverse: bool = False) -> list[tuple[int, int]]:
        """The levels below the root: their first node, and the one behind their last."""
        spans = list(zip(self.levels[1:-1], self.levels[2:], strict=True))
        return spans[::-1] if reverse else spans

    def _look_below(self) -> None:
        table = utf8.steps()
        place = np.zeros(self.size, dtype=np.uint8)
        chars = np.zeros(self.size, dtype=np.int16)
        for low, high in self._spans():
            above, label = self.parent[low:high], self.label[low:high]
            place[low:high] = table[place[above], label]
            chars[low:high] = chars[above] + (label & 0xC0 != 0x80)
        bit = np.uint64(1) << (self.label & 63).astype(np.uint64)
        half = self.label >> 6
        bytes_below = np.zeros((self.size, 3), dtype=np.uint64)
        places = np.where(np.diff(self.tokens_from) > 0, 1 << place.astype(np.uint16), 0)
        tokens_below = np.zeros(self.size, dtype=np.uint16)
        beyond = np.zeros(self.size, dtype=bool)
        broken = place == utf8.BROKEN
        broken_below = np.zeros(self.size, dtype=bool)
        for low, high in self._spans(reverse=True):
            above, here = self.parent[low:high], slice(low, high)
            starts = np.flatnonzero(np.diff(above, prepend=-1))
            rows = above[starts]
            for column, word in enumerate((0, 1, 3)):
                own = np.where(half[here] == word, bit[here], np.uint64(0))
                own |= bytes_below[here, column]
                bytes_below[rows, column] = np.bitwise_or.reduceat(own, starts)
            own = places[here].astype(np.uint16) | tokens_below[here]
            tokens_below[rows] = np.bitwise_or.reduceat(own, starts)
            beyond[rows] = np.logical_or.reduceat(beyond[here] | (half[here] > 1), starts)
            broken_below[rows] = np.logical_or.reduceat(broken[here] | broken_below[here], starts)
        whole = (place == 0) & ~broken_below
        self.text_places = place[self.node_of[self.text_tokens]]
        self.text_chars = chars[self.node_of[self.text_tokens]]
        self.char_place = place
        self.chars = chars
        self.bytes_below = bytes_below
        self.beyond_below = np.where(beyond, np.where(whole, WHOLE_CHARS, BROKEN_CHARS), NO_CHARS)
        self.beyond_below = self.beyond_below.astype(np.uint8)
        self.places_below = tokens_below

    def below(self, nodes: Ints) -> tuple[Ints, Ints]:
        """All nodes below the given ones, one given node after the other, and how many they are."""
        counts = self.sizes[nodes] - 1
        return self._in_order[_runs(self.place[nodes] + 1, counts)], counts

    def along(self, low: int, high: int) -> Ints:
        """All nodes that the bytes low..high lead to."""
        return self._by_label[self._label_from[low] : self._label_from[high + 1]]

    def tokens_below(self, nodes: Ints) -> tuple[Ints, Ints]:
        """The tokens below the nodes, one given node after the other, by their places in
        `text_tokens`; and how many each has."""
        place = self.place[nodes]
        first = self._tokens_before[place + 1]
        counts = self._tokens_before[place + self.sizes[nodes]] - first
        return _runs(first, counts), counts

    def longer_than(self, level: int) -> Ints:
        """The tokens of more than `level` bytes."""
        first = self.levels[min(level + 1, len(self.levels) - 1)]
        return self.tokens[self.tokens_from[first] :]

    def tokens_within(self, node: int) -> Ints:
        """The tokens that a node and what lies below it carry."""
        place = int(self.place[node])
        start, end = self._tokens_before[[place, place + int(self.sizes[node])]]
        return self.text_tokens[start:end]

    def outside(self, nodes: Ints, gone: list[int]) -> Ints:
        """Those of `nodes` that are neither among `gone` (of which none lies below another) nor
        below them."""
        first = np.sort(self.place[gone])
        if not len(nodes) or not len(first):
            return nodes
        place = self.place[nodes]
        before = np.maximum(np.searchsorted(first, place, side="right") - 1, 0)
        inside = place - first[before]
        sizes = self.sizes[self._in_order[first[before]]]
        found: Ints = nodes[(inside < 0) | (inside >= sizes)]
        return found

    def covered(self, nodes: Ints) -> np.ndarray:
        """bool[N], by `place`: the nodes below the given ones, of which none lies below another."""
        place = self.place[nodes]
        change = np.zeros(self.size + 1, dtype=np.int8)
        change[place + 1] += 1
        change[place + self.sizes[nodes]] -= 1
        inside: np.ndarray = np.cumsum(change, dtype=np.int8).view(bool)
        return inside

    def allowed_below(self, nodes: Ints) -> np.ndarray:
        """bool[V]: the tokens below the nodes, of which none lies below another."""
        place = self.place[nodes]
        first = self._tokens_before[place + 1]
        behind = self._tokens_before[place + self.sizes[nodes]]
        if int((behind - first).sum()) < SCATTERED:
            allowed = np.zeros(self.vocabulary.size, dtype=bool)
            allowed[self.text_tokens.take(_runs(first, behind - first))] = True
            return allowed
        change = np.zeros(len(self.text_tokens) + 1, dtype=np.int8)
        change[first] += 1
        change[behind] -= 1
        inside: np.ndarray = np.cumsum(change, dtype=np.int8).view(bool).take(self._text_order)
        return inside

    def positions(self, nodes: Ints, asked: Ints) -> Ints:
        """For each node of `asked` its place in `nodes` plus one, 0 where it is not among them."""
        scratch = self._scratch
        scratch[nodes] = np.arange(1, len(nodes) + 1, dtype=np.int32)
        found: Ints = scratch.take(asked)
        scratch[nodes] = 0
        return found

    def child(self, node: int, byte: int) -> int:
        """The child of `node` along `byte`; 0 (the root, nobody's child) where there is none."""
        found = self.labels.find(byte, self.starts[node], self.starts[node + 1])
        return found if found > 0 else 0

    def tail(self, node: int) -> int:
        """The ASCII bytes on the way to what lies below `node`, as a bit set; bit 128: others."""
        found = self._tails.get(node)
        if found is None:
            low, high, _ = self.bytes_below[node].tolist()
            found = self._tails[node] = (
                low | high << 64 | int(self.beyond_below[node] != NO_CHARS) << 128
            )
        return found

    def tokens_of(self, node: int) -> list[int]:
        """The tokens that one node carries."""
        only = self._only[node]
        if only >= 0:
            return [only]
        found: list[int] = self.tokens[self.tokens_from[node] : self.tokens_from[node + 1]].tolist()
        return found

    def carried(self, nodes: Ints) -> tuple[Ints, Ints]:
        """The tokens that the nodes carry, and for each the place of its node in `nodes`."""
        if self._several:
            low = self.tokens_from[nodes]
            counts = self.tokens_from[nodes + 1] - low
            return self.tokens[_runs(low, counts)], np.repeat(np.arange(len(nodes)), counts)
        only = self._only_of.take(nodes)
        at = np.flatnonzero(only >= 0)
        return only.take(at), at

    def greedy_length(self, text: bytes) -> int:
        """How many tokens spell `text`, each the longest that fits. Raises KeyError at a byte that
        no token begins with."""
        return len(self.greedy(text))

    def greedy(self, text: bytes) -> list[int]:
        """Nodes of the longest tokens that spell `text`, left to right."""
        find, starts, carries = self.labels.find, self.starts, self.carries
        found: list[int] = []
        position, end = 0, len(text)
        while position < end:
            node, last, after = 0, 0, position
            for index in range(position, end):
                node = find(text[index], starts[node], starts[node + 1])
                if node <= 0:
                    break
                if carries[node]:
                    last, after = node, index + 1
            if not last:
                raise KeyError(text[position])
            found.append(last)
            position = after
        return found

    def check_invariants(self) -> None:
        for node in range(self.size):
            low, high = int(self.first[node]), int(self.first[node + 1])
            if not (self.parent[low:high] == node).all() or not 0 < low <= high <= self.size:
                raise InvariantError(f"T1: the children of node {node} are not its own")
            if not (np.diff(self.label[low:high].astype(int)) > 0).all():
                raise InvariantError(f"T2: the labels below node {node} do not ascend")
            if low == high and node and not self.carries[node]:
                raise InvariantError(f"T4: leaf {node} carries no token")
        for token, text in enumerate(self.vocabulary.tokens):
            node, spelled = int(self.node_of[token]), bytearray()
            while node:
                spelled.append(int(self.label[node]))
                node = int(self.parent[node])
            special = token in self.vocabulary.special_ids
            if bytes(reversed(spelled)) != (b"" if special else text):
                raise InvariantError(f"T3: token {token} is spelled otherwise")


def _runs(first: Ints, counts: Ints) -> Ints:
    """first[0], first[0] + 1, ... (counts[0] numbers), then first[1], ..."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    found: Ints = np.repeat(first - (ends - counts), counts) + np.arange(total)
    return found
