"""Where top-k, top-p and min-p end, in Triton: a program a row, which keeps no scores of the whole
vocabulary and sorts nothing.

A token's *distance* is how far its score after temperature lies below the row's best: 0 for that
one, infinite for what the mask forbids. Distances are not negative, so their bits order as integers
do, and a border is found by halving an interval of integers: exactly, ties included, whatever the
values are. What is counted at each halving are the distances below a cut that few enough tokens
pass; they are put down once. Where too many pass every cut, the row itself is read again each time.
"""

import triton
import triton.language as tl

NEAREST = 4096
"""Distances that are put down for a row."""
INFINITE = 0x7F800000
"""The bits of an infinite distance."""


# fmt: off
@triton.jit
def allowed_scores(logits, words, word_count, masked, token, vocab):
    """Logits of tokens, -inf where the row's mask forbids them and past the vocabulary."""
    inside = token < vocab
    score = tl.load(logits + token, mask=inside, other=float("-inf"))
    at = token >> 5
    word = tl.load(words + at, mask=inside & (at < tl.where(masked >= 0, word_count, 0)), other=0)
    bit = tl.where(masked >= 0, (word >> (token & 31)) & 1, 1)
    return tl.where(bit != 0, score, float("-inf"))


@triton.jit
def best_score(logits, words, word_count, masked, vocab, BLOCK: tl.constexpr):
    """The greatest allowed logit; 0 where none is allowed."""
    top = tl.full([], float("-inf"), tl.float32)
    for start in range(0, vocab, BLOCK):
        token = start + tl.arange(0, BLOCK)
        score = allowed_scores(logits, words, word_count, masked, token, vocab)
        top = tl.maximum(top, tl.max(score, 0))
    return tl.where(top == float("-inf"), 0.0, top)


@triton.jit
def clamped_heat(temperature, COLDEST: tl.constexpr, HOTTEST: tl.constexpr):
    """What scores are divided by."""
    heat = tl.minimum(tl.maximum(temperature, COLDEST), HOTTEST)
    return tl.where(temperature > 0.0, heat, 1.0)


@triton.jit
def _tally(
    logits, words, word_count, masked, vocab, top, heat, near, count, fits, end, BLOCK: tl.constexpr
):
    """Of the distances below that of the bits `end`: how many, and the mass of their tokens; and
    the bits of the least of the others. Of the `count` that are put down at `near` where that
    `fits`, else of the whole row."""
    below = tl.full([], 0, tl.int32)
    mass = tl.full([], 0.0, tl.float32)
    following = tl.full([], 0x7F800000, tl.int32)
    for start in range(0, tl.where(fits, count, vocab), BLOCK):
        at = start + tl.arange(0, BLOCK)
        if fits:
            distance = tl.load(near + at, mask=at < count, other=float("inf"))
        else:
            score = allowed_scores(logits, words, word_count, masked, at, vocab)
            distance = (top - score) / heat
        bits = distance.to(tl.int32, bitcast=True)
        inside = bits < end
        below += tl.sum(inside.to(tl.int32), 0)
        mass += tl.sum(tl.where(inside, tl.exp(-distance), 0.0), 0)
        following = tl.minimum(following, tl.min(tl.where(inside, 0x7F800000, bits), 0))
    return below, mass, following


@triton.jit
def _border(
    logits, words, word_count, masked, vocab, top, heat, near, count, fits, cut, most, share,
    BLOCK: tl.constexpr,
):
    """The bits of the greatest distance that has fewer than `most` tokens below it, of less than
    `share` of mass; how many those are, and their mass. The distance 0 always does, and that of the
    bits `cut` does not."""
    low, high = tl.full([], 0, tl.int32), cut
    inside = tl.full([], 2, tl.int32)  # distances from low on and below high, but for the first 2
    before = tl.full([], 0, tl.int32)
    beyond = tl.full([], 0x7FFFFFFF, tl.int32)
    while (high - low > 1) & (inside > 1):
        # Distances that matter lie between 1/128 and 128 for the most part.
        least, greatest = tl.maximum(low, 0x3C000000), tl.minimum(high, 0x43000000)
        narrow = least < greatest
        middle = tl.where(narrow, least, low) + tl.where(narrow, greatest - least, high - low) // 2
        middle = tl.minimum(tl.maximum(middle, low + 1), high - 1)
        below, mass, _ = _tally(  # pyright: ignore[reportGeneralTypeIssues]
            logits, words, word_count, masked, vocab, top, heat, near, count, fits, middle, BLOCK
        )
        passes = (below < most) & (mass < share)
        low, before = tl.where(passes, middle, low), tl.where(passes, below, before)
        high, beyond = tl.where(passes, high, middle), tl.where(passes, beyond, below)
        inside = beyond - before
    below, mass, bits = _tally(  # pyright: ignore[reportGeneralTypeIssues]
        logits, words, word_count, masked, vocab, top, heat, near, count, fits, low, BLOCK
    )
    return bits, below, mass


@triton.jit
def _nearest(
    logits, words, word_count, masked, vocab, top, heat, near, cut,
    BLOCK: tl.constexpr,
):
    """Puts down the distances below `cut`, in the order of their tokens."""
    have = tl.full([], 0, tl.int32)
    for start in range(0, vocab, BLOCK):
        token = start + tl.arange(0, BLOCK)
        score = allowed_scores(logits, words, word_count, masked, token, vocab)
        distance = (top - score) / heat
        inside = distance < cut
        ones = inside.to(tl.int32)
        tl.store(near + have + tl.cumsum(ones, 0) - 1, distance, mask=inside)
        have += tl.sum(ones, 0)
    tl.debug_barrier()  # other threads of the program read them


@triton.jit
def _nucleus(top_p, doubt, ROUNDING: tl.constexpr):
    """The shares of mass that `top_p` may stand for: as given, more, and less, where scores move
    apart by `doubt`, and log odds of a mass do as well."""
    factor = tl.exp(tl.minimum(doubt, 60.0))
    other = 1.0 - top_p
    more = top_p * factor / (top_p * factor + other) + ROUNDING
    fewer = top_p / (top_p + other * factor) - ROUNDING
    all = top_p >= 1.0
    endless = float("inf")
    return (
        tl.where(all, endless, top_p), tl.where(all, endless, more), tl.where(all, endless, fewer)
    )


@triton.jit
def _survey(
    logits, words, word_count, masked, vocab, top, heat, top_k, most, more, NEAREST: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The nearest of some cuts beyond which no border lies, how many tokens pass it, and whether
    there is one that few enough pass; the mass of all tokens; and the second least distance. `most`
    tokens are kept for top_k, and at most `more` of the mass for top-p."""
    i = tl.arange(0, 8)
    cuts = tl.where(i < 7, 0.25 * tl.exp2(i.to(tl.float32)), float("inf"))
    passing = tl.zeros([8], tl.int32)
    masses = tl.zeros([8], tl.float32)
    whole = tl.full([], 0.0, tl.float32)
    ties = tl.full([], 0, tl.int32)
    second = tl.full([], float("inf"), tl.float32)
    for start in range(0, vocab, BLOCK):
        token = start + tl.arange(0, BLOCK)
        score = allowed_scores(logits, words, word_count, masked, token, vocab)
        distance = (top - score) / heat
        weight = tl.exp(-distance)
        inside = distance[:, None] < cuts[None, :]
        passing += tl.sum(inside.to(tl.int32), 0)
        masses += tl.sum(tl.where(inside, weight[:, None], 0.0), 0)
        whole += tl.sum(weight, 0)
        ties += tl.sum((distance == 0.0).to(tl.int32), 0)
        second = tl.minimum(second, tl.min(tl.where(distance > 0.0, distance, float("inf")), 0))
    within = tl.where(top_k > 0, passing > most, masses > more * whole)
    suits = (within | (cuts == float("inf"))) & (passing <= NEAREST)
    fits = tl.max(suits.to(tl.int32), 0) == 1
    cut = tl.min(tl.where(suits, cuts, float("inf")), 0)
    count = tl.sum(tl.where(cuts == cut, passing, 0), 0)
    return cut, count, fits, whole, tl.where(ties > 1, 0.0, second)


@triton.jit
def _borders(
    logits, words, word_count, masked, vocab, top, heat, near, count, fits, cut, whole, top_k, most,
    share, more, fewer, BLOCK: tl.constexpr,
):
    """Of top-k and top-p: the distance up to which tokens are kept; that up to which they might be;
    and that of the first that might not."""
    end = tl.where(cut < float("inf"), cut.to(tl.int32, bitcast=True), 0x7F800001)
    nucleus = share < float("inf")
    if (top_k > 0) & nucleus:  # of the mass that top-k leaves
        bits, below, mass = _border(  # pyright: ignore[reportGeneralTypeIssues]
            logits, words, word_count, masked, vocab, top, heat, near, count, fits, end,
            most, float("inf"), BLOCK,
        )
        last = tl.exp(-bits.to(tl.float32, bitcast=True))
        whole = mass + (most - below).to(tl.float32) * last
    bits, below, mass = _border(  # pyright: ignore[reportGeneralTypeIssues]
        logits, words, word_count, masked, vocab, top, heat, near, count, fits, end,
        most, share * whole, BLOCK,
    )
    least = bits.to(tl.float32, bitcast=True)
    may = least
    if nucleus:
        bits, below, mass = _border(  # pyright: ignore[reportGeneralTypeIssues]
            logits, words, word_count, masked, vocab, top, heat, near, count, fits, end,
            most, more * whole, BLOCK,
        )
        may = bits.to(tl.float32, bitcast=True)
        bits, below, mass = _border(  # pyright: ignore[reportGeneralTypeIssues]
            logits, words, word_count, masked, vocab, top, heat, near, count, fits, end,
            most, fewer * whole, BLOCK,
        )
    # Of those that tie at the border, some may be beyond it: then they are the first.
    equal, _, following = _tally(  # pyright: ignore[reportGeneralTypeIssues]
        logits, words, word_count, masked, vocab, top, heat, near, count, fits, bits + 1, BLOCK
    )
    must = bits.to(tl.float32, bitcast=True)
    last_of_them = equal - 1  # by rank
    reached = mass + (last_of_them - below).to(tl.float32) * tl.exp(-must)
    if (last_of_them < most) & (reached < fewer * whole):
        must = following.to(tl.float32, bitcast=True)
        must = tl.where(fits & (following == 0x7F800000), cut, must)
    return least, may, must


@triton.jit(do_not_specialize_on_alignment=["rows", "seats"])
def borders_kernel(
    logits, pool, rows, temperatures, top_ks, top_ps, min_ps, seats, near, found,
    vocab, logits_row, word_count,
    COLDEST: tl.constexpr, HOTTEST: tl.constexpr, NEAR_TIE: tl.constexpr, ROUNDING: tl.constexpr,
    MASS_ROUNDING: tl.constexpr, NEAREST: tl.constexpr, BLOCK: tl.constexpr,
):
    """found [S, 3]: the distance up to which a row keeps tokens; that up to which it might if
    scores moved apart by what rounding may do; and that below which it does in spite of that."""
    row = tl.program_id(0).to(tl.int64)
    seat = tl.load(seats + row)
    temperature = tl.load(temperatures + seat)
    top_k, top_p = tl.load(top_ks + seat), tl.load(top_ps + seat)
    min_p = tl.load(min_ps + seat)
    least = tl.full([], float("inf"), tl.float32)
    may, must = least, least
    if (temperature > 0.0) & ((top_k > 0) | (top_p < 1.0) | (min_p > 0.0)):
        masked = tl.load(rows + row)
        words = pool + tl.maximum(masked, 0) * word_count
        logits += row * logits_row
        near += row * NEAREST
        heat = clamped_heat(temperature, COLDEST, HOTTEST)
        doubt = NEAR_TIE / heat + ROUNDING
        top = best_score(logits, words, word_count, masked, vocab, BLOCK)
        share, more, fewer = _nucleus(  # pyright: ignore[reportGeneralTypeIssues]
            top_p, doubt, MASS_ROUNDING
        )
        most = tl.where(top_k > 0, tl.minimum(top_k, vocab), vocab).to(tl.int32)
        cut, count, fits, whole, second = _survey(  # pyright: ignore[reportGeneralTypeIssues]
            logits, words, word_count, masked, vocab, top, heat, top_k, most, more, NEAREST, BLOCK
        )
        if (top_k > 0) | (top_p < 1.0):
            if fits:
                _nearest(logits, words, word_count, masked, vocab, top, heat, near, cut, BLOCK)
            least, may, must = _borders(  # pyright: ignore[reportGeneralTypeIssues]
                logits, words, word_count, masked, vocab, top, heat, near, count, fits, cut, whole,
                top_k, most, share, more, fewer, BLOCK,
            )
        floor = -tl.log(min_p)
        least = tl.minimum(least, floor)
        may = tl.minimum(may, floor) + doubt
        must = tl.minimum(must, tl.maximum(floor, second)) - doubt
    tl.store(found + row * 3, least)
    tl.store(found + row * 3 + 1, may)
    tl.store(found + row * 3 + 2, must)
# fmt: on
