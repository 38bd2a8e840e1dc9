"""Sentences about events, put together from clauses; training only, as `compose`."""

from __future__ import annotations

import random

from .words import bank, make_word

EVENT_BOTH = (
    """
The {title} {verb} {when_where}|Our {title} {verb} {when_where}
This year the {title} {verb} {when_where}|The big {title} {verb} {when_where}
Your {title} {verb} {when_where}|The next {title} {verb} {when_where}
Hope to see you at the {title} {when_where}|I can't wait for the {title} {when_where}
Are you free for a {title} {when_where}|I'd like to invite you to my {title} {when_where}
We are planning a {title} {when_where}|Tickets for the {title} {when_where} cost ${n}
I bought tickets for the {title} {when_where}|You are welcome at our {title} {when_where}
{other} plans a {title} {when_where}|The school has a {title} {when_where}
The club meets for a {title} {when_where}|Please come to the {title} {when_where}
Let's not miss the {title} {when_where}|The mayor opens the {title} {when_where}
Everybody talks about the {title} {when_where}|They announced a {title} {when_where}
The town holds a {title} {when_where}|I will be at the {title} {when_where}
We meet for the {title} {when_where}|Nobody should miss the {title} {when_where}
My {title} {verb} {when_where}
""".replace("\n", "|")
    .strip("|")
    .split("|")
)
EVENT_VERBS = (
    """
takes place|is|will be|happens|starts|kicks off|is planned|is scheduled|has been set|goes ahead
was moved|is happening|will start|is going to be|is taking place|will be held|opens|begins
comes back|returns
""".replace("\n", "|")
    .strip("|")
    .split("|")
)
EVENT_WHEN = [
    "on {date}",
    "on {date}",
    "on {date}",
    "{date}",
    "on {date} at {time}",
    "at {time} on {date}",
    "by {time} on {date}",
    "from {time} on {date}",
    "around {time} on {date}",
    "{date} at {time}",
]
EVENT_WHERE = ["at {place}", "at {place}", "in {place}", "over at {place}", "here at {place}"]
EVENT_SPLIT = [
    ". It's {x}",
    ". We meet {x}",
    "! We'll be {x}",
    ". It will be {x}",
    ". You'll find it {x}",
    ", {x}",
    " and it is {x}",
    ". Please be there {x}",
    "; it is {x}",
    ". Come {x}",
]


def event(rng: random.Random) -> str:
    """What happens when and where."""
    when, where = rng.choice(EVENT_WHEN), rng.choice(EVENT_WHERE)
    first, second = (when, where) if rng.random() < 0.5 else (where, when)
    if rng.random() < 0.3:
        joined = first + rng.choice(EVENT_SPLIT).replace("{x}", second)
    else:
        joined = f"{first} {second}"
    style = rng.random()
    if style < 0.27:
        return _event_with(rng, joined)
    if style < 0.45:
        return _event_last(rng, joined)
    if style < 0.5:
        got = rng.choice(["has got", "has", "gets", "will have", "has won", "needs", "had"])
        word = rng.choice(["home", "place", "roof"]) if rng.random() < 0.4 else _word(rng)
        return f"The {{title}} {got} a {word} {joined}."
    if style < 0.64:
        thing = rng.choice(THINGS_OF_EVENTS)
        if rng.random() < 0.4:
            link = rng.choice(["to", "of", "for", "at", "from"])
            thing = f"{_word(rng).capitalize()}{rng.choice(['s', '', 's'])} {link}"
        does = rng.choice(THINGS_DO)
        if rng.random() < 0.4:
            does = _word(rng) if rng.random() < 0.5 else rng.choice(["open", "close"])
        return f"{thing} the {{title}} {does} {joined}."
    shape = rng.choice(EVENT_BOTH)
    shape = shape.replace("{verb}", rng.choice(EVENT_VERBS)).replace("{when_where}", joined)
    return shape + rng.choice([".", ".", ".", "!"])


ACTORS = bank("""
band|mayor|dancers|orchestra|neighbours|team|director|twins|drummers|children|painter|jury|magician
students|clowns|president|twelve cooks|players|poet|photographers|singers|speaker|farmers
old friends
""")
ACTS = bank("""
will perform|speak|are going to help|will cook|play|performs|will talk|is going to read|will be
are expected|appear|help out|wait for you|will film|answers questions|will judge|laugh|are needed
""")


HELD = bank("""
holds|hosts|gives|organises|throws|opens|plans|prepares|announced|invites you to|celebrates|starts
moves|offers|leads|repeats|is known for|will have|cancelled|finally gets
""")


def _word(rng: random.Random) -> str:
    return make_word(rng, heldout=False, english=0.8)


GATHER = bank("""
We gather|Everyone stands|Meet me|See you|We all sit|Please wait|Let us be|Stay|I will stand
Sing with us|People wait|The team arrives|You can find me|Dinner is served|Bring a friend
Come over|Find a seat|Stand|It gets loud|We open|The lights go on|Doors close|Do not be late
My uncle waits|Half the town is
""")
BECAUSE = [
    "for",
    "for",
    "for",
    "to see",
    "because of",
    "at",
    "to enjoy",
    "before",
    "to join",
    "to start",
]
AWAITS = bank("shows|welcomes|awaits|serves|presents|closes|lights|unlocks|expects")
THINGS_OF_EVENTS = bank("""
Tickets for|Preparations for|The queue for|Work on|Rehearsals for|The way to|The dancers of
Seats for|The last day of|Helpers of|Sales for|The drums of|The lamps of|The roads to
The winners of|Songs for|Posters of|The guests of|Photos from|The speeches at
""")
THINGS_DO = bank("""
open|start|begin|go on sale|arrive|are sold|gather|close|shine|sound|leave|meet|are shown|wait|stop
are made|sing|can be had|are given out|appear|finish|end|change|move|lead
""")


def _event_last(rng: random.Random, when_where: str) -> str:
    """When and where first, then what for; at times the place is who does it."""
    whose = rng.choice(["the", "the", "the", "our", "a", "this year's"])
    if rng.random() < 0.3:
        verb = rng.choice(AWAITS)
        link = rng.choice(["its gates", "its halls", "us", "visitors", "its guests", "the crowd"])
        when = rng.choice(EVENT_WHEN)
        return f"{{place}} {verb} {link} {when} for {whose} {{title}}."
    return f"{rng.choice(GATHER)} {when_where} {rng.choice(BECAUSE)} {whose} {{title}}."


def _event_with(rng: random.Random, when_where: str) -> str:
    """Somebody does something there: the title is what it is at, not who does it."""
    actor = rng.choice(ACTORS) if rng.random() < 0.7 else make_word(rng, heldout=False)
    who = rng.choice(["The", "The", "Our", "Some", "Many"])
    if rng.random() < 0.4:
        held = rng.choice(HELD)
        whose = rng.choice(["its", "a", "the", "another", "this year's", "his", "their"])
        return f"{who} {actor} {held} {whose} {{title}} {when_where}."
    link = rng.choice(["at", "at", "at", "for", "during", "in"])
    act = rng.choice(ACTS)
    if rng.random() < 0.4:  # one that nobody knows
        act = rng.choice(["", "will ", "can ", "must ", "may "]) + _word(rng)
    return f"{who} {actor} {act} {link} the {{title}} {when_where}."
