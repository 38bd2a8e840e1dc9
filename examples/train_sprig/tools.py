"""The tools Sprig can choose from: names, arguments, questions, results and answers.

Each argument kind names a maker in `skills.py` (`city`, `number`, `topic`, ...). A tool may go by
several names, and its arguments too: Sprig copies the names that the user turn lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Tool:
    """One tool. `args` maps slot -> kind; `arg_names` maps slot -> names it may be listed by."""

    names: tuple[str, ...]
    args: dict[str, str]
    questions: tuple[str, ...]
    result: str
    answer: str
    arg_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    follow_up: str = ""


def lines(block: str) -> tuple[str, ...]:
    """The non-empty lines of a block."""
    return tuple(line for line in block.strip().splitlines() if line)


CITY_NAMES = {"city": ("city", "city", "city", "location", "place")}

WEATHER = Tool(
    ("weather", "weather", "get_weather", "forecast"),
    {"city": "city"},
    lines("""
What is the weather in {city}?
What's the weather like in {city}?
How is the weather in {city}?
How's the weather in {city} today?
Is it raining in {city}?
Is it cold in {city} right now?
Is it warm in {city} today?
Do I need an umbrella in {city}?
Will it rain in {city} tomorrow?
Tell me the weather in {city}.
Weather in {city}?
What will the weather be in {city} tomorrow?
I'm travelling to {city}, how is the weather there?
Should I take a coat to {city}?
Is the sun shining in {city}?
What is the temperature in {city}?
Does it snow in {city} at the moment?
{city} weather please
Do I need a raincoat in {city}?
I'm off to {city}. Sunny or rainy?
Is it windy in {city}?
Can we have a picnic in {city} today?
How hot is it in {city}?
"""),
    "weather",
    "The weather in {city} is {result}.",
    CITY_NAMES,
    "And in {city}?",
)
TIME = Tool(
    ("time", "time", "get_time", "clock"),
    {"city": "city"},
    lines("""
What time is it in {city}?
What's the time in {city}?
What is the time in {city} now?
Tell me the time in {city}.
Time in {city}?
Which time is it in {city} right now?
What time do they have in {city}?
How late is it in {city}?
Is it already night in {city}? What time is it?
I want to call a friend in {city}. What time is it there?
Can you tell me the current time in {city}?
What does the clock say in {city}?
Are they still asleep in {city}? What's the time there?
My sister lives in {city}. What time is it there now?
Is it too early to phone someone in {city}?
"""),
    "clock",
    "It is {result} in {city}.",
    CITY_NAMES,
    "And in {city}?",
)
POPULATION = Tool(
    ("population", "get_population", "inhabitants"),
    {"city": "city"},
    lines("""
How many people live in {city}?
What is the population of {city}?
How big is the population of {city}?
How many inhabitants does {city} have?
Tell me the population of {city}.
Do you know how many people there are in {city}?
"""),
    "population",
    "{city} has {result} inhabitants.",
    CITY_NAMES,
    "And {city}?",
)
ADD = Tool(
    ("add", "add", "sum", "plus"),
    {"a": "number", "b": "number"},
    lines("""
What is {a} + {b}?
What is {a} plus {b}?
What's {a} plus {b}?
Add {a} and {b}.
Add {a} to {b}.
How much is {a} + {b}?
How much is {a} and {b} together?
What is the sum of {a} and {b}?
I have {a} apples and get {b} more. How many do I have?
Calculate {a} + {b}.
{a} + {b}?
Can you add {a} and {b} for me?
I paid {a} dollars and then {b} dollars. What is the total?
{a} cars and {b} vans are parked here. How many vehicles are that in all?
The coat is {a} dollars and the hat is {b}. How much is it all together?
{a} girls and {b} boys are in the class. How many children is that?
I read {a} pages yesterday and {b} today. How many together?
Put {a} and {b} together.
"""),
    "number",
    "The sum of {a} and {b} is {result}.",
    {"a": ("a", "a", "x"), "b": ("b", "b", "y")},
    "And {a} plus {b}?",
)
SUBTRACT = Tool(
    ("subtract", "subtract", "minus"),
    {"a": "number", "b": "number"},
    lines("""
What is {a} - {b}?
What is {a} minus {b}?
What's {a} minus {b}?
How much is {a} - {b}?
Subtract {b} from {a}.
Take {b} away from {a}.
What is the difference of {a} and {b}?
I had {a} apples and ate {b}. How many are left?
There were {a} birds and {b} flew away. How many are left?
I have {a} dollars and spend {b}. How much do I have left?
{a} people were here, {b} went home. How many remain?
What remains of {a} after I take away {b}?
Calculate {a} - {b}.
{a} - {b}?
"""),
    "number",
    "{a} minus {b} is {result}.",
    {"a": ("a", "a", "x"), "b": ("b", "b", "y")},
    "And {a} minus {b}?",
)
MULTIPLY = Tool(
    ("multiply", "multiply", "times"),
    {"a": "number", "b": "number"},
    lines("""
What is {a} times {b}?
What's {a} times {b}?
What is {a} * {b}?
Multiply {a} by {b}.
Multiply {a} and {b}.
How much is {a} times {b}?
What is the product of {a} and {b}?
Calculate {a} times {b}.
{a} boxes hold {b} eggs each. How many eggs are there?
I buy {a} tickets for {b} dollars each. What do I pay?
There are {a} rows of {b} seats. How many seats are there?
"""),
    "number",
    "{a} times {b} is {result}.",
    {"a": ("a", "a", "x"), "b": ("b", "b", "y")},
    "And {a} times {b}?",
)
SEARCH = Tool(
    ("search", "search", "web_search", "lookup"),
    {"query": "topic"},
    lines("""
Search for {query}.
Search the web for {query}.
Find information about {query}.
Find something about {query}.
Look up {query}.
Look up {query} on the internet.
What can you find about {query}?
I want to read about {query}.
Google {query} for me.
Can you find articles about {query}?
I need information on {query}.
Tell me something about {query}.
What's new about {query}?
I'd like to learn about {query}.
Who knows anything about {query}? Find out.
"""),
    "hits",
    "I found this about {query}: {result}.",
    {"query": ("query", "query", "q", "text")},
    "Now search for {query}.",
)
TRANSLATE = Tool(
    ("translate", "translate", "translator"),
    {"text": "word", "language": "language"},
    lines("""
Translate {text} into {language}.
Translate {text} to {language}.
Translate the word {text} to {language}.
How do you say {text} in {language}?
What is {text} in {language}?
What does {text} mean in {language}?
What's the {language} word for {text}?
I need the word {text} in {language}.
How would somebody in a {language} class say {text}?
Say {text} in {language}.
Teach me to say {text} in {language}.
What do {language} people call a {text}?
"""),
    "word",
    "In {language}, {text} is {result}.",
    {"language": ("language", "language", "target", "lang")},
    "And {text} in {language}?",
)
REMIND = Tool(
    ("remind", "remind", "set_reminder", "reminder"),
    {"text": "task", "time": "time"},
    lines("""
Remind me to {text} at {time}.
Please remind me to {text} at {time}.
At {time}, remind me to {text}.
Set a reminder to {text} at {time}.
I must not forget to {text} at {time}.
Don't let me forget to {text} at {time}.
Can you remind me at {time} to {text}?
I have to {text} at {time}. Remind me!
I tend to forget things, so tell me to {text} at {time}.
Ping me at {time} to {text}.
It's important that I {text} at {time}, please remind me.
"""),
    "ok",
    "I will remind you to {text} at {time}.",
    {"text": ("text", "text", "task"), "time": ("time", "time", "at")},
    "And remind me to {text} at {time}.",
)
PLAY = Tool(
    ("play", "play_music", "play"),
    {"artist": "name"},
    lines("""
Play something by {artist}.
Play music by {artist}.
Play a song by {artist}.
I want to hear {artist}.
Put on some {artist}.
Can you play {artist}?
Let's listen to {artist}.
Play {artist}, please.
I feel like some {artist}.
Turn on {artist}.
I'm in love with {artist}, play one of the songs.
Music by {artist}, please.
I could listen to {artist} all day. Start!
"""),
    "song",
    "Now playing {result} by {artist}.",
    {"artist": ("artist", "artist", "name")},
    "Now play {artist}.",
)
CALL = Tool(
    ("call", "phone", "call"),
    {"name": "name"},
    lines("""
Call {name}.
Call {name} for me.
Please phone {name}.
I want to talk to {name} on the phone.
Give {name} a ring.
Can you dial {name}?
Ring up {name}, please.
I need to call {name}.
Get me {name} on the line.
I must speak to {name}.
Connect me with {name}, please.
"""),
    "ok",
    "I am calling {name}.",
    {"name": ("name", "name", "person", "contact")},
    "Now call {name}.",
)
EMAIL = Tool(
    ("email", "send_email", "mail"),
    {"to": "name", "subject": "topic"},
    lines("""
Write an email to {to} about {subject}.
Send an email to {to} about {subject}.
Email {to} about {subject}.
Mail {to} about {subject}.
Please send {to} a mail about {subject}.
I want to write to {to} about {subject}.
Drop {to} an email about {subject}.
"""),
    "ok",
    "I sent {to} an email about {subject}.",
    {"to": ("to", "to", "recipient")},
    "And email {to} about {subject}.",
)
TIMER = Tool(
    ("timer", "set_timer", "timer"),
    {"minutes": "number"},
    lines("""
Set a timer for {minutes} minutes.
Start a timer for {minutes} minutes.
Wake me in {minutes} minutes.
Timer {minutes} minutes please.
Count down {minutes} minutes.
I need a timer for {minutes} minutes.
The eggs need {minutes} minutes, set a timer.
Tell me when {minutes} minutes are over.
The rice takes {minutes} minutes, tell me when it's done.
Let me rest for {minutes} minutes, then wake me.
Beep after {minutes} minutes.
"""),
    "ok",
    "The timer is set for {minutes} minutes.",
    {"minutes": ("minutes", "minutes", "mins")},
    "And one for {minutes} minutes.",
)
DEFINE = Tool(
    ("define", "dictionary", "define"),
    {"word": "word"},
    lines("""
What does {word} mean?
What does the word {word} mean?
Define {word}.
Define the word {word}.
Give me the definition of {word}.
What is the meaning of {word}?
Explain the word {word}.
"""),
    "meaning",
    "The word {word} means {result}.",
    {"word": ("word", "word", "term")},
    "And what does {word} mean?",
)
DISTANCE = Tool(
    ("distance", "distance", "route"),
    {"origin": "city", "destination": "city"},
    lines("""
How far is it from {origin} to {destination}?
What is the distance from {origin} to {destination}?
What's the distance between {origin} and {destination}?
How many kilometers is it from {origin} to {destination}?
How long is the way from {origin} to {destination}?
How far is {destination} from {origin}?
"""),
    "km",
    "It is {result} from {origin} to {destination}.",
    {
        "origin": ("origin", "origin", "start", "from"),
        "destination": ("destination", "destination", "end", "to"),
    },
    "And from {origin} to {destination}?",
)
PRICE = Tool(
    ("price", "get_price", "price"),
    {"item": "item"},
    lines("""
How much is a {item}?
What does a {item} cost?
What's the price of a {item}?
Tell me the price of a {item}.
How much do I pay for a {item}?
How expensive is a {item}?
Is a {item} expensive? What's the price?
"""),
    "money",
    "A {item} costs {result}.",
    {"item": ("item", "item", "product")},
    "And a {item}?",
)
TOOLS = {
    "weather": WEATHER,
    "time": TIME,
    "population": POPULATION,
    "add": ADD,
    "subtract": SUBTRACT,
    "multiply": MULTIPLY,
    "search": SEARCH,
    "translate": TRANSLATE,
    "remind": REMIND,
    "play": PLAY,
    "call": CALL,
    "email": EMAIL,
    "timer": TIMER,
    "define": DEFINE,
    "distance": DISTANCE,
    "price": PRICE,
}
