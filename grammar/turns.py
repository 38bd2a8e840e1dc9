"""Turns of a loop, counted along a walk of the vocabulary.

A tag is twice the turns begun on the way to a trie node, plus one behind the loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from . import utf8
from .arena import Arena
from .derivatives import segments
from .node import Node
from .trie import TokenTrie
from .walk import Walk

Ints = np.ndarray

_WORD = (1 << 64) - 1


@dataclass(frozen=True)
class Tagged:
    """tokens: those reached; at_ends: the index of the state each ends in; tags: theirs. exits: the
    trie nodes in nullable states from which a token goes on; exit_tags: theirs."""

    tokens: Ints
    at_ends: Ints
    tags: Ints
    exits: Ints
    exit_tags: Ints


def begins(arena: Arena, turn: Node) -> Ints:
    """int16[256]: what a byte adds to the tag of a node between two turns."""
    adds = np.ones(256, dtype=np.int16)
    for low, high, _ in segments(arena, turn):
        adds[low : high + 1] = 2
    return adds


def tagged(trie: TokenTrie, walk: Walk, between: Ints, adds: Ints, from_between: bool) -> Tagged:
    """A walk from the root, in the second form, with its tags. between bool[states]: those between
    two turns; from_between: whether the root's is; adds: what `begins` says."""
    if len(walk.tops) and not _plain(walk, between, adds):
        walk = walk.spread(trie)
    nodes, index = walk.nodes, walk.index
    tags = _tags(trie, nodes, between.take(index), adds, from_between)
    nullable = np.zeros(len(walk.states), dtype=bool)
    nullable[[number for number in walk.reached() if walk.states[number].nullable]] = True
    leaves = nullable.take(index) & trie.branches.take(nodes)
    tokens, at = trie.carried(nodes)
    found = Tagged(tokens, index.take(at), tags.take(at), nodes[leaves], tags[leaves])
    return _with_tops(trie, walk, between, nullable, tags, found) if len(walk.tops) else found


def _plain(walk: Walk, between: Ints, adds: Ints) -> bool:
    """Whether all that lies below a top between two turns is turns of one character each."""
    turns = sum(1 << byte for byte in range(256) if adds[byte] == 2)
    words = [turns & _WORD, turns >> 64 & _WORD, turns >> 192]
    here = walk.top_index[between.take(walk.top_index)]
    return not (walk.stays[here] & ~np.array(words, dtype=np.uint64)).any()


def _tags(trie: TokenTrie, nodes: Ints, between: Ints, adds: Ints, from_between: bool) -> Ints:
    """int16: the tags of `nodes`, of which none is reached but through others of them."""
    order = None if (nodes[1:] > nodes[:-1]).all() else np.argsort(nodes, kind="stable")
    if order is not None:
        nodes, between = nodes[order], between[order]
    # 0 is the root, whose tag is 0; then the nodes in the order of their numbers.
    tags = np.zeros(len(nodes) + 1, dtype=np.int16)
    starts = np.concatenate([[from_between], between])
    above = trie.positions(nodes, trie.parent.take(nodes))
    added = adds.take(trie.label.take(nodes))
    cuts = np.searchsorted(nodes, trie.levels[1:]).tolist()
    for low, high in pairwise(cuts):
        if low == len(nodes):
            break
        if low < high:
            parents = above[low:high]
            before = tags.take(parents)
            starting = starts.take(parents) & (before & 1 == 0)
            tags[low + 1 : high + 1] = before + starting * added[low:high]
    if order is None:
        return tags[1:]
    given = np.empty_like(tags[1:])
    given[order] = tags[1:]
    return given


def _with_tops(
    trie: TokenTrie, walk: Walk, between: Ints, nullable: Ints, tags: Ints, found: Tagged
) -> Tagged:
    """`found` and what lies below the tops: there a character is a turn, or nothing changes."""
    at_top = tags[trie.positions(walk.nodes, walk.tops) - 1]
    counting = between.take(walk.top_index) & (at_top & 1 == 0)

    at, counts = trie.tokens_below(walk.tops)
    turn = 2 * counting.astype(np.int16)
    base = at_top - turn * trie.chars.take(walk.tops)
    more = np.repeat(base, counts) + np.repeat(turn, counts) * trie.text_chars.take(at)
    inside = np.repeat(walk.top_index * utf8.CHARS, counts) + trie.text_places.take(at)
    at_ends = walk.within.reshape(-1).take(inside)
    leaving = np.flatnonzero(nullable.take(walk.top_index))
    inner, counts = trie.below(walk.tops[leaving])
    top = np.repeat(leaving, counts)
    leaves = trie.branches[inner] & (trie.char_place[inner] % utf8.BROKEN == 0)
    inner, top = inner[leaves], top[leaves]
    begun = trie.chars.take(inner) - trie.chars.take(walk.tops[top])
    return Tagged(
        np.concatenate([found.tokens, trie.text_tokens.take(at)]),
        np.concatenate([found.at_ends, at_ends]),
        np.concatenate([found.tags, more.astype(np.int16)]),
        np.concatenate([found.exits, inner]),
        np.concatenate([found.exit_tags, at_top[top] + counting[top] * 2 * begun]),
    )
