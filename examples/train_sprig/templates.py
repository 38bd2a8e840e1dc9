"""Training sentence templates of records and tools. Held-out ones live in `heldout.py`.

A `{slot}` is a field of the record that the sentence carries; `{n}`, `{other}`, `{hobby}` and
`{year}` are distractors, filled but never asked for.
"""

from __future__ import annotations

PERSON = """
Everyone in {city} likes {name}, who is {age}.
Folks from {city} remember {name}, aged {age}.
Because {name} is only {age}, the trip to {city} was a surprise.
While living in {city}, {name} turned {age}.
Though {age}, {name} still works in {city}.
Even at {age}, {name} cleans the house in {city} alone.
A letter from {name} in {city} says that she is {age} now.
In {month}, {age}-year-old {name} opened a shop in {city}.
Nobody in {city} believes that {name} is {age}.
Most people in {city} have heard of {name}, {age}.
With {age} years, {name} is the oldest in {city}.
Today {name} of {city} turns {age}!
Guess who turned {age}? {name} from {city}!
The {age}-year-old {name} has a house in {city}.
Can you believe that {name} from {city} is {age}?
Greetings from {city}! {name}, {age}.
{name} sold the car at {age} and chose {city} as a new home.
{name} left school at {age} and made it to {city}.
Ask {name}, the {job} in {city}, who is {age}.
A {job} from {city}, {name}, turned {age} today.
A {job} called {name} came to {city} at {age}.
An old {job} named {name} is {age} and stays in {city}.
As a {job} in {city}, {name} was rich before turning {age}.
Ever since {name} became a {job}, {city} has been home.
{name} is {age} years old and lives in {city}.
{name} is {age} and lives in {city}.
{name}, {age}, lives in {city}.
{name}, {age}, is from {city}.
{name} ({age}) lives in {city}.
{name} ({age}, {city}) joined us last week.
{name} from {city} is {age} years old.
{name} from {city} just turned {age}.
{name} just turned {age} and moved to {city}.
At {age}, {name} moved to {city}.
At the age of {age}, {name} still lives in {city}.
My friend {name} lives in {city} and is {age}.
My name is {name}, I'm {age} and I live in {city}.
My name is {name}. I am {age} years old. I live in {city}.
I'm {name}, {age} years old, from {city}.
I am {name} from {city} and I am {age}.
Hi, I'm {name}! I'm {age} and I come from {city}.
Hello, my name is {name} and I'm a {age} year old from {city}.
This is {name}. She lives in {city} and is {age} years old.
This is {name}. He's {age} and he's from {city}.
Meet {name}, a {age}-year-old from {city}.
Meet {name}, who is {age} and lives in {city}.
In {city} lives {name}, who is {age} years old.
{city} is home to {name}, who is {age}.
There is a {age}-year-old in {city} called {name}.
A {age}-year-old named {name} lives in {city}.
{name} was born {age} years ago in {city}.
{name} celebrated a {age}th birthday in {city}.
{name} lives in {city}. She is {age}.
{name} lives in {city}. He turned {age} in {month}.
{name} has lived in {city} for {n} years and is now {age}.
{name}, who is {age}, has {n} cats and lives in {city}.
{name}, aged {age}, of {city}, won the prize.
Name: {name}. Age: {age}. City: {city}.
{name} / {age} / {city}
{name}, {city}, {age}
{name} lives in {city} with {n} dogs and is {age} years old.
{name} is {age}, loves {hobby} and lives in {city}.
{name}, {age}, moved to {city} with {other}.
{name} is a {job} from {city}.
{name} is a {age}-year-old {job} from {city}.
{name} is a {job} in {city} and is {age} years old.
{name}, {age}, works as a {job} in {city}.
{name} works as a {job} in {city}. She is {age} years old.
{name} works in {city} as a {job} and just turned {age}.
{name} ({age}) is a {job} who lives in {city}.
The {job} {name} is {age} and lives in {city}.
Our new {job} is {name}, {age}, from {city}.
My {age} year old neighbour {name} is a {job} in {city}.
I'm {name}, a {job} from {city}. I'm {age}.
Hi! {name} here, {age}, {job}, living in {city}.
{name}, a {job}, is {age} years old.
At {age}, {name} became a {job}.
{name} is {age} years old and works as a {job}.
{name} works at {company} as a {job}.
{name}, {age}, is a {job} at {company} in {city}.
{name} lives in {city} and works for {company} as a {job}.
{name} joined {company} at {age} and lives in {city}.
{name} is {age} years old.
{name} lives in {city}.
{name} has just turned {age}.
{name} moved from {other_city} to {city} at {age}.
{name} left {other_city} and now lives in {city}. She's {age}.
Yesterday I met {name}. He is {age} and comes from {city}.
Last week {name} from {city} told me that she is {age}.
Our guest today is {name}, {age}, all the way from {city}.
The winner is {name} from {city}, only {age} years old.
Say hello to {name}! She's {age} and has a flat in {city}.
You should talk to {name}, the {job} from {city}, who's {age}.
""".strip().splitlines()

ORDER = """
Ask {customer} whether {quantity} {item} at ${price} each are enough.
Put {quantity} {item} on the bill of {customer}, ${price} each.
Keep {quantity} {item} for {customer}, at {price} dollars each.
Book {quantity} {item} for {customer}, {price} euros each.
Pack {quantity} {item} at {price} dollars for {customer}.
Bring {customer} {quantity} {item}, priced ${price} each.
From the shop {customer} got {quantity} {item} for ${price} each.
The bill says {quantity} {item} at ${price} each for {customer}.
On the list of {customer} are {quantity} {item} at ${price} each.
Great price: {quantity} {item} for only ${price} each!
How about {quantity} {item} at ${price} each?
The kitchen of {customer} needs {quantity} {item}; each costs ${price}.
Hand over {quantity} {item}; {customer} gives you ${price} for each.
{customer} paid ${price} for every one of the {quantity} {item}.
The firm takes {quantity} {item} at ${price} each from our shop.
{customer} ordered {quantity} {item} for ${price} each.
{customer} bought {quantity} {item} at ${price} each.
{customer} ordered {quantity} {item} for ${price}.
{customer} paid ${price} for {quantity} {item}.
{customer} wants {quantity} {item} at {price} euros each.
{customer} would like {quantity} {item} for {price} dollars.
{customer} has ordered {quantity} {item}, each costing ${price}.
{quantity} {item} for {customer} at ${price} each.
{quantity} {item} at ${price} each were ordered by {customer}.
An order came in from {customer}: {quantity} {item} at ${price} each.
Order: {quantity} {item} at ${price}, customer {customer}.
Please send {quantity} {item} to {customer}. The price is ${price} each.
Please send {quantity} {item} at ${price} each.
I'd like to order {quantity} {item} at ${price} each.
I'd like {quantity} {item} for ${price}, please.
I want to buy {quantity} {item} for {price} dollars each.
I would like {quantity} {item}. They cost ${price} each.
I'll take {quantity} {item} at €{price} each.
I'll take {quantity} {item} for {price} euros.
We need {quantity} {item} at ${price} per piece.
We need {quantity} {item}. Each costs {price} euros.
We ordered {quantity} {item} for ${price} each last {weekday}.
Can I get {quantity} {item} for ${price} each?
Could you send me {quantity} {item} at {price} dollars apiece?
Could we have {quantity} {item}, please? They're ${price} each.
Give me {quantity} {item} at ${price}.
Put me down for {quantity} {item} at £{price} each.
My name is {customer} and I'd like {quantity} {item} at ${price} each.
This is {customer}. I need {quantity} {item} for ${price}.
For {customer}: {quantity} {item}, ${price} each.
{customer} just placed an order for {quantity} {item} at ${price}.
{customer} picked {quantity} {item} priced at ${price}.
{customer} took {quantity} {item} home for {price} euros.
The shop sold {quantity} {item} to {customer} for ${price} each.
The shop sold {quantity} {item} for ${price} each.
Sold: {quantity} {item} to {customer} at ${price}.
At ${price} each, {customer} ordered {quantity} {item}.
For ${price} each, I got {quantity} {item}.
Last {weekday} {customer} bought {quantity} {item} for ${price} each.
{customer} from {other_city} ordered {quantity} {item} at ${price} each.
{customer} ordered {quantity} {item}.
I need {quantity} {item}.
Please add {quantity} {item} to my order.
We bought {quantity} {item} yesterday.
{customer} needs {quantity} {item} by {weekday}.
Send {quantity} {item} to {customer}.
{quantity} {item}, ${price} each
{quantity} x {item} @ ${price}
{quantity} {item}, please. I'll pay ${price} each.
Each of the {quantity} {item} costs ${price}.
The price for the {quantity} {item} is ${price} each.
Hi, I saw that you sell {item} for ${price}. I'll have {quantity}.
The {item} are ${price} each and {customer} wants {quantity} of them.
{customer} is buying {quantity} {item}; the price is ${price} each.
""".strip().splitlines()

EVENT = """
Everyone meets at {place} on {date} for the {title}.
People will come to {place} on {date} to see the {title}.
After the {title} on {date} we go home from {place}.
Nothing is nicer than the {title} at {place} on {date}.
The gates of {place} open on {date} for the {title}.
The gates to the {title} open on {date} at {place}.
If you like music, go to the {title} at {place} on {date}.
Helpers meet at {place} before the {title} on {date}.
The band plays at the {title} in {place} on {date}.
Due to snow, the {title} at {place} was moved to {date}.
Due to snow we now have the {title} on {date} at {place}.
Your seat for the {title} on {date} at {place} is booked.
Put down {date}: {title} at {place}.
My sister sings at the {title} in {place} on {date}.
They set the {title} for {date} in {place}.
Our team has its {title} at {place} on {date}.
The {title}, which was a secret until now, is on {date} at {place}.
The {title} found its way to {place} and starts on {date}.
We are looking for helpers for the {title} on {date} at {place}.
You can see us at {place} on {date} at the {title}.
The {title} takes place on {date} at {place}.
The {title} is on {date} at {place}.
The {title} is on {date} in {place}.
The {title} will be held on {date} at {place}.
The {title} will take place at {place} on {date}.
The {title} starts on {date} at {place}.
On {date}, the {title} takes place at {place}.
On {date} there is a {title} at {place}.
On {date} we are having a {title} at {place}.
Join us for the {title} on {date} at {place}.
Join us at {place} on {date} for the {title}.
Come to the {title} at {place} on {date}!
Come to {place} on {date} for the {title}.
Don't miss the {title} at {place} on {date}.
You are invited to the {title} on {date} at {place}.
We invite you to the {title} at {place} on {date}.
{place} hosts the {title} on {date}.
{place} will host the {title} on {date}.
There will be a {title} on {date} at {place}.
There's a {title} at {place} on {date}.
We moved the {title} to {date}. It is at {place}.
Save the date: {title}, {date}, {place}.
Reminder: {title} on {date} at {place}.
{title}: {date}, {place}
{title} on {date} in {place}
Are you coming to the {title} on {date}? It's at {place}.
See you at the {title} at {place} on {date}.
I'm going to the {title} at {place} on {date}.
I have tickets for the {title} on {date} at {place}.
Let's meet for the {title} on {date} at {place}.
Our {title} is planned for {date} at {place}.
Our next {title} is at {place} on {date}.
The {title} at {place} was moved to {date}.
Tickets for the {title} at {place} on {date} are sold out.
The {title} starts at {time} on {date} at {place}.
The {title} is on {date} at {time} in {place}.
The {title} begins at {time} in {place} on {date}.
On {date} at {time}, the {title} starts at {place}.
Join us on {date} at {time} for the {title} at {place}.
{title}, {date}, {time}, {place}
We'll hold the {title} at {place} on {date}, starting at {time}.
Please note that the {title} will start at {time} on {date}. Place: {place}.
Put the {title} in your calendar: {date}, {time}, {place}.
The {title} is on {date}.
The {title} starts at {time}.
The {title} will be at {place}.
The {title} has been booked for {date}.
{n} people are coming to the {title} at {place} on {date}.
{other} is organising a {title} on {date} at {place}.
{other} told me about the {title} at {place} on {date}.
This year's {title} happens on {date} at {place}.
The {title} opens at {place} on {date}.
Everyone is welcome at the {title}, {date}, {place}.
""".strip().splitlines()

EXTRACT_ASKS = [
    "Extract {fields} as JSON: {text}",
    "Extract {fields} as JSON: {text}",
    "Extract {fields} as JSON: {text}",
    "Extract {fields} as JSON:\n{text}",
    "Extract {fields} as JSON.\n{text}",
    "Extract {and_fields} as JSON: {text}",
    "Extract {and_fields} as JSON from this sentence: {text}",
    "Extract {fields} from the text as JSON: {text}",
    "Give me {fields} as JSON: {text}",
    "Give me the {and_fields} as JSON: {text}",
    "Return {fields} as JSON: {text}",
    "Find {fields} in this text and answer in JSON: {text}",
    "Read the text and extract {fields} as JSON.\nText: {text}",
    "Fields: {fields}\nText: {text}\nJSON:",
    "{text}\nExtract {fields} as JSON.",
    "Text: {text}\nExtract {fields} as JSON.",
    "Turn this into JSON with the fields {fields}: {text}",
    "Please fill in {fields} as JSON: {text}",
]
