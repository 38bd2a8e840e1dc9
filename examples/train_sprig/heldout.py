# ruff: noqa: SIM905
"""Held-out templates and vocabularies: no template, and no word of a list here, is trained on.

Shared with training on purpose: the tools' catalogue, the judged dimensions, the cue words of
feelings (a model trained from scratch knows no others), months, weekdays, colors and languages.
"""

from __future__ import annotations

from .feelings import words
from .recall_templates import FACTS, Fact, items as bars
from .tool import lines
from .tools import TOOLS
from .world import World

VOCABULARY: dict[str, list[str]] = {
    "first": """
Wilhelmina Bartholomew Octavia Thaddeus Philippa Cornelius Rosalind Ignatius Beatrix Leopold Saskia
Torvald Ximena Yannick Zelda Quentin Imogen Fergus Niamh Cormac Siobhan Gwendolyn Rhiannon Emrys
Anneliese Ottokar Vaclav Bożena Špela Çağla Gökhan Þóra Øystein Rajesh Lakshmi Nobuko Takeshi
Xiulan Obinna Folake Tendai Makena Itzel Cuauhtémoc Maëlle Gaëtan Isolde Lorenzo Perpetua Dashiell
""".split(),
    "last": """
Abernathy Blackwood Castellano Dragomir Eisenberg Fitzgerald Gallagher Hawthorne Ingersoll Jablonski
Kjeldsen Lindqvist Montgomery Nakagawa Oyelaran Pemberton Quackenbush Ravensdale
Szymański Thorvaldsen
Umarov Villanueva Wetherby Xenakis Yilmaz Zimmermann D'Angelo McTavish Österberg Ferreira
""".split(),
    "city": words("""
Reno|Tampa|Boise|Omaha|Tucson|Halifax|Regina|Cusco|Rosario|Recife|Arequipa|Bergen|Turku|Aalborg
Ghent|Antwerp|Utrecht|Leipzig|Dresden|Salzburg|Graz|Bern|Lausanne|Verona|Pisa|Palermo|Granada
Coimbra|Braga|Galway|Swansea|Aberdeen|Brno|Łódź|Wrocław|Debrecen|Plovdiv|Izmir|Bursa|Odesa|Tbilisi
Yerevan|Tashkent|Lucknow|Pune|Colombo|Yangon|Cebu|Nagoya|Kobe|Daegu|Wuhan|Chengdu|Adelaide|Hobart
Dunedin|Mombasa|Dakar|Abidjan|Windhoek|Salt Lake City|Kansas City|Santa Fe|El Paso|Puerto Montt
Ho Chi Minh City
"""),
    "job": words("""
surgeon|astronomer|beekeeper|blacksmith|bookbinder|cartographer|clockmaker|economist|goldsmith
interpreter|judge|locksmith|midwife|optician|paramedic|roofer|sculptor|shepherd|stonemason|welder
train driver|film director|yoga instructor|tax adviser|crane operator|wedding planner|zoo keeper
"""),
    "company": words(
        "Vandelay|Northgate|Quantum Foods|Silverline|Tidewater Press|Zenith Tools|Hooli"
    ),
    "hobby": words(
        "archery|origami|birdwatching|juggling|rowing|skating|calligraphy|bowling|fencing"
    ),
    "item_noun": words("""
stapler|envelope|tripod|microscope|compass|hammock|wheelbarrow|trumpet|cello|ukulele|skateboard
snowboard|dumbbell|rake|shovel|trowel|sieve|whisk|ladle|corkscrew|thermos|lantern|binder|calculator
projector|router|scanner|webcam|tray|bench|stool|wardrobe|mattress cover|bath mat|bagel|pretzel
waffle|avocado|mango|pineapple|brooch|necklace|bracelet|apron|glove|mitten|sandal|slipper|raincoat
sweater
"""),
    "item_adjective": words("""
crimson|beige|turquoise|ivory|rusty|narrow|tall|sturdy|velvet|linen|bamboo|copper|marble|foldable
rechargeable|handmade|transparent|oval|fluffy|magnetic|adjustable|frozen|salted|mint green|navy
"""),
    "event_kind": words("""
gala|recital|symposium|bake sale|ceremony|banquet|regatta|carnival|webinar|hearing|screening
assembly|orientation|debate|sleepover|barbecue|treasure hunt|talent contest|flea bazaar|graduation
pageant
"""),
    "event_adjective": words("""
monthly|opera|medieval|astronomy|knitting|rowing|sculpture|vegan|alumni|harvest|lantern|blues|ballet
marketing|neighbourhood|folk|comedy|cooking|language|mountain|midnight|founders|gardening|volunteer
"""),
    "place_kind": words("""
Pavilion|Auditorium|Observatory|Chapel|Lodge|Courtyard|Ballroom|Academy|Terrace|Winery|Aquarium
Villa|Greenhouse|Planetarium|Boathouse|Warehouse|Cinema|Palace|Monastery|Lounge
"""),
    "place_adjective": words("""
Imperial|Northern|Seaside|Marble|Copper|Willow|Cedar|Summit|Abbey|Lakeview|Moonlight|Heritage|Cobalt
Orchard|Meadow|Granite|Falcon|Magnolia|Hillside|Regent
"""),
    "food": words(
        "goulash|pierogi|moussaka|gnocchi|couscous|tempura|omelettes|fondue|chili|waffles"
    ),
    "topic": words("""
the life of penguins|volcanoes in Iceland|how submarines work|old steam trains|cheese making
the invention of paper|desert plants|famous violinists|the rules of cricket|wind turbines
whale songs
"""),
    "task": words("""
mow the lawn|iron the shirts|vote|sharpen the knives|empty the dishwasher|stretch my legs
back up the laptop|collect the parcel|defrost the fish|post the letter|tune the piano
"""),
    "thing": words("""
opera|novel|podcast|musical|cruise|sauna|ferry|hostel|kettle|tablet|headset|router|scooter|tent
stove|lasagna|sandwich|salad|steak|coat|sofa|mirror|webinar|tutorial|documentary|exhibition|circus
picnic
"""),
    "room": words(
        "basement|pantry|shed|laundry room|glove box|green trunk|backpack|wardrobe|study"
    ),
}

PERSON = """
People in {city} know {name}, who turned {age} this week.
Let me introduce {name}: {age} years old and living in {city}.
{name} packed the bags at {age} and made {city} home.
For {age}-year-old {name}, {city} is the best place to live.
Have you met {name}? She is {age} and her home is {city}.
{name} wrote to us from {city}: "I am {age} and happy."
The prize goes to {age}-year-old {name} of {city}.
Although only {age}, {name} runs a household in {city}.
{name} grew up by the sea, is {age} and rents a room in {city}.
Passenger {name}, age {age}, boarded in {city}.
I spoke with {name} ({age}), whose house is in {city}.
Our reader {name} from {city}, aged {age}, sent this letter.
A {job} named {name} lives in {city}; she is {age}.
{name} earns money as a {job} in {city} at the age of {age}.
By day {name}, {age}, is a {job} in {city}.
{name} trained as a {job} and is {age} today.
""".strip().splitlines()
ORDER = """
{customer} asked for {quantity} {item}, which cost ${price} each.
Could you ship {quantity} {item} to {customer}? We agreed on ${price} each.
{customer} put {quantity} {item} into the basket at ${price} apiece.
New order by {customer}: {quantity} {item}; unit price ${price}.
I am looking for {quantity} {item}, and I can pay ${price} for each.
Reserve {quantity} {item} at {price} dollars for {customer}.
{customer} got a deal on {quantity} {item}: just ${price} each.
The office is getting {quantity} {item} for ${price} each from the store.
{customer} spent ${price} on each of the {quantity} {item}.
Deliver {quantity} {item} tomorrow; {customer} pays ${price} for each.
My order is {quantity} {item} at {price} euros each, thank you.
Someone bought {quantity} {item} for ${price} each this morning.
""".strip().splitlines()
EVENT = """
Mark your diary for the {title}, which is set for {date} at {place}.
Guests will gather at {place} on {date} for the {title}.
The {title} has found a home at {place} and opens on {date}.
Doors to the {title} open on {date} at {place}.
Our club holds its {title} at {place} on {date}.
They scheduled the {title} for {date} in {place}.
Because of the rain the {title} now happens on {date} at {place}.
You'll find us at {place} on {date} for the {title}.
Volunteers are needed for the {title} on {date} at {place}.
{place} opens its doors on {date} for the {title}.
The choir will sing at the {title} on {date} at {place}.
Be at {place} by {time} on {date} for the {title}.
""".strip().splitlines()
EXTRACT_ASKS = [
    "Extract {fields} as JSON: {text}",
    "Extract {fields} as JSON: {text}",
    "Pull out {fields} as JSON: {text}",
    "Write {fields} of this as JSON: {text}",
    "I need the {and_fields} as JSON. {text}",
    "As JSON, what are {and_fields}? {text}",
    "Extract {and_fields} into JSON: {text}",
]
TOOL_QUESTIONS = {
    "weather": lines(
        "What's the weather doing in {city}?\nCould you check the weather in {city}?\n"
        "Is it sunny over in {city} today?\nDo they have rain in {city}?"
    ),
    "time": lines(
        "Could you check what time it is in {city}?\nWhat hour is it in {city}?\n"
        "I wonder what time it is in {city}."
    ),
    "population": lines(
        "How many people are living in {city}?\nI'd like to know the population of {city}."
    ),
    "add": lines(
        "Please add {a} and {b}.\nWhat do I get for {a} plus {b}?\nCan you work out {a} + {b}?"
    ),
    "subtract": lines(
        "Please subtract {b} from {a}.\nWhat do I get for {a} minus {b}?\n"
        "Can you work out {a} - {b}?"
    ),
    "multiply": lines("Please multiply {a} by {b}.\nWhat do I get for {a} times {b}?"),
    "search": lines(
        "Do a search on {query}.\nI'm curious about {query}, find me something.\n"
        "Please search the internet for {query}."
    ),
    "translate": lines(
        "Could you translate {text} into {language}?\n"
        "In {language}, how would I say {text}?\nI want {text} translated to {language}."
    ),
    "remind": lines(
        "I'd like a reminder at {time} to {text}.\nMake sure I {text} at {time}, remind me.\n"
        "Could you remind me to {text} at {time}?"
    ),
    "play": lines(
        "I'd love to listen to {artist}.\nCould you play some music by {artist}?\n"
        "Play me a song from {artist}."
    ),
    "call": lines("Could you call {name}?\nGet {name} on the phone.\nI'd like to call {name} now."),
    "email": lines(
        "Could you send {to} an email about {subject}?\nWrite {to} an email, it is about {subject}."
    ),
    "timer": lines(
        "Could you set a timer for {minutes} minutes?\nGive me {minutes} minutes on the timer.\n"
        "Start the timer, {minutes} minutes."
    ),
    "define": lines(
        "Could you define {word}?\nI don't know the word {word}, what does it mean?\n"
        "What's the meaning of the word {word}?"
    ),
    "distance": lines(
        "How many km is it from {origin} to {destination}?\n"
        "Could you tell me how far {origin} is from {destination}?"
    ),
    "price": lines(
        "Could you tell me what a {item} costs?\nWhat do they charge for a {item}?\n"
        "How much would a {item} cost me?"
    ),
}
TOOL_ASKS = [
    "Tools: {tools}\n{question}",
    "Tools: {tools}\n{question}",
    "You have these tools: {tools}\n{question}",
    "Tools: {tools}\nUser: {question}",
]
FEELING = """
All in all, the {thing} was {cue}.
My verdict on this {thing}: {cue}.
After a week I can say that the {thing} is {cue}.
To be fair, the {thing} was {cue} and so was the {thing2}.
What can I say, a {cue1} {thing}.
Both of us agreed that the {thing} is {cue}.
{does} the whole {thing}. {end}
You will see: the {thing} is {cue}. {end}
I must admit that {cue1} {thing} surprised me. {end}
I never thought the {thing} would be this {cue1}.
The {thing} is not {anti}, I promise.
No, the {thing} really isn't {anti}.
Our evening: a {cue1} {thing} and a {cue3} {thing2}.
A friend told me the {thing} is {cue}, and she is right.
""".strip().splitlines()
NEUTRAL = """
The {thing} leaves {city} on {weekday}.
You will find the {thing} on page {n}.
The {thing} comes from {city}.
{name} will bring the {thing} on {weekday}.
The {thing} has been in {city} since {year}.
Please put the {thing} beside the {thing2}.
The {thing} is about {n} meters long.
There is one {thing} for {n} people.
They sell the {thing} in {city} from {weekday} on.
The {thing} takes place in {month}.
""".strip().splitlines()
SENTIMENT_ASKS = [
    "Is this review {options}? {text}",
    "Is this comment {options}? {text}",
    "How does this sound, {options}? {text}",
    "Decide whether this is {options}: {text}",
    "Sentiment of this comment, {options}: {text}",
]
VAGUE = """
There was this {t}, sort of, and then some other stuff.
It had something to do with the {t}, I mean, kind of.
You know, the {t} or that other thing somewhere.
Whatever it was, the {t} was somehow in it, you know.
Well, the {t} stuff was like, you know, whatever.
""".strip().splitlines()
DETAILED = """
{name} ordered the {t} at {time} on {weekday} for {n} guests.
Between {city} and {other_city} we saw the {t} {n} times in {year}.
On {month} {n} {name} showed the {t} to {m} people.
The {t} in {city} was {m} years old when {name} found it.
""".strip().splitlines()
SPARSE = """
The {t} came up again.
We were thinking about the {t}.
My sister likes the {t}.
They told us of the {t}.
The {t} was there as well.
""".strip().splitlines()
JUDGE_ASKS = [
    "Judge the {dimension}: {options}?",
    "Judge the {dimension}: {options}?",
    "Now judge the {dimension}: {options}?",
    "Would you call the {dimension} {options}?",
    "{Dimension}, {options}?",
]


def _fact(kind: str, statements: str, questions: str) -> Fact:
    """A held-out form of the trained fact `kind`."""
    old = FACTS[kind]
    return Fact(old.kind, bars(statements), bars(questions), old.answer, old.relations)


HELDOUT_FACTS = {
    "name": _fact(
        "name",
        "Just so you know, my name is {v}.|Hi there, I am {v} and I am new here."
        "|They named me {v}.",
        "So what is my name?|Could you tell me my name?|Can you still tell my name?",
    ),
    "city": _fact(
        "city",
        "These days I live in {v}.|I have been living in {v} for years.",
        "Where do I live these days?|What city do I live in?",
    ),
    "called": _fact(
        "called",
        "By the way, my {r} is called {v}.|We named my {r} {v}.",
        "What did I say my {r} is called?|So what is my {r} called?",
    ),
    "who": _fact("who", "By the way, my {r} is {v}.", "So who is my {r}?|Who is my {r} again?"),
    "color": _fact("color", "Of all colors I like {v} most.", "What color do I like best?"),
    "food": _fact("food", "For dinner I like {v} best.", "Which food do I like best?"),
    "hobby": _fact("hobby", "My favourite hobby these days is {v}.", "So what is my hobby?"),
    "job": _fact(
        "job", "For a living I work as a {v}.", "So what is my job?|What is my profession?"
    ),
    "age": _fact(
        "age", "As of today I am {v} years old.", "So how old am I?|How old did I say I am?"
    ),
    "code": _fact(
        "code",
        "You should know that the {r} is {v}.|Keep the {r} {v} for me.",
        "So what is the {r}?|Can you give me the {r}?",
    ),
    "time": _fact(
        "time",
        "Today the {r} is at {v}.|They moved the {r} to {v}.",
        "So when is the {r}?|Can you tell me when the {r} is?",
    ),
    "place": _fact(
        "place",
        "Just now I put the {r} in the {v}.|You can find the {r} in the {v}.",
        "So where is the {r}?|Can you tell me where the {r} is?",
    ),
}
SUM_ASKS = [
    "What is {a} {op} {b}?",
    "Please work out {a} {op} {b}.",
    "Tell me what {a} {op} {b} is.",
    "Can you compute {a} {op} {b}?",
    "What does {a} {word} {b} make?",
    "{a} {op} {b} equals?",
]
ADD_ASKS = [
    "What do I get if I add {a} and {b}?",
    "{name} finds {a} {thing}s and then {b} more. How many now?",
]
SUB_ASKS = [
    "What remains if I take {b} from {a}?",
    "{name} owns {a} {thing}s and sells {b}. How many remain?",
]

HELDOUT = World(
    heldout=True,
    made=0.4,
    vocabulary=VOCABULARY,
    records={"person": PERSON, "order": ORDER, "event": EVENT},
    extract_asks=EXTRACT_ASKS,
    tool_questions=TOOL_QUESTIONS,
    tool_asks=TOOL_ASKS,
    feelings=FEELING,
    neutral=NEUTRAL,
    sentiment_asks=SENTIMENT_ASKS,
    vague=VAGUE,
    detailed=DETAILED,
    sparse=SPARSE,
    topic_words={
        "food": words("pizza recipe|lunch menu|cheese sauce|salad dinner|bread soup|soup lunch"),
        "travel": words("airport hotel|holiday flight|cruise tour|hotel passport|ferry journey"),
        "work": words("client meeting|project report|office contract|salary invoice|boss budget"),
        "sport": words(
            "football race|tennis tournament|marathon trophy|basketball league|race stadium"
        ),
    },
    judge_asks=JUDGE_ASKS,
    facts=HELDOUT_FACTS,
    sum_asks=SUM_ASKS,
    add_asks=ADD_ASKS,
    sub_asks=SUB_ASKS,
)
assert set(TOOL_QUESTIONS) == set(TOOLS)
