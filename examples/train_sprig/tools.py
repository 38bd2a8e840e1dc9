"""The tools Sprig can choose from, by key; those of cities and numbers stand here."""

from __future__ import annotations

from .tool import Tool, lines
from .tools_people import (
    CALL,
    DEFINE,
    DISTANCE,
    EMAIL,
    PLAY,
    PRICE,
    REMIND,
    SEARCH,
    TIMER,
    TRANSLATE,
)

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
