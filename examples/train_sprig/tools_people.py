"""The tools that search, write, remind and call; see `tools.py`."""

from __future__ import annotations

from .tool import Tool, lines

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
Please search for {query}.
Do a web search for {query}.
Could you look up {query} online?
I am interested in {query}, look it up.
Find me something on {query}.
I wonder about {query}, please search.
My kids asked about {query}, show me something.
Search online: {query}
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
How does a {language} speaker say {text}?
In {language}, what is {text}?
In {language}, how do you say {text}?
Give me {text} in {language}, please.
Please translate {text} into {language}.
I need {text} put into {language}.
I'd like to see {text} written in {language}.
Get {text} turned into {language}.
We want the word {text} rendered in {language}.
Can you translate {text} to {language}?
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
I want a reminder to {text} at {time}.
I need a reminder at {time} to {text}.
See to it that I {text} at {time}.
Write me a reminder for {time}: {text}
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
I'd like to hear {artist}.
Would you play something from {artist}?
Today I'm in a mood for {artist}.
Start a song of {artist}.
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
Please write {to} an email about {subject}.
Can you send an email about {subject} to {to}?
Let {to} know about {subject} by email.
Email {to}, the subject is {subject}.
I owe {to} a mail, it should be about {subject}.
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
Please set the timer to {minutes} minutes.
Can you start a timer of {minutes} minutes?
The cake must bake for {minutes} minutes, tell me when it's ready.
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
Can you define {word}?
Can you define the word {word}?
Would you define {word} for me?
I have never heard the word {word}. What does it mean?
What is a {word}?
What's the meaning of {word}?
I want to know what {word} means.
Look up the word {word} in the dictionary.
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
How far is {origin} from {destination}?
How far away is {origin} from {destination}?
I ask myself how far {origin} might be from {destination}.
Is {origin} far from {destination}? How many km?
Tell me how far it is from {origin} to {destination}.
How far must I drive from {origin} to {destination}?
I want to go from {origin} to {destination}. How far is it?
How many miles are there between {origin} and {destination}?
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
Can you tell me the price of a {item}?
What must I pay for a {item}?
How much money is a {item}?
I want to buy a {item}. What does it cost?
"""),
    "money",
    "A {item} costs {result}.",
    {"item": ("item", "item", "product")},
    "And a {item}?",
)
