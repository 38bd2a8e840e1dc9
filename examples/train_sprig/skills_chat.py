"""Exchanges of the text skills: sentiment, judging, sums, recall and small talk."""

from __future__ import annotations

import random
from dataclasses import dataclass

from . import compose, feelings, markers, natural, noise, recall_templates, words
from .skills import Exchange, dumps
from .world import World, distractors, fill, name, value


def _cue_values(rng: random.Random, good: bool) -> dict[str, str]:
    """Cue words of one polarity, and one of the other for negations."""
    ours, theirs = (feelings.GOOD, feelings.BAD) if good else (feelings.BAD, feelings.GOOD)

    def cue() -> str:
        return rng.choice(feelings.INTENSIFIERS) + rng.choice(ours)

    plain = [w for w in ours if not w.startswith(("a ", "the ", "worth", "better", "worse"))]
    anti = [w for w in theirs if not w.startswith(("a ", "the ", "worth", "better", "worse"))]
    return {
        "cue": cue(),
        "cue2": cue(),
        "cue1": rng.choice(plain),
        "cue3": rng.choice(plain),
        "anti": rng.choice(anti),
        "does": rng.choice(feelings.GOOD_DOES if good else feelings.BAD_DOES),
        "end": rng.choice(feelings.GOOD_ENDS if good else feelings.BAD_ENDS),
    }


def feeling_text(rng: random.Random, world: World, label: str) -> str:
    """A text of the asked sentiment."""
    values: dict[str, str] = {**distractors(rng, world), "name": name(rng, world)}
    values |= {
        "thing": value(rng, world, "thing"),
        "thing2": value(rng, world, "thing"),
        "city": value(rng, world, "city"),
        "time": value(rng, world, "time"),
    }
    values["color"], values["color2"] = rng.sample(words.COLORS, 2)
    bank = world.neutral if label == "neutral" else world.feelings
    parts = []
    for _ in range(rng.choice([1, 1, 1, 2, 2, 3])):
        if label != "neutral":
            values |= _cue_values(rng, label == "positive")
        template = rng.choice(bank)
        if not world.heldout and label != "neutral" and rng.random() < 0.3:
            template = rng.choice(natural.PRAISE if label == "positive" else natural.COMPLAINT)
        if not world.heldout and "{anti}" not in template and rng.random() < 0.2:
            template = noise.frame(rng, template)
        parts.append(fill(template, values))
        values["thing"] = value(rng, world, "thing")
    if label != "neutral" and rng.random() < 0.15:
        parts.insert(0, fill(rng.choice(world.neutral), values))
    text = " ".join(parts)
    return text.lower() if rng.random() < 0.05 else text


def _dressed(rng: random.Random, world: World, text: str) -> str:
    """On the training side, now and then a few words around what the user says."""
    return text if world.heldout or rng.random() < 0.5 else compose.question(rng, text)


def sentiment(rng: random.Random, world: World) -> list[Exchange]:
    """One word: positive, negative, or neutral where the user lists it."""
    labels = ["positive", "negative"]
    if rng.random() < 0.55:
        labels.append("neutral")
    label = rng.choice(labels)
    if rng.random() < 0.25:
        rng.shuffle(labels)
    options = rng.choice([f"{', '.join(labels[:-1])} or {labels[-1]}"] * 3 + [", ".join(labels)])
    ask = rng.choice(world.sentiment_asks)
    text = feeling_text(rng, world, label)
    user = ask.replace("{options}", options).replace("{text}", text)
    return [Exchange("sentiment", user, label, "word")]


@dataclass(frozen=True)
class Judged:
    """A text and its right word on each dimension."""

    text: str
    verdicts: dict[str, str]


def judged_text(rng: random.Random, world: World) -> Judged:
    """A text that decides every dimension by construction."""
    topic = rng.choice(list(feelings.DIMENSIONS["topic"]))
    clarity = rng.choice(["clear", "vague"])
    detail = "sparse" if clarity == "vague" else rng.choice(["detailed", "sparse"])
    bank = world.vague if clarity == "vague" else getattr(world, detail)
    length = rng.choice(["short", "long"])
    sentences = []
    for _ in range(rng.choice([1, 2]) if length == "short" else rng.choice([4, 5, 6])):
        values = distractors(rng, world) | {
            "t": rng.choice(world.topic_words[topic]),
            "name": name(rng, world),
            "city": value(rng, world, "city"),
            "time": value(rng, world, "time"),
        }
        natural_bank = natural.TOPIC_SENTENCES["vague" if clarity == "vague" else detail][topic]
        use_natural = not world.heldout and rng.random() < 0.5
        sentences.append(fill(rng.choice(natural_bank if use_natural else bank), values))
    tone = rng.choice(["friendly", "neutral", "rude"])
    urgency, certainty = rng.choice(["urgent", "calm"]), rng.choice(["sure", "unsure"])
    if length == "short":  # at most two markers beside, so that short stays short
        keep = rng.choice(["tone", "urgency", "certainty", "tone urgency", "none"])
        tone = tone if "tone" in keep else "neutral"
        urgency = urgency if "urgency" in keep else "calm"
        certainty = certainty if keep == "certainty" else "sure"
    listed = {
        "friendly": feelings.FRIENDLY,
        "rude": feelings.RUDE,
        "urgent": feelings.URGENT,
        "unsure": feelings.UNSURE,
    }
    optional = {"calm": feelings.CALM, "sure": feelings.SURE}
    for word in (tone, urgency, certainty):
        chosen = listed.get(word)
        if word in optional and length == "long" and rng.random() < 0.3:
            chosen = optional[word]
        if chosen:
            composed = not world.heldout and rng.random() < 0.6
            sentence = markers.marker(rng, word) if composed else rng.choice(chosen)
            spot = rng.choice([0, len(sentences), rng.randint(0, len(sentences))])
            sentences.insert(spot, sentence)
    text = " ".join(sentences)
    verdicts = {
        "clarity": clarity,
        "tone": tone,
        "length": length,
        "detail": detail,
        "urgency": urgency,
        "certainty": certainty,
        "topic": topic,
    }
    count = len(text.split())
    if (length == "short") != (count <= 24) or 24 < count < 28:
        return judged_text(rng, world)
    return Judged(text, verdicts)


def judging(rng: random.Random, world: World) -> tuple[list[str], list[Exchange]]:
    """Leading turns (user text, maybe an assistant's 'Ready.') and one exchange per dimension.

    An empty list of leading turns means that the first question carries the text.
    """
    judged = judged_text(rng, world)
    pool = [*feelings.DIMENSIONS, "topic", "topic", "tone", "urgency"]  # the hard ones more often
    asked = list(dict.fromkeys(rng.sample(pool, rng.choice([1, 2, 3, 3, 4, 5]))))
    exchanges = []
    for dimension in asked:
        options = list(feelings.DIMENSIONS[dimension])
        if rng.random() < 0.2:
            rng.shuffle(options)
        listing = f"{', '.join(options[:-1])} or {options[-1]}"
        ask = (
            feelings.JUDGE_ASKS[0]
            if not world.heldout and rng.random() < 0.3
            else rng.choice(world.judge_asks)
        )
        user = (
            ask.replace("{dimension}", dimension)
            .replace("{options}", listing)
            .replace("{Dimension}", dimension.capitalize())
        )
        user = _dressed(rng, world, user)
        exchanges.append(Exchange("judging", user, judged.verdicts[dimension], "word"))
    text = rng.choice(feelings.JUDGE_TEXTS).replace("{text}", judged.text)
    style = rng.random()
    if style < 0.45:
        return [text, rng.choice(feelings.JUDGE_READY)], exchanges
    if style < 0.7:
        return [text], exchanges
    if style < 0.8:
        user = f"Judge {', '.join(asked)} as JSON.\n{text}"
        answer = dumps({dimension: judged.verdicts[dimension] for dimension in asked})
        return [], [Exchange("judging", user, answer, "json")]
    first = exchanges[0]
    order = f"{text}\n{first.user}" if rng.random() < 0.5 else f"{first.user}\n{text}"
    return [], [Exchange("judging", order, first.assistant, "word"), *exchanges[1:]]


def worked_sum(a: int, b: int) -> str:
    """The worked form: the sum itself, units, tens, then the answer."""
    ones = a % 10 + b % 10
    carry = f"+{ones // 10}" if ones >= 10 else ""
    tens = a // 10 + b // 10 + ones // 10
    return f"{a}+{b}: {a % 10}+{b % 10}={ones}, {a // 10}+{b // 10}{carry}={tens}, so {a + b}"


def worked_difference(a: int, b: int) -> str:
    """The worked form; a smaller first number is swapped and the answer gets its sign."""
    first, second = max(a, b), min(a, b)
    swapped = f"{a}<{b}, " if a < b else ""
    borrow = first % 10 < second % 10
    top = first % 10 + 10 * borrow
    less = "-1" if borrow else ""
    tens = first // 10 - second // 10 - borrow
    return (
        f"{a}-{b}: {swapped}{top}-{second % 10}={top - second % 10}, "
        f"{first // 10}-{second // 10}{less}={tens}, so {a - b}"
    )


def sums(rng: random.Random, world: World) -> list[Exchange]:
    """A sum or difference of numbers to 99, at times with a further step."""
    exchanges = []
    plus = rng.random() < 0.5
    a, b = rng.randint(0, 99), rng.randint(0, 99)
    if not plus and a < b and rng.random() < 0.7:
        a, b = b, a
    stories = world.add_asks if plus else world.sub_asks
    ask = rng.choice(world.sum_asks if rng.random() < 0.7 else stories)
    if "thing" in ask and not plus and a < b:
        a, b = b, a
    values = {
        "a": str(a),
        "b": str(b),
        "op": "+" if plus else "-",
        "word": "plus" if plus else "minus",
        "name": name(rng, world).split()[0],
        "other": name(rng, world).split()[0],
        "thing": value(rng, world, "word"),
    }
    if rng.random() < 0.04:
        values["a"], values["b"] = words.number_word(a), words.number_word(b)
    answer = worked_sum(a, b) if plus else worked_difference(a, b)
    exchanges.append(Exchange("sums", _dressed(rng, world, fill(ask, values)), answer, "number"))
    total = a + b if plus else a - b
    while 0 <= total <= 99 and rng.random() < 0.25 and not world.heldout:
        plus, b = rng.random() < 0.5, rng.randint(0, 99)
        ask = rng.choice(recall_templates.CHAIN_ADD if plus else recall_templates.CHAIN_SUB)
        answer = worked_sum(total, b) if plus else worked_difference(total, b)
        exchanges.append(Exchange("sums", ask.replace("{b}", str(b)), answer, "number"))
        total = total + b if plus else total - b
    return exchanges


def _join(rng: random.Random, first: str, second: str) -> str:
    """Two statements in one turn, as two sentences or one."""
    if rng.random() < 0.5 or first[-1] != "." or not second.startswith(("My ", "I ", "I'm ")):
        return f"{first} {second}"
    lowered = second if second.startswith("I") else second[0].lower() + second[1:]
    return f"{first[:-1]} and {lowered}"


def recall(rng: random.Random, world: World) -> tuple[list[Exchange], list[Exchange]]:
    """Statements and the later questions about them; the caller puts turns between."""
    statements: list[Exchange] = []
    questions: list[Exchange] = []
    kinds = rng.sample(list(world.facts), rng.choice([1, 1, 2, 2, 3, 4]))
    if rng.random() < 0.3 and "name" not in kinds:
        kinds[0] = "name"
    for kind in kinds:
        fact = world.facts[kind]
        values = {"v": value(rng, world, fact.kind), "r": rng.choice(fact.relations)}
        if kind in ("called", "time", "place") and not world.heldout and rng.random() < 0.25:
            values["r"] = value(rng, world, "word")
        if kind == "name" and rng.random() < 0.6:
            values["v"] = values["v"].split()[0]
        acks = recall_templates.NAME_ACKS if kind == "name" else recall_templates.ACKS
        statement = rng.choice(fact.statements)
        if not world.heldout and rng.random() < 0.3:
            statement = noise.extend(rng, statement)
        stated, ack = fill(statement, values), fill(rng.choice(acks), values)
        stated = _dressed(rng, world, stated)
        if statements and rng.random() < 0.25:
            last = statements.pop()
            stated = _join(rng, last.user, stated)
            ack = rng.choice(recall_templates.ACKS)
        statements.append(Exchange("recall_statement", stated, ack))
        question = rng.choice(fact.questions)
        if not world.heldout and rng.random() < 0.2:
            question = noise.extend(rng, question)
        questions.append(
            Exchange(
                "recall",
                _dressed(rng, world, fill(question, values)),
                fill(fact.answer, values),
                "contains",
                values["v"],
            )
        )
    rng.shuffle(questions)
    return statements, questions[: rng.choice([1, 2, 3])]


def small_talk(rng: random.Random, _world: World) -> list[Exchange]:
    """Greetings and who Sprig is."""
    asks, answer = rng.choice(recall_templates.SMALL_TALK)
    return [Exchange("small_talk", rng.choice(asks.split("|")), answer)]
