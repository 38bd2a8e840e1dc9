"""Dates and times of day as people write them."""

from __future__ import annotations

import random

from .words import MONTHS, WEEKDAYS


def date(rng: random.Random) -> str:
    """A date as people write it; it is copied, never converted."""
    month, day, year = rng.choice(MONTHS), rng.randint(1, 31), rng.randint(2019, 2039)
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(day % 10 if day not in (11, 12, 13) else 0, "th")
    weekday = rng.choice(WEEKDAYS)
    forms = [
        f"{month} {day}",
        f"{month} {day}",
        f"{day} {month}",
        f"{month} {day}{suffix}",
        f"{month} {day}, {year}",
        f"{day} {month} {year}",
        weekday,
        weekday,
        f"next {weekday}",
        f"{weekday}, {month} {day}",
        f"{weekday} {day} {month}",
        f"{day}{suffix} {month}",
        f"{year}-{rng.randint(1, 12):02}-{day:02}",
        f"{day:02}/{rng.randint(1, 12):02}/{year}",
        f"{month} {day}{suffix}",
        f"{day}.{rng.randint(1, 12)}.{year}",
    ]
    return rng.choice(forms)


def time(rng: random.Random) -> str:
    """A time of day as people write it."""
    hour, minute = rng.randint(1, 12), rng.choice([0, 5, 10, 15, 20, 30, 40, 45, 50])
    half = rng.choice(["am", "pm"])
    return rng.choice(
        [
            f"{hour} {half}",
            f"{hour} {half}",
            f"{hour}{half}",
            f"{hour}:{minute:02} {half}",
            "noon",
            f"{rng.randint(0, 23)}:{minute:02}",
            f"{rng.randint(0, 23)}:{minute:02}",
            f"{hour} o'clock",
        ]
    )
