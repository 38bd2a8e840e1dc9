"""Noise for training sentences: unknown words in the frame, and requests of many shapes.

A model that has seen a hundred frames learns those frames; one that has seen words of the frame
replaced by others learns to find the values by what is left. Training only.
"""

from __future__ import annotations

import random

from .words import FILLERS, bank, make_word

ADVERBIALS = bank("""
last summer|at lunch|with a smile|in the end|after the rain|by the way|this week|for a while
as you know|on the phone|for the first time|in the meantime|all of a sudden|without a doubt
before breakfast|against all odds|once again|if I remember well|to be honest|so to speak
when it was cold|because of the wind|as always|at home|of course|with great joy|in a hurry
""")
VERBS = bank("""
Extract|Get|Give me|Return|Find|List|Show|Show me|Take|Read out|Fetch|Collect|Tell me|Output|Report
Note|Provide|Name|Grab|Print|State|Select|Give|Send me|I want|I'd like|Make|Parse|Please extract
Please give me|Could you extract|Can you find|Please return|Identify|Detect|Spell out
""")
WHATS = [
    "{fields}",
    "{fields}",
    "{and_fields}",
    "the {and_fields}",
    "the fields {fields}",
    "only {fields}",
]
FORMS = [
    "as JSON",
    "as JSON",
    "as JSON",
    "in JSON",
    "in JSON format",
    "as a JSON object",
    "in JSON form",
]
SOURCES = [
    "",
    "",
    "",
    "",
    " from this text",
    " from the text",
    " of this sentence",
    " from the sentence",
    " out of this",
    " from this",
    " in this text",
    " found in the text",
    " from the following",
    " of the following text",
    " from what I say",
    " from my message",
    " from this message",
    " in here",
    " mentioned here",
    " given here",
]
ENDS = [": {text}", ": {text}", ": {text}", ". {text}", ":\n{text}", ".\n{text}", "\n{text}"]


FIRST = bank("""
In JSON|JSON only|As a JSON object|In JSON form|As an object|With JSON|JSON, please|In JSON format
""")
QUESTIONS = bank("""
what is|which|tell me|list|name|what would be|give me|I need|show me|I want|what do you read for
who or what is|what does it say for|how about|let me have|please state|what is here for
""")
MILD = bank("""
still|again|now|today|also|just|then|usually|these days|this year|of course|as you know|by the way
in the meantime|since last week|as always|after all|to be precise|at the moment|for now|lately
""")


def extend(rng: random.Random, template: str) -> str:
    """A template with a few words put in that decide nothing."""
    parts = template.split(" ")
    for _ in range(rng.choice([1, 1, 2])):
        spots = [  # not right before a value, which would seem to begin with it
            i
            for i, (part, later) in enumerate(zip(parts, [*parts[1:], ""], strict=True))
            if part[0].isalpha() and "{" not in later
        ]
        extra = rng.choice(MILD) if rng.random() < 0.7 else make_word(rng, heldout=False, english=0)
        if not spots or rng.random() < 0.35:
            lead = rng.choice([", ", ": ", " "])
            parts[0] = extra[0].upper() + extra[1:] + lead + parts[0]
        else:
            parts.insert(rng.choice(spots) + 1, extra)
    return " ".join(parts)


def frame(rng: random.Random, template: str) -> str:
    """A template with some of its own words replaced, or an adverbial put in."""
    parts = template.split(" ")
    rate = rng.choice([0.08, 0.15, 0.3])
    for index, part in enumerate(parts):
        word = part.rstrip(".,!?;:")
        if not word.isalpha() or rng.random() >= rate:
            continue
        fresh = rng.choice(FILLERS) if rng.random() < 0.7 else make_word(rng, heldout=False)
        parts[index] = (fresh.capitalize() if word[0].isupper() else fresh) + part[len(word) :]
    if rng.random() < 0.3:
        parts.insert(0, rng.choice(FILLERS).capitalize())
    if rng.random() < 0.3:
        spots = [i for i, part in enumerate(parts) if i and part[0].isalpha()]
        if spots:
            parts.insert(rng.choice(spots), rng.choice(ADVERBIALS))
    return " ".join(parts)


def ask(rng: random.Random) -> str:
    """A request for fields, put together from parts; the verb may be a word nobody knows."""
    if rng.random() < 0.25:
        return _format_first(rng)
    verb = rng.choice(VERBS)
    if rng.random() < 0.2:
        verb = make_word(rng, heldout=False, english=0.5).capitalize()
    request = f"{verb} {rng.choice(WHATS)}"
    form, source = rng.choice(FORMS), rng.choice(SOURCES)
    request += f"{source} {form}" if rng.random() < 0.4 else f" {form}{source}"
    if rng.random() < 0.12:
        return "{text}\n" + request + rng.choice([".", "", "!"])
    return request + rng.choice(ENDS)


def _format_first(rng: random.Random) -> str:
    """The format, then a question or an order, then the fields."""
    asked = rng.choice(QUESTIONS)
    if rng.random() < 0.25:
        asked = make_word(rng, heldout=False, english=0.6)
        if rng.random() < 0.5:
            asked += " " + rng.choice(FILLERS)
    fields = rng.choice(["{and_fields}", "{and_fields}", "{fields}", "the {and_fields}"])
    if rng.random() < 0.2:
        asked = asked[0].upper() + asked[1:]
        return f"{asked} {fields}? {rng.choice(FIRST)}. {{text}}"
    end = rng.choice(["? {text}", "? {text}", ": {text}", ". {text}", "?\n{text}", " in: {text}"])
    return f"{rng.choice(FIRST)}{rng.choice([', ', ', ', ': ', ' '])}{asked} {fields}{end}"
