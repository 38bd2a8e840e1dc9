"""Small vocabularies, drawn regexes, and ways to look at a matcher, for the machine's tests."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import strategies as st

from espalier.grammar import GrammarCompiler, GrammarSpec, Matcher, Vocabulary

LETTERS = "ab1 é漢"


def vocabulary(
    *texts: str | bytes, letters: str = LETTERS, eos: int = 1, bytes_too: bool = True
) -> Vocabulary:
    """EOS ids first, then one token per byte of `letters`, then `texts`."""
    tokens = [b""] * eos
    if bytes_too:
        tokens += [bytes([byte]) for byte in sorted(set(letters.encode()))]
    tokens += [text.encode() if isinstance(text, str) else text for text in texts]
    return Vocabulary(tokens, range(eos), range(eos))


# Multi-byte tokens of every kind: inside a character, across characters, repeated, duplicate.
RICH = (
    "ab", "ba", "aa", "aaa", "abab", "a1", "1a", "11", " a", "a ", "éa", "aé", "é", "漢",
    "漢a", "b1 a", "aa", "   ", "1 1", b"\xa9a", b"a\xc3", b"\xe6\xbc", b"\xa2b", b"\xa9\xc3",
)  # fmt: skip


def rich_compiler() -> GrammarCompiler:
    return GrammarCompiler(vocabulary(*RICH))


def regex_matcher(pattern: str, compiler: GrammarCompiler | None = None) -> Matcher:
    return (compiler or rich_compiler()).compile(GrammarSpec.regex(pattern)).matcher()


def allowed(matcher: Matcher, size: int, remaining: int | None = None) -> set[int]:
    """The token ids of the mask."""
    out = np.zeros((size + 31) // 32, dtype=np.uint32)
    matcher.fill_mask(out, remaining)
    bits = np.unpackbits(out.view(np.uint8), bitorder="little")
    assert not bits[size:].any()
    return set(np.flatnonzero(bits).tolist())


def accepted(matcher: Matcher, size: int) -> set[int]:
    """The token ids that `accept` takes: the mask by brute force."""
    return {token for token in range(size) if matcher.copy().accept(token)}


def finish(matcher: Matcher, size: int, *, limit: int = 4000) -> list[int]:
    """Tokens that complete the text, by always lowering the distance."""
    matcher = matcher.copy()
    found: list[int] = []
    while not matcher.can_end:
        before = matcher.distance()
        choices: dict[int, Matcher] = {}
        for token in sorted(allowed(matcher, size)):
            trial = matcher.copy()
            assert trial.accept(token)
            choices[token] = trial
        token = min(choices, key=lambda t: choices[t].distance())
        matcher = choices[token]
        assert matcher.distance() < before, "no token shortens the way to an end"
        found.append(token)
        assert len(found) < limit
    return found


def random_walk(
    matcher: Matcher, size: int, eos: int, seed: int, *, limit: int = 60
) -> tuple[list[int], bool]:
    """Tokens drawn from the masks until EOS or `limit`; whether EOS came."""
    draw = random.Random(seed)
    matcher = matcher.copy()
    found: list[int] = []
    while len(found) < limit:
        mask = sorted(allowed(matcher, size))
        assert mask, "a dead end"
        assert (eos in mask) == matcher.can_end
        token = draw.choice(mask)
        assert matcher.accept(token)
        if token == eos:
            return found, True
        found.append(token)
    return found, False


# -- drawn regexes ---------------------------------------------------------------------------------

_ATOMS = st.sampled_from(
    ["a", "b", "1", " ", "é", "漢", ".", r"\d", r"\w", r"\s", "[ab]", "[^a]", "[a-z1]", "(?:)",
     r"[^\s]", "ab", "aab", r"\W", "(?:aa|a)"]
)  # fmt: skip
_COUNTS = st.sampled_from(
    ["*", "+", "?", "*?", "{2}", "{0,3}", "{1,}", "{2,5}", "{0,40}", "{3,}", "{,2}", "{0}"]
)


def _extend(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, _COUNTS).map(lambda t: f"(?:{t[0]}){t[1]}"),
        st.lists(inner, min_size=2, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"(?:{'|'.join(parts)})"),
    )


REGEXES = st.recursive(_ATOMS, _extend, max_leaves=7)
TEXTS = st.text(alphabet=LETTERS, max_size=8)
