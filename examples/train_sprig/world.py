# ruff: noqa: SIM905
"""A World: the vocabularies and templates one side (training or held-out) draws from."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from . import (
    feelings,
    natural,
    recall_templates,
    templates,
    tool_turns,
    tools as tool_catalog,
    words,
)
from .recall_templates import Fact
from .when import date, time


@dataclass(frozen=True)
class World:
    """Everything that must differ between training and held-out data."""

    heldout: bool
    made: float  # made-up words, as a share of how many there are at most
    vocabulary: Mapping[str, Sequence[str]]
    records: Mapping[str, Sequence[str]]
    extract_asks: Sequence[str]
    tool_questions: Mapping[str, Sequence[str]]
    tool_asks: Sequence[str]
    feelings: Sequence[str]
    neutral: Sequence[str]
    sentiment_asks: Sequence[str]
    vague: Sequence[str]
    detailed: Sequence[str]
    sparse: Sequence[str]
    topic_words: Mapping[str, Sequence[str]]
    judge_asks: Sequence[str]
    facts: Mapping[str, Fact]
    sum_asks: Sequence[str]
    add_asks: Sequence[str]
    sub_asks: Sequence[str]


TRAIN = World(
    heldout=False,
    made=0.8,
    vocabulary={
        "first": words.FIRST_NAMES,
        "last": words.LAST_NAMES,
        "city": words.CITIES,
        "job": words.JOBS,
        "company": words.COMPANIES,
        "hobby": words.HOBBIES,
        "item_noun": words.ITEM_NOUNS,
        "item_adjective": words.ITEM_ADJECTIVES,
        "event_kind": words.EVENT_KINDS,
        "event_adjective": words.EVENT_ADJECTIVES,
        "place_kind": words.PLACE_KINDS,
        "place_adjective": words.PLACE_ADJECTIVES,
        "food": words.FOODS,
        "topic": words.TOPICS,
        "task": words.TASKS,
        "thing": words.THINGS,
        "room": recall_templates.ROOMS,
    },
    records={"person": templates.PERSON, "order": templates.ORDER, "event": templates.EVENT},
    extract_asks=templates.EXTRACT_ASKS,
    tool_questions={key: tool.questions for key, tool in tool_catalog.TOOLS.items()},
    tool_asks=tool_turns.TOOL_ASKS,
    feelings=feelings.FEELING,
    neutral=feelings.NEUTRAL,
    sentiment_asks=feelings.SENTIMENT_ASKS,
    vague=feelings.VAGUE,
    detailed=feelings.CLEAR_DETAILED,
    sparse=feelings.CLEAR_SPARSE,
    topic_words={
        key: [*listed, *natural.MORE_TOPIC_WORDS[key].split("|")]
        for key, listed in feelings.TOPIC_WORDS.items()
    },
    judge_asks=feelings.JUDGE_ASKS,
    facts=recall_templates.FACTS,
    sum_asks=recall_templates.SUM_ASKS,
    add_asks=recall_templates.ADD_ASKS,
    sub_asks=recall_templates.SUB_ASKS,
)


def fill(template: str, values: Mapping[str, object]) -> str:
    """Fills the slots, then repairs 'a' before a vowel and 'on next'."""
    text = re.sub(r"\{(\w+)\}", lambda m: str(values.get(m.group(1), m.group(0))), template)
    text = re.sub(r"\b([Aa]) (?=[aeioAEIO][a-z])", r"\1n ", text)
    text = re.sub(r"\b[Aa](-| )(?=(8|11|18|8\d)[- ])", lambda m: m[0][0] + "n" + m[1], text)
    return re.sub(r"\bon next", "next", text)


def slots(template: str) -> set[str]:
    """The slot names of a template."""
    return set(re.findall(r"\{(\w+)\}", template))


def _make(rng: random.Random, world: World, chance: float) -> bool:
    """Whether to make a word up instead of taking a listed one."""
    return rng.random() < chance * world.made


def _made(rng: random.Random, world: World, syllables: tuple[int, int] = (2, 3)) -> str:
    return words.make_word(rng, world.heldout, syllables)


def _proper(rng: random.Random, world: World, syllables: tuple[int, int] = (2, 3)) -> str:
    """A made-up name of a person or a place: nobody is called Exports."""
    return words.make_word(rng, world.heldout, syllables, english=0).capitalize()


def name(rng: random.Random, world: World) -> str:
    """A person: one or two words, listed or made."""
    first = (
        rng.choice(world.vocabulary["first"])
        if not _make(rng, world, 0.45)
        else _proper(rng, world, (1, 3))
    )
    style = rng.random()
    if style < 0.5:
        return first
    last = (
        rng.choice(world.vocabulary["last"]) if not _make(rng, world, 0.5) else _proper(rng, world)
    )
    if style < 0.92:
        return f"{first} {last}"
    if style < 0.96:
        return f"{first} {rng.choice('ABCDEFGHJKLMNPRSTW')}. {last}"
    return f"{first} {rng.choice(['de', 'van', 'von', 'bin', 'la'])} {last}"


def make_english(rng: random.Random, world: World) -> str:
    """A made-up word, more often than not an English one."""
    return words.make_word(rng, world.heldout, english=0.6)


def city(rng: random.Random, world: World) -> str:
    """A city, listed or made."""
    if not _make(rng, world, 0.45):
        return rng.choice(world.vocabulary["city"])
    word = _proper(rng, world)
    style = rng.random()
    if style < 0.7 or (world.heldout and style < 0.8):
        return word
    if style < 0.8:  # in training also names of two or three words, each copied
        return " ".join(
            [word, *(_proper(rng, world, (1, 2)) for _ in range(rng.choice([1, 1, 2])))]
        )
    if style < 0.9:
        return f"{rng.choice(['Port', 'San', 'New', 'Old', 'Bad', 'Saint', 'Lake'])} {word}"
    return f"{word} {rng.choice(['City', 'Bay', 'Falls', 'Springs', 'Hill'])}"


def item(rng: random.Random, world: World, plural: bool = False) -> str:
    """A ware, such as 'red mugs'; in training also one of several words nobody knows."""
    if not world.heldout and rng.random() < 0.2:
        made = [make_english(rng, world) for _ in range(rng.choice([1, 2, 2, 3, 3, 4]))]
        if plural:
            made[-1] = plural_of(made[-1])
        return " ".join(made)
    noun = (
        _made(rng, world) if _make(rng, world, 0.4) else rng.choice(world.vocabulary["item_noun"])
    )
    if rng.random() < 0.15:
        first = (
            _made(rng, world)
            if _make(rng, world, 0.5)
            else rng.choice(world.vocabulary["item_noun"])
        )
        noun = f"{first} {noun}"
    if plural:
        noun = plural_of(noun)
    adjectives = []
    if rng.random() < 0.55:
        known = not _make(rng, world, 0.2)
        adjectives.append(
            rng.choice(world.vocabulary["item_adjective"]) if known else _made(rng, world, (1, 2))
        )
    if _make(rng, world, 0.08):
        adjectives.append(_proper(rng, world))
    return " ".join([*adjectives, noun])


def plural_of(noun: str) -> str:
    """A plain English plural."""
    if noun.endswith(("s", "x", "ch", "sh", "z")):
        return noun + "es"
    if noun.endswith("f") and not noun.endswith("ff"):
        return noun[:-1] + "ves"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def title(rng: random.Random, world: World) -> str:
    """An event's title; in training also one of several words nobody knows."""
    if not world.heldout and rng.random() < 0.35:
        made = [make_english(rng, world) for _ in range(rng.choice([1, 2, 2, 3, 3, 4]))]
        if rng.random() < 0.4:
            made[-1] = rng.choice(world.vocabulary["event_kind"])
        text = " ".join(made)
        return text.title() if rng.random() < 0.5 else text
    kind = rng.choice(world.vocabulary["event_kind"])
    if _make(rng, world, 0.25):
        kind = _made(rng, world)
    adjectives = []
    if rng.random() < 0.75:
        adjectives.append(
            rng.choice(world.vocabulary["event_adjective"])
            if not _make(rng, world, 0.35)
            else _made(rng, world)
        )
    if rng.random() < 0.15:
        adjectives.insert(0, rng.choice(world.vocabulary["event_adjective"]))
    text = " ".join([*adjectives, kind])
    style = rng.random()
    if style < 0.45:
        return text.title() if "'" not in text else text
    if style < 0.55:
        return text.capitalize()
    return text


def place(rng: random.Random, world: World) -> str:
    """Where an event is; without an article."""
    style = rng.random()
    kind = rng.choice(world.vocabulary["place_kind"])
    if style < 0.4:
        return f"{rng.choice(world.vocabulary['place_adjective'])} {kind}"
    if style < 0.65:
        return f"{_proper(rng, world)} {kind}"
    if style < 0.75:
        return f"Room {rng.randint(1, 400)}"
    if style < 0.85:
        return city(rng, world)
    if style < 0.9:
        return f"{rng.choice(world.vocabulary['last'])} {kind}"
    if style < 0.93:
        return f"{rng.choice(['Saint', 'St.'])} {name(rng, world).split()[0]}'s {kind}"
    owner = _proper(rng, world)
    if style < 0.97:
        return f"{owner} {rng.choice(['Street', 'Road', 'Avenue', 'Lane'])}"
    return f"{rng.randint(1, 99)} {owner} {rng.choice(['Street', 'Road'])}"


def code(rng: random.Random, world: World) -> str:
    """A secret: a made word or digits."""
    style = rng.random()
    if style < 0.5:
        return _made(rng, world)
    if style < 0.8:
        return "".join(rng.choice("0123456789") for _ in range(rng.randint(2, 5)))
    return _made(rng, world, (1, 2)) + str(rng.randint(1, 99))


def listed(kind: str, made: float = 0.0, syllables: tuple[int, int] = (2, 3)) -> Maker:
    """A maker that draws from one list, or with chance `made` makes a word."""

    def maker(rng: random.Random, world: World) -> str:
        if _make(rng, world, made):
            return _made(rng, world, syllables)
        return rng.choice(world.vocabulary[kind])

    return maker


def topic(rng: random.Random, world: World) -> str:
    """What one searches for."""
    style = rng.random()
    if not world.heldout and style < 0.2:
        parts = [make_english(rng, world) for _ in range(rng.choice([1, 2, 2, 3]))]
        if len(parts) > 1 and rng.random() < 0.5:
            parts.insert(1, rng.choice(["of", "in", "for", "of the", "and", "with", "from"]))
        opening = rng.choice(["", "", "", "the ", "how ", "why ", "where "])
        return opening + " ".join(parts)
    if style < 0.4:
        return rng.choice(world.vocabulary["topic"])
    if style < 0.6:
        return f"{_made(rng, world)} {rng.choice(world.vocabulary['item_noun'])}s"
    if style < 0.8:
        return f"{rng.choice(world.vocabulary['item_adjective'])} {item(rng, world, plural=True)}"
    return city(rng, world) if style < 0.9 else name(rng, world)


def job(rng: random.Random, world: World) -> str:
    """A job, often made up, so that it is copied and not recalled."""
    if not _make(rng, world, 0.5):
        return rng.choice(world.vocabulary["job"])
    style = 0.5 + rng.random() / 2
    ending = rng.choice(["er", "ist", "or", "ian", "man", "", ""])
    made = _made(rng, world, (1, 2)) + ending
    if style < 0.75:
        return made
    first = _made(rng, world) if rng.random() < 0.5 else rng.choice(world.vocabulary["item_noun"])
    return f"{first} {made}"


def room(rng: random.Random, world: World) -> str:
    """Where one puts a thing; in training also one of two words nobody knows."""
    if not world.heldout and rng.random() < 0.25:
        last = rng.choice([make_english(rng, world), *world.vocabulary["room"]][:5])
        return f"{make_english(rng, world)} {last}"
    return listed("room", 0.3)(rng, world)


TASK_VERBS = (
    "wash fix buy clean paint sell find bring sort move check fetch cover open lock".split()
)


def task(rng: random.Random, world: World) -> str:
    """Something to be reminded of."""
    if rng.random() < 0.4:
        return rng.choice(world.vocabulary["task"])
    verb = rng.choice(TASK_VERBS) if rng.random() < 0.6 else _made(rng, world, (1, 2))
    thing = item(rng, world) if rng.random() < 0.7 else name(rng, world)
    return f"{verb} {rng.choice(['the ', 'my ', 'a ', ''])}{thing}"


Maker = Callable[[random.Random, World], str]
MAKERS: dict[str, Maker] = {
    "name": name,
    "city": city,
    "item": item,
    "title": title,
    "place": room,
    "date": lambda rng, _world: date(rng),
    "time": lambda rng, _world: time(rng),
    "code": code,
    "topic": topic,
    "job": job,
    "company": listed("company", 0.3),
    "hobby": listed("hobby", 0.35),
    "food": listed("food", 0.4),
    "task": task,
    "thing": listed("thing", 0.15),
    "color": lambda rng, _world: rng.choice(words.COLORS),
    "word": listed("item_noun", 0.6),
    "language": lambda rng, _world: rng.choice(words.LANGUAGES),
    "number": lambda rng, _world: str(rng.randint(0, 99)),
    "age": lambda rng, _world: str(rng.randint(2, 99)),
    "year": lambda rng, _world: str(rng.randint(1950, 2030)),
    "month": lambda rng, _world: rng.choice(words.MONTHS),
    "weekday": lambda rng, _world: rng.choice(words.WEEKDAYS),
}


def value(rng: random.Random, world: World, kind: str) -> str:
    """A value of the named kind."""
    return MAKERS[kind](rng, world)


def company_name(rng: random.Random, world: World) -> str:
    """A company, capitalised."""
    text = value(rng, world, "company")
    return text if text[0].isupper() else text.capitalize()


def distractors(rng: random.Random, world: World) -> dict[str, str]:
    """Slots that sentences carry and nobody asks for."""
    return {
        "n": str(rng.randint(2, 30)),
        "m": str(rng.randint(31, 99)),
        "other": name(rng, world),
        "hobby": value(rng, world, "hobby"),
        "year": value(rng, world, "year"),
        "month": value(rng, world, "month"),
        "weekday": value(rng, world, "weekday"),
        "other_city": city(rng, world),
    }
