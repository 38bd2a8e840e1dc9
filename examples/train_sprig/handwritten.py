"""Forty cases written by hand, in no template's shape. They are scored and never trained on."""

from __future__ import annotations

from .cases import Case
from .generate import Turn
from .skills import Exchange, dumps

JSON_ASK = "Extract {fields} as JSON: {text}"
RECORDS: list[tuple[str, dict[str, object]]] = [
    (
        "My sister Margarethe turned thirty-one in May; she's been living in Bratislava ever since "
        "college.",
        {"name": "Margarethe", "age": 31, "city": "Bratislava"},
    ),
    (
        "Tobias Ekwall, who recently celebrated his 58th birthday, runs a bakery in Uppsala.",
        {"name": "Tobias Ekwall", "age": 58, "city": "Uppsala"},
    ),
    (
        "Although she's only 19, Priyanka Deshmukh already has her own apartment in Nagpur.",
        {"name": "Priyanka Deshmukh", "age": 19, "city": "Nagpur"},
    ),
    ("hey it's Jonas, 27, writing from Tallinn", {"name": "Jonas", "age": 27, "city": "Tallinn"}),
    (
        "After 44 years on this planet, Ruxandra finally left her village for Timișoara.",
        {"name": "Ruxandra", "age": 44, "city": "Timișoara"},
    ),
    (
        "Dr. Feldman treats patients in Duluth as a cardiologist and is 63.",
        {"age": 63, "city": "Duluth", "job": "cardiologist"},
    ),
    (
        "Could I please have 3 cherry pies? I believe they're $14.25 each.",
        {"item": "cherry pies", "quantity": 3, "price": 14.25},
    ),
    (
        "Ms. Halvorsen needs fifteen plastic chairs for the terrace, and the quote was 22"
        " dollars apiece.",
        {"item": "plastic chairs", "quantity": 15, "price": 22},
    ),
    (
        "We'd be happy to take 8 of your walnut cutting boards at $39.90 each.",
        {"item": "walnut cutting boards", "quantity": 8, "price": 39.9},
    ),
    (
        "Dmytro from the workshop wants 250 steel bolts; they go for $0.35 each.",
        {"item": "steel bolts", "quantity": 250, "price": 0.35},
    ),
    (
        "Don't forget that the Harvest Supper is happening at Saint Anne's Church on October 14.",
        {"title": "Harvest Supper", "date": "October 14", "place": "Saint Anne's Church"},
    ),
    (
        "Hope you can make it to our housewarming party on Saturday! We'll be in Elm Street.",
        {"title": "housewarming party", "date": "Saturday", "place": "Elm Street"},
    ),
    (
        "The town council meets for a budget hearing in the Civic Center on 3 June.",
        {"title": "budget hearing", "date": "3 June", "place": "Civic Center"},
    ),
]
TOOL_CASES: list[tuple[str, str, str, dict[str, object]]] = [
    (
        "weather(city), add(a, b), search(query)",
        "Should I bring a raincoat to Rotterdam?",
        "weather",
        {"city": "Rotterdam"},
    ),
    (
        "time(city), weather(city), call(name)",
        "My aunt lives in Wellington, is it too late to ring her? What's the time there?",
        "time",
        {"city": "Wellington"},
    ),
    (
        "add(a, b), subtract(a, b), multiply(a, b)",
        "I bought a book for 23 dollars and a pen for 9. How much is that together?",
        "add",
        {"a": 23, "b": 9},
    ),
    (
        "multiply(a, b), timer(minutes), define(word)",
        "The pasta has to boil for 11 minutes, let me know when it's ready.",
        "timer",
        {"minutes": 11},
    ),
    (
        "translate(text, language), define(word), play(artist)",
        "How would a German person say butterfly?",
        "translate",
        {"text": "butterfly", "language": "German"},
    ),
    (
        "search(query), email(to, subject), remind(text, time)",
        "Please don't let me forget to feed the hamster at 6 pm.",
        "remind",
        {"text": "feed the hamster", "time": "6 pm"},
    ),
    (
        "call(name), play(artist), population(city)",
        "I'm in the mood for Nina Simone, put her on.",
        "play",
        {"artist": "Nina Simone"},
    ),
]
REVIEWS: list[tuple[str, str]] = [
    ("Never have I eaten such wonderful dumplings, and the owner was a sweetheart.", "positive"),
    ("The heel came off my left boot before I even reached the office.", "negative"),
    ("The parcel weighs two kilos and was shipped from Ohio.", "neutral"),
    ("Our guide was late, grumpy and clearly bored by her own stories.", "negative"),
    ("Honestly the best haircut I've had in years, thanks Mario!", "positive"),
    ("I would not send my worst enemy to this hotel.", "negative"),
]
SUPPORT = (
    "You clowns lost my luggage again! I flew from Boston to Rome on Friday and my suitcase is "
    "still not here. I need it back right now, my wedding is tomorrow!"
)
NOTE = "Thanks a million for the soup recipe, dear Ella! No rush with the cookbook."
MUMBLE = (
    "So the meeting was about, you know, some kind of stuff, or whatever. "
    "Maybe I'm wrong, not sure."
)
JUDGED: list[tuple[str, str, str]] = [
    (SUPPORT, "Judge the tone: friendly, neutral or rude?", "rude"),
    (SUPPORT, "Judge the urgency: urgent or calm?", "urgent"),
    (SUPPORT, "Judge the topic: food, travel, work or sport?", "travel"),
    (NOTE, "Judge the tone: friendly, neutral or rude?", "friendly"),
    (NOTE, "Judge the urgency: urgent or calm?", "calm"),
    (MUMBLE, "Judge the clarity: clear or vague?", "vague"),
]
SUM_CASES: list[tuple[str, int]] = [
    ("If I've got 58 stickers and Paula hands me 27 more, how many stickers do I own?", 85),
    ("what's 91 minus 46", 45),
    ("A bus carries 43 people and 17 get off. How many are still on it?", 26),
    ("66 + 77", 143),
]
CHATS: list[tuple[list[str], str]] = [
    (
        [
            "Evening! I'm Theodora, just checking in.",
            "Good evening.",
            "Can you remind me what I'm called?",
        ],
        "Theodora",
    ),
    (
        [
            "My landlord is called Mr. Pietrangelo.",
            "OK.",
            "What is 5 + 8?",
            "5+8: 5+8=13, 0+0+1=1, so 13",
            "What's my landlord's name?",
        ],
        "Pietrangelo",
    ),
    (
        [
            "I parked the car in the harbor garage.",
            "Noted.",
            "The wifi password is moonraker77.",
            "OK.",
            "What was the wifi password again?",
        ],
        "moonraker77",
    ),
    (
        [
            "My flight leaves at 6:40 am and my seat is 14C.",
            "Got it.",
            "When does my flight leave?",
        ],
        "6:40",
    ),
]


def _case(skill: str, texts: list[str], answer: str, check: str, key: str = "") -> Case:
    turns = [Turn("assistant" if i % 2 else "user", text) for i, text in enumerate(texts)]
    return Case(skill, turns, Exchange(skill, texts[-1], answer, check, key))


def handwritten() -> list[Case]:
    """The forty cases."""
    found = []
    for text, record in RECORDS:
        ask = JSON_ASK.replace("{fields}", ", ".join(record)).replace("{text}", text)
        found.append(_case("extract", [ask], dumps(record), "json"))
    for tools, question, name, arguments in TOOL_CASES:
        answer = dumps({"tool": name, "args": arguments})
        found.append(_case("tools", [f"Tools: {tools}\n{question}"], answer, "json"))
    for text, label in REVIEWS:
        ask = f"Is this review positive, negative or neutral? {text}"
        found.append(_case("sentiment", [ask], label, "word"))
    for text, ask, verdict in JUDGED:
        found.append(_case("judging", [f"Text: {text}", "Ready.", ask], verdict, "word"))
    for text, total in SUM_CASES:
        found.append(_case("sums", [text], f"so {total}", "number"))
    for texts, value in CHATS:
        found.append(_case("recall", texts, value, "contains", value))
    return found
