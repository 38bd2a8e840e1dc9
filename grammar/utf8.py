"""Where in a character of UTF-8 a byte string stands (Unicode 16, table 3-7), by number.

0: between characters. 1 to 7: after these bytes of a character beyond ASCII. 8: no UTF-8.
A byte other than E1-EC and EE-EF, or F1-F3, that begins a character is a kind of its own where not
every continuation may follow.
"""

from __future__ import annotations

import numpy as np

CHARS = 9
BROKEN = 8
# The first bytes of characters, and where they lead.
LEADS = (
    (0xC2, 0xDF, 1), (0xE0, 0xE0, 2), (0xE1, 0xEC, 3), (0xED, 0xED, 4), (0xEE, 0xEF, 3),
    (0xF0, 0xF0, 5), (0xF1, 0xF3, 6), (0xF4, 0xF4, 7),
)  # fmt: skip
# For 1..7: the bytes that may come next, and where they lead.
TAILS = (
    (0x80, 0xBF, 0), (0xA0, 0xBF, 1), (0x80, 0xBF, 1), (0x80, 0x9F, 1), (0x90, 0xBF, 3),
    (0x80, 0xBF, 3), (0x80, 0x8F, 3),
)  # fmt: skip


def steps() -> np.ndarray:
    """uint8[CHARS, 256]: where a byte leads."""
    table = np.full((CHARS, 256), BROKEN, dtype=np.uint8)
    table[0, :128] = 0
    for low, high, place in LEADS:
        table[0, low : high + 1] = place
    for place, (low, high, after) in enumerate(TAILS, 1):
        table[place, low : high + 1] = after
    return table
