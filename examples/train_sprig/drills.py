"""Dense exercises that are no skills of their own: copying, small sums, number words."""

from __future__ import annotations

import random

from .skills import Exchange
from .words import number_word
from .world import World, value

REPEAT_ASKS = [
    "Repeat: {text}",
    "Repeat after me: {text}",
    "Say {text}",
    "Write exactly this: {text}",
]
REPEAT_KINDS = (
    "name",
    "name",
    "city",
    "item",
    "title",
    "date",
    "code",
    "topic",
    "number",
    "word",
    "job",
)


def repeat(rng: random.Random, world: World) -> list[Exchange]:
    """A plain copy of listed and made-up words."""
    count = rng.choice([1, 2, 3, 4, 6, 8, 10])
    parts = [value(rng, world, rng.choice(REPEAT_KINDS)) for _ in range(count)]
    text = rng.choice([" ", ", "]).join(parts)
    ask = rng.choice(REPEAT_ASKS).replace("{text}", text)
    return [Exchange("repeat", ask, text, "word")]


def _fact(rng: random.Random) -> tuple[str, int]:
    """One column of a worked sum or difference."""
    a, b = rng.randint(0, 9), rng.randint(0, 9)
    style = rng.random()
    if style < 0.3:
        return f"{a}+{b}", a + b
    if style < 0.5:
        return f"{a}+{b}+1", a + b + 1
    if style < 0.75:
        top = rng.choice([n for n in range(b, b + 10) if n < 20])
        return f"{top}-{b}", top - b
    top = rng.randint(b + 1, 9) if b < 9 else 9
    return (f"{top}-{b}-1", top - b - 1) if top > b else (f"{top}-{b}", top - b)


def drill(rng: random.Random, _world: World) -> list[Exchange]:
    """Several small sums at once, or number words to digits."""
    if rng.random() < 0.25:
        numbers = [rng.randint(0, 99) for _ in range(rng.randint(2, 8))]
        words = ", ".join(number_word(number) for number in numbers)
        ask = rng.choice(["Write as digits: {w}", "In digits: {w}", "Which numbers are these: {w}"])
        answer = ", ".join(str(number) for number in numbers)
        return [Exchange("drill", ask.replace("{w}", words), answer, "word")]
    facts = [_fact(rng) for _ in range(rng.randint(3, 12))]
    ask = rng.choice(["Drill: ", "Solve: ", ""]) + ", ".join(left for left, _ in facts)
    answer = ", ".join(f"{left}={right}" for left, right in facts)
    return [Exchange("drill", ask, answer, "word")]
