"""Sentences put together from clauses, for many more shapes than a list of templates holds.

Training only: the held-out side and the hand-written cases use none of these clauses.
"""

from __future__ import annotations

import random

from .words import bank, make_word

PERSON_CLAUSES = {
    "age": """
is {age} years old|is {age}|just turned {age}|will be {age} this year|has turned {age}
is about {age} years old|is now {age} years of age|turned {age} in {month}|recently turned {age}
is going to be {age}|feels young at {age}|celebrated birthday number {age}
is not yet {age2} but {age}|has been {age} since {month}|became {age} on {weekday}
""",
    "city": """
lives in {city}|is from {city}|comes from {city}|moved to {city}|has a flat in {city}
grew up in {city}|is based in {city}|stays in {city}|resides in {city}|settled in {city}
studies in {city}|teaches in {city}|runs a shop in {city}|opened a café in {city}
bought a house in {city}|rents a room in {city}|works in {city}|plays in a band in {city}
went back to {city}|is at home in {city}|has been living in {city} since {year}
has spent {n} years in {city}|wrote to me from {city}|is staying in {city}|owns a garden in {city}
has an apartment in {city}|sells flowers in {city}|finally arrived in {city}
never wants to leave {city}|calls {city} home|took the train to {city}|treats animals in {city}
sings in a choir in {city}
""",
    "job": """
works as a {job}|is a {job}|earns a living as a {job}|became a {job}|has a job as a {job}
is employed as a {job}|is a {job} by trade|started as a {job}|is known as a good {job}
retired as a {job}|was hired as a {job}
""",
    "": """
rules a castle|keeps a shop|never sleeps|packed a suitcase
loves {hobby}|has {n} children|likes {hobby}|owns {n} cats|knows {other}|went to school with {other}
enjoys {hobby} a lot|has {n} sisters|started in {year}|speaks {n} languages|is very kind
plays with {other}|is married to {other}|likes long walks|misses the sea|has a new bike
never eats meat|grew up on a farm|has left the village|visits {other} often
""",
}
PERSON_OPENERS = (
    """
My friend {name}|Our colleague {name}|My neighbour {name}|My cousin {name}|A woman called {name}
A man named {name}|Someone called {name}|Our member {name}|The customer {name}|My aunt {name}
My boss {name}|Young {name}|Old {name}|My brother {name}|My daughter {name}|The famous {name}
A guy named {name}|The new one, {name},|A student named {name}|My old friend {name}
The writer {name}|Our guest {name}
""".replace("\n", "|")
    .strip("|")
    .split("|")
)
ASIDES = ["who", "who these days", "who, by the way,", "who currently"]

ORDER_THIRD = (
    """
{customer} ordered|{customer} needs|{customer} would like|{customer} wants|{customer} asked for
{customer} bought|{customer} is looking for|{customer} has requested|{customer} requires
{customer} could use|{customer} will take|{customer} picked up|Our client {customer} needs
My friend {customer} wants to buy|{customer} is getting|{customer} from the office orders
A customer called {customer} bought|{customer} reserved|{customer} chose|Mr. {customer} ordered
Mrs. {customer} would like to have|{customer} decided to get|{customer} came in for
""".replace("\n", "|")
    .strip("|")
    .split("|")
)
ORDER_FIRST = (
    """
I need|I'd like|I want|I am looking for|I'd love to get|We need|We'd like|We want
We are out of cups, so we want|I'll have|I'd like to buy|Could I have|Can we order|May I order
We would like to order|Please pack|Please bring us|Please prepare|Let me have|I just bought
We just got|Yesterday I picked up|Our school needs|The kitchen needs|We'd love
It would be great to have|Add|Ship|Could you pack|Would you send us|Is it possible to get
Hello, I need
""".replace("\n", "|")
    .strip("|")
    .split("|")
)
ORDER_FOR = (
    """
Send|Mail|Bring|Put aside|Wrap|Get ready|Prepare|Hand|Find|Can you bring|Could somebody mail
Would you wrap|We owe|We have to send|I promised|They sold|I sold|We packed|Someone left|Please mail
You can give|Let's send|Take|The driver brings|We have|There are|It's|That makes|Load
""".replace("\n", "|")
    .strip("|")
    .split("|")
)
ORDER_PRICE = (
    """
 at ${price} each| for ${price} each| at ${price} apiece| at {price} dollars each
 at {price} euros apiece|, ${price} each|, each at ${price}|; they cost ${price} each
 (${price} each)|. The price is ${price} each|. They go for ${price}|. They are ${price} each
 with a unit price of ${price}| and pays ${price} each|. I think they are ${price} each
, which are ${price} each| priced at ${price}|. The offer was {price} dollars each
. Each one costs ${price}| and the price was {price} dollars each|. You sell them for ${price}
, ${price} per piece| for {price} dollars apiece|. I saw them for ${price}| that cost ${price} each
. The shop asks for ${price} each|, at a price of ${price}
""".strip("\n")
    .replace("\n", "|")
    .split("|")
)
ORDER_TAILS = [
    "",
    "",
    "",
    "",
    "",
    " for the garden",
    " by {weekday}",
    " for our office",
    " today",
    " for a party",
    " for the kids",
    " for my {other_city} shop",
    " of yours",
    " for next week",
    " into the van",
    " onto the shelf",
    " on the list",
    " in a box",
    " from the window",
    " behind the door",
]
DEALS = [  # something else is had before the wares
    "{customer} had luck with",
    "{customer} found an offer for",
    "{customer} made a bid on",
    "{customer} signed a contract over",
    "{customer} sent a note about",
    "{customer} won a lottery for",
    "We got a bill for",
    "I have a coupon for",
    "{customer} has a chance at",
    "My shop placed a bid for",
    "{customer} wrote a cheque for",
    "{customer} put aside",
    "{customer} laid",
    "{customer} carried",
]

LEADS = (
    """
Good news: |Hey, |Hi, |Just so you know, |I heard that |Don't forget that |As you may know, |
By the way, |Well, |Yes, |I think |They say |Did you know that |Last week I learned that |
As far as I know, |Hello! |Dear all, |FYI: |Quick note: |You know, |To whom it may concern: |
It seems that |Please remember that |Sorry, |Okay, |So, |
""".replace("\n", "")
    .strip("|")
    .split("|")
)
TAILS = (
    """
, as far as I know.|, by the way.|, I believe.|, I think.|, you know.
 and everyone is happy about it.|!|!!| :)|...|. Call me if you have questions.|. More news soon.
. Isn't that nice?|. Thanks a lot!|. Have a nice day.|, thanks.
""".replace("\n", "|")
    .strip("|")
    .split("|")
)


_PERSON = {kind: bank(block) for kind, block in PERSON_CLAUSES.items()}


OTHERS = bank("""
Everybody|Neighbours|Children|The teachers|My parents|We|They|Half the village|The people|Visitors
Old friends|Many|Some|The whole street|Bakers|Doctors|Dogs|Strangers|Our readers|The papers
""")
OTHERS_DO = bank("""
love|like|thanked|invited|follow|trust|admire|envy|met|saw|praise|asked|call|visit|miss|chose|helped
wrote about|talk about|voted for|cheered for|waved at|looked for|laughed with|believe in|found
""")


def _named_late(rng: random.Random) -> str:
    """Others do something with the person, whose name comes after them."""
    who = rng.choice(OTHERS)
    verb = rng.choice(OTHERS_DO) if rng.random() < 0.8 else make_word(rng, heldout=False)
    age, city = rng.choice(_PERSON["age"]), rng.choice(_PERSON["city"])
    style = rng.random()
    if style < 0.4:
        place = rng.choice(["in {city}", "from {city}", "of {city}", "all over {city}"])
        return f"{who} {place} {verb} {{name}}, {rng.choice(ASIDES)} {age}."
    if style < 0.7:
        return f"{who} {verb} {{name}}, {rng.choice(ASIDES)} {age} and {city}."
    return f"{who} {verb} {{name}} ({{age}}), {rng.choice(ASIDES)} {city}."


WHOM = bank("""
To {name}|In the eyes of {name}|According to {name}|As far as {name} knows|With {name}
Ask {name}|Says {name}|If you ask {name}|Without {name}
""")
CITY_IS = bank("""
is home|has everything|feels too small|was a surprise|never gets boring|is where life is
is the finest of all towns|has the kindest people|means the world|looks dull today
will always be home
""")
CITY_HAS = bank("""
is home to|is proud of|welcomes|is where you meet|has been good to|is the home of|waits for|honours
""")


def _city_does(rng: random.Random) -> str:
    """The city is what the sentence is about, not the person."""
    whom = rng.choice(
        ["{name} ({age})", "{age}-year-old {name}", "{name}, {age}", "{name}, aged {age}"]
    )
    verb = rng.choice(CITY_HAS)
    if rng.random() < 0.35:
        return f"{{city}} {verb} {whom}."
    text = rng.choice(WHOM).replace("{name}", whom)
    does = rng.choice(CITY_IS)
    if rng.random() < 0.3:
        word = make_word(rng, heldout=False, english=0.7)
        does = f"{rng.choice(['is', 'has', 'was', 'got'])} {word}"
    return f"{text}, {{city}} {does}."


def person(rng: random.Random) -> str:
    """Two to four clauses about a person, in random order."""
    if rng.random() < 0.12:
        return _named_late(rng)
    if rng.random() < 0.12:
        return _city_does(rng)
    kinds = rng.sample(["age", "city", "job"], rng.choice([2, 2, 3, 3]))
    if rng.random() < 0.35:
        kinds.insert(rng.randint(0, len(kinds)), "")
    clauses = [rng.choice(_PERSON[kind]) for kind in kinds]
    pronoun = rng.choice(["He", "She"])
    text = rng.choice(PERSON_OPENERS) if rng.random() < 0.4 else "{name}"
    if rng.random() < 0.2:
        text = f"{_role(rng)} {{name}}"
        if rng.random() < 0.5:
            return _file_card(rng, text)
    if rng.random() < 0.3 and not text.endswith(","):
        first, second, *clauses = clauses
        text = f"{text}, {rng.choice(ASIDES)} {first}, {second}"
    elif rng.random() < 0.15 and kinds[0] == "age" and not text.endswith(","):
        clauses = clauses[1:]
        text = (
            rng.choice(
                [
                    "At {age}, ",
                    "At the age of {age}, ",
                    "Aged {age}, ",
                    "Only {age}, ",
                    "After {age} years, ",
                    "Though only {age}, ",
                ]
            )
            + text
            + " "
            + clauses.pop(0)
        )
    else:
        text = f"{text} {clauses.pop(0)}"
    for index, clause in enumerate(clauses):
        style = rng.random()
        if style < 0.3:
            text += f". {pronoun} {clause}"
        elif style < 0.45:
            text += f"; {pronoun.lower()} {clause}"
        elif style < 0.85 or index == len(clauses) - 1:
            text += f" and {clause}"
        else:
            text += f", {clause}"
    return text + "."


ROLES = bank("""
Guest|Witness|Student|Member|Captain|Doctor|Professor|Nurse|Sergeant|Reader|Colleague|Neighbour|Aunt
Uncle|Grandma|Coach|Singer|Writer|Customer|Patient|Visitor|Winner|Player|Farmer|Painter|Detective
Lieutenant|Judge|Candidate|Baker|Teacher|Pupil|Tenant|Pilot|Volunteer|Newcomer|Comrade|Chef
""")
CARD_VERBS = bank("""
arrived from|checked in at|called from|flew to|reports from|waits in|was seen in|studies in
works in|signed up in|left for|came home to|got lost in|writes from|landed in|plays in|returned to
performs in
""")


def _role(rng: random.Random) -> str:
    """What somebody is, before the name and no part of it; at times in words nobody knows."""
    if rng.random() < 0.7:
        return rng.choice(ROLES)
    return make_word(rng, heldout=False, english=0.6).capitalize()


def _file_card(rng: random.Random, who: str) -> str:
    """A person as in a list: the age between commas or in brackets."""
    age = rng.choice(
        [", age {age},", ", aged {age},", " ({age})", ", {age},", ", {age} years old,", " at {age}"]
    )
    return f"{who}{age} {rng.choice(CARD_VERBS)} {{city}}."


def order(rng: random.Random) -> str:
    """Who wants how many of what, at what price."""
    if rng.random() < 0.25:
        return _order_for(rng)
    subject = rng.choice(ORDER_THIRD if rng.random() < 0.55 else ORDER_FIRST)
    if rng.random() < 0.12:
        subject = rng.choice(DEALS)
        if rng.random() < 0.3:
            word = make_word(rng, heldout=False, english=0.7)
            subject = f"{{customer}} {rng.choice(['got', 'had', 'made', 'saw'])} a {word} on"
    tail = rng.choice(ORDER_TAILS)
    price = rng.choice(ORDER_PRICE) if rng.random() < 0.85 else ""
    middle = tail + price if rng.random() < 0.5 or "." in price else price + tail
    polite = ", please" if rng.random() < 0.1 and "." not in price else ""
    question = subject.startswith(("Could", "Can", "May", "Would", "Is ")) and "." not in price
    return f"{subject} {{quantity}} {{item}}{middle}{polite}{'?' if question else '.'}"


def _order_for(rng: random.Random) -> str:
    """The buyer last, or before the wares."""
    verb, price = rng.choice(ORDER_FOR), rng.choice(ORDER_PRICE)
    buyer = rng.choice(
        [
            "{customer}",
            "{customer}",
            "Mr. {customer}",
            "our client {customer}",
            "my aunt {customer}",
        ]
    )
    style = rng.random()
    if style < 0.55:
        who = f"{rng.choice(['to', 'for', 'for'])} {buyer}"
        if "." in price:
            return f"{verb} {{quantity}} {{item}} {who}{price}."
        first, second = (f" {who}", price) if rng.random() < 0.5 else (price, f" {who}")
        return f"{verb} {{quantity}} {{item}}{first}{second}."
    if style < 0.75:
        lead = rng.choice(
            [
                "From",
                "Request from",
                "Call from",
                "Note for",
                "Invoice for",
                "Bill for",
                "Mail from",
            ]
        )
        return f"{lead} {buyer}: {{quantity}} {{item}}{price}."
    pays = rng.choice(
        ["pays", "will pay", "gave us", "has paid", "offers", "paid", "is charged", "owes us"]
    )
    each = rng.choice(["${price} each", "${price} for each", "{price} dollars apiece"])
    when = rng.choice(["", "", " today", " on {weekday}", " this week", " by {weekday}"])
    joint = rng.choice(["; ", " and ", ", ", ". "])
    return f"{verb} {{quantity}} {{item}}{when}{joint}{buyer} {pays} {each}."


def dress(rng: random.Random, text: str) -> str:
    """Now and then a lead before the sentence or a tail behind it."""
    if rng.random() < 0.12:
        lead = rng.choice(LEADS)
        for article in ("The ", "My ", "Our ", "There ", "A "):
            if text.startswith(article) and not lead.endswith(("! ", ": ")):
                text = text[0].lower() + text[1:]
        text = lead + text
    if rng.random() < 0.08 and text.endswith("."):
        text = text[:-1] + rng.choice(TAILS)
    return text


QUESTION_LEADS = bank("""
Hey, |Please: |Quick question: |Hi! |I'm hungry. |One more thing: |Hello Sprig, |I was wondering:
Good morning! |Okay, |Next:|Help me please. |Now, |My brother asks: |I'm at work.
Sorry to bother you. |It's for a friend. |We are on holiday. |By the way,|I have a question.
Before I leave: |Well, |I forgot something. |It is late. |Tell me, |I need your help. |Listen:
And now:
""")
QUESTION_TAILS = [
    " Thanks!",
    " Please hurry.",
    " Thank you.",
    " I'd like to know.",
    " It's important.",
    " Any idea?",
    " That would be great.",
    " My boss wants to know.",
    " Let me know.",
]


def question(rng: random.Random, text: str) -> str:
    """Now and then a few words before a tool question or after it."""
    if rng.random() < 0.15:
        text = f"{rng.choice(QUESTION_LEADS).strip()} {text}"
    if rng.random() < 0.08:
        text += rng.choice(QUESTION_TAILS)
    return text
