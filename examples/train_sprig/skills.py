"""Exchanges of the record and tool skills: fields to JSON, tool choice and the answer after it."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

from . import compose, compose_events, noise, templates, tool_turns, tools as tool_catalog
from .tool import Tool
from .when import date, time as clock
from .words import make_word, number_word
from .world import (
    World,
    city,
    company_name,
    distractors,
    fill,
    item,
    name,
    place,
    slots,
    title,
    value,
)


@dataclass(frozen=True)
class Exchange:
    """A user turn and its right answer. `check` says how a given answer is scored:

    json: equal once parsed; word: equal but for case and a final dot; number: the last integer of
    both is equal; contains: `key` occurs in the answer; none: not scored.
    """

    skill: str
    user: str
    assistant: str
    check: str = "none"
    key: str = ""


def dumps(value: object) -> str:
    """JSON as `json.dumps` writes it, with letters beyond ASCII kept as they are."""
    return json.dumps(value, ensure_ascii=False)


FIELD_ORDER = {
    "person": ["name", "age", "city", "job", "company"],
    "order": ["item", "quantity", "price", "customer"],
    "event": ["title", "date", "time", "place"],
}
ALIASES = {
    "name": ["full_name", "person"],
    "city": ["town", "home"],
    "job": ["profession", "occupation"],
    "item": ["product", "article"],
    "quantity": ["amount", "count"],
    "customer": ["buyer", "client"],
    "title": ["event", "what"],
    "date": ["day", "when"],
    "place": ["location", "venue", "where"],
    "company": ["employer"],
    "price": ["unit_price", "cost"],
    "time": ["start", "hour"],
}
NOISE = [
    "Thanks!",
    "Thank you.",
    "Please note it.",
    "That is all.",
    "The weather was nice.",
    "Great!",
    "See you soon.",
    "Please hurry.",
    "I hope that helps.",
    "It was a busy day.",
    "What a day!",
]


def _record(
    rng: random.Random, world: World, kind: str
) -> tuple[str, dict[str, object], dict[str, str]]:
    """A template, the record's values, and how the sentence writes each of them."""
    composers = {"person": compose.person, "order": compose.order, "event": compose_events.event}
    composed = not world.heldout and rng.random() < 0.5
    template = composers[kind](rng) if composed else rng.choice(world.records[kind])
    if not world.heldout and rng.random() < 0.15:
        template = noise.frame(rng, template)
    written = distractors(rng, world)
    values: dict[str, object] = {}
    if kind == "person":
        age = rng.randint(2, 99)
        values = {
            "name": name(rng, world),
            "age": age,
            "city": city(rng, world),
            "job": value(rng, world, "job"),
            "company": company_name(rng, world),
        }
        written["age2"] = str(age + 1)
        in_words = rng.random() < 0.1 and age > 9 and "th birthday" not in template
        written["age"] = number_word(age) if in_words else str(age)
        if "th birthday" in template and age % 10 in (1, 2, 3):
            values["age"] = 24
            written["age"] = "24"
    elif kind == "order":
        _fill_order(rng, world, template, values, written)
    else:
        spot = place(rng, world)
        values = {
            "title": title(rng, world),
            "date": date(rng),
            "place": spot,
            "time": clock(rng),
        }
        article = spot.split()[0] != "Room" and len(spot.split()) > 1 and rng.random() < 0.5
        written["place"] = f"the {spot}" if article else spot
    for key, field_value in values.items():
        written.setdefault(key, str(field_value))
    return template, values, written


def _fill_order(
    rng: random.Random,
    world: World,
    template: str,
    values: dict[str, object],
    written: dict[str, str],
) -> None:
    """An order's values; prices are written with two decimals, one or none."""
    plural_only = any(
        part in template
        for part in (
            " are ",
            "hey",
            "the {quantity}",
            "of them",
            "each",
            "apiece",
            "x {item}",
            "I'll have",
        )
    )
    quantity = 1 if not plural_only and rng.random() < 0.2 else rng.randint(2, 60)
    if quantity > 1 and rng.random() < 0.6:
        quantity = rng.randint(2, 12)
    elif quantity > 1 and rng.random() < 0.2:
        quantity = rng.randint(61, 999)
    ware = item(rng, world, plural=quantity > 1)
    cents = rng.choice([0, 0, 0, 50, 99, 95, 25, 75, 10, 20, rng.randint(1, 99)])
    whole = rng.choice(
        [rng.randint(0, 2), rng.randint(0, 20), rng.randint(1, 99), rng.randint(1, 999)]
    )
    price: int | float = whole + cents / 100 if cents else max(whole, 1)
    price = round(price, 2)
    values.update(item=ware, quantity=quantity, price=price, customer=name(rng, world))
    in_words = quantity <= 20 and rng.random() < 0.3
    written["quantity"] = number_word(quantity) if in_words else str(quantity)
    if quantity == 1 and rng.random() < 0.5:
        written["quantity"] = "a"
    if quantity == 12 and rng.random() < 0.3:
        written["quantity"] = "a dozen"
    if template.startswith("{quantity}"):
        written["quantity"] = written["quantity"].capitalize()
    short = cents % 10 == 0 and rng.random() < 0.25
    written["price"] = str(price) if short or not cents else f"{price:.2f}"


def _choose_fields(rng: random.Random, kind: str, present: set[str]) -> list[str]:
    """Mostly all fields of the sentence in declared order; sometimes fewer, or shuffled."""
    fields = [field for field in FIELD_ORDER[kind] if field in present]
    if rng.random() < 0.25:
        fields = [f for f in fields if rng.random() < 0.6] or [rng.choice(fields)]
    if rng.random() < 0.35:
        rng.shuffle(fields)
    return fields


def extract(rng: random.Random, world: World, kind: str = "") -> list[Exchange]:
    """Fields to JSON, at times with questions about the record afterwards."""
    kind = kind or rng.choice(["person", "order", "event"])
    template, values, written = _record(rng, world, kind)
    text = fill(template, written)
    if not world.heldout:
        text = compose.dress(rng, text)
    if rng.random() < 0.12:
        text = rng.choice([f"{text} {rng.choice(NOISE)}", f"{rng.choice(NOISE)} {text}"])
    if rng.random() < 0.04:
        text = text.rstrip(".")
    if not world.heldout and rng.random() < 0.03:  # typed in a hurry
        text = text.lower().replace("'", "")
        values = {
            key: v.lower().replace("'", "") if isinstance(v, str) else v
            for key, v in values.items()
        }
    chosen = _choose_fields(rng, kind, slots(template))
    aliased = {
        f: rng.choice(ALIASES[f]) if f in ALIASES and rng.random() < 0.06 else f for f in chosen
    }
    names = list(aliased.values())
    listing = ", ".join(names)
    and_listing = listing if len(names) < 2 else f"{', '.join(names[:-1])} and {names[-1]}"
    canonical = not world.heldout and rng.random() < 0.35
    ask = templates.EXTRACT_ASKS[0] if canonical else rng.choice(world.extract_asks)
    if not world.heldout and not canonical and rng.random() < 0.5:
        ask = noise.ask(rng)
    user = (
        ask.replace("{fields}", listing)
        .replace("{and_fields}", and_listing)
        .replace("{text}", text)
    )
    answer = dumps({aliased[f]: values[f] for f in chosen})
    exchanges = [Exchange("extract", user, answer, "json")]
    if kind == "person" and not world.heldout and rng.random() < 0.3:
        exchanges += _ask_back(rng, values, slots(template))
    return exchanges


def _ask_back(rng: random.Random, values: dict[str, object], present: set[str]) -> list[Exchange]:
    """Questions about the person just extracted."""
    bank = {
        "age": (
            ["How old is {name}?", "What is the age of {name}?", "And how old is {name}?"],
            "{name} is {age} years old.",
        ),
        "city": (
            ["Where does {name} live?", "Where is {name} from?", "Which city does {name} live in?"],
            "{name} lives in {city}.",
        ),
        "job": (["What is {name}'s job?", "What does {name} do?"], "{name} works as a {job}."),
        "name": (
            ["Who is it about?", "What was the name?", "Who was that?"],
            "It is about {name}.",
        ),
    }
    askable = [field for field in bank if field in present]
    exchanges = []
    for field in rng.sample(askable, min(len(askable), rng.choice([1, 1, 2]))):
        questions, answer = bank[field]
        exchanges.append(
            Exchange(
                "recall",
                fill(rng.choice(questions), values),
                fill(answer, values),
                "contains",
                str(values[field]),
            )
        )
    return exchanges


@dataclass(frozen=True)
class Listing:
    """A tool as one user turn lists it: its name and its arguments' names by slot."""

    tool: Tool
    key: str
    name: str
    arg_names: dict[str, str]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(self.arg_names.values())})"


def _listing(rng: random.Random, world: World, key: str) -> Listing:
    tool = tool_catalog.TOOLS[key]
    names = {
        slot: slot if rng.random() < 0.6 else rng.choice(tool.arg_names.get(slot, (slot,)))
        for slot in tool.args
    }
    name = key if rng.random() < 0.5 else rng.choice(tool.names)
    if (
        not world.heldout and rng.random() < 0.2
    ):  # a name nobody has seen: it is copied, not recalled
        affixes = ["get_{}", "find_{}", "{}_tool", "my_{}", "{}_api", "do_{}", "{}_now", "ask_{}"]
        name = rng.choice(affixes).format(name)
    return Listing(tool, key, name, names)


def _call(
    rng: random.Random, world: World, listing: Listing, question: str
) -> tuple[Exchange, str]:
    """The question with its tool call, and a made-up result of the call with its answer."""
    values = {slot: value(rng, world, kind) for slot, kind in listing.tool.args.items()}
    if listing.key == "subtract" and int(values["a"]) < int(values["b"]):
        values["a"], values["b"] = values["b"], values["a"]
    arguments = {
        listing.arg_names[slot]: int(values[slot]) if kind == "number" else values[slot]
        for slot, kind in listing.tool.args.items()
    }
    answer = dumps({"tool": listing.name, "args": arguments})
    asked = fill(question, values)
    if not world.heldout:
        asked = compose.question(rng, asked)
    exchange = Exchange("tools", asked, answer, "json")
    result = _result(rng, world, listing.key, values)
    return exchange, result + "\0" + fill(listing.tool.answer, {**values, "result": result})


def _result(rng: random.Random, world: World, key: str, values: dict[str, str]) -> str:
    """What the tool gives back, right for sums."""
    if key in ("add", "subtract", "multiply"):
        a, b = int(values["a"]), int(values["b"])
        return str({"add": a + b, "subtract": a - b, "multiply": a * b}[key])
    weather = rng.choice(tool_turns.WEATHERS)
    made = make_word(rng, world.heldout)
    degrees = f"{rng.randint(-20, 40)} degrees"
    results = {
        "weather": rng.choice(
            [weather, degrees, f"{weather}, {degrees}", f"{degrees} and {weather}"]
        ),
        "time": clock(rng),
        "population": rng.choice([str(rng.randint(900, 9999999)), f"{rng.randint(1, 30)} million"]),
        "translate": made,
        "play": f"{made.capitalize()}",
        "define": rng.choice(tool_turns.MEANINGS),
        "distance": f"{rng.randint(3, 9999)} km",
        "price": rng.choice(
            [
                f"${rng.randint(1, 999)}",
                f"{rng.randint(1, 99)} euros",
                f"${rng.randint(1, 99)}.{rng.randint(10, 99)}",
            ]
        ),
        "search": rng.choice(
            [
                f"{rng.randint(2, 99)} results",
                f"a page by {name(rng, world)}",
                f"a book called {made.capitalize()}",
                f"an article from {made}.com",
            ]
        ),
    }
    return results.get(key, rng.choice(["ok", "done", "OK"]))


def tool_use(rng: random.Random, world: World) -> tuple[str, list[Exchange]]:
    """A system text (may be empty) and exchanges: call, answer from the result, maybe again."""
    keys = rng.sample(list(tool_catalog.TOOLS), rng.choice([1, 2, 2, 3, 3, 4, 4, 5, 6]))
    listings = [_listing(rng, world, key) for key in keys]
    tools = ", ".join(str(listing) for listing in listings)
    chosen = rng.choice(listings)
    exchange, outcome = _call(rng, world, chosen, rng.choice(world.tool_questions[chosen.key]))
    system = ""
    if rng.random() < 0.15:
        system = rng.choice(tool_turns.TOOL_SYSTEMS).replace("{tools}", tools)
        user = exchange.user
    else:
        ask = rng.choice(world.tool_asks)
        user = ask.replace("{tools}", tools).replace("{question}", exchange.user)
    exchanges = [Exchange("tools", user, exchange.assistant, "json")]
    exchanges += _answer(rng, chosen, outcome)
    while rng.random() < 0.3:
        chosen = chosen if rng.random() < 0.5 else rng.choice(listings)
        same = (
            chosen.tool.follow_up
            and exchanges[-2].assistant.startswith(f'{{"tool": "{chosen.name}"')
            and rng.random() < 0.6
        )
        question = chosen.tool.follow_up if same else rng.choice(world.tool_questions[chosen.key])
        following, outcome = _call(rng, world, chosen, question)
        exchanges += [following, *_answer(rng, chosen, outcome)]
    return system, exchanges


def _answer(rng: random.Random, listing: Listing, outcome: str) -> list[Exchange]:
    result, answer = outcome.split("\0")
    ask = (
        rng.choice(tool_turns.RESULT_ASKS)
        .replace("{result}", result)
        .replace("{name}", listing.name)
    )
    key = "" if listing.tool.result == "ok" else result
    return [Exchange("tool_answer", ask, answer, "contains", key)]
