# ruff: noqa: SIM905
"""Training templates of recall, sums and small talk. Held-out ones live in `heldout.py`."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Fact:
    """Something the user says and asks for later. `{v}` is the value, `{r}` a relation."""

    kind: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    answer: str
    relations: tuple[str, ...] = ("",)


def items(block: str) -> tuple[str, ...]:
    """Items between bars."""
    return tuple(item.strip() for item in block.split("|"))


RELATIVES = items(
    "brother|sister|mother|father|uncle|aunt|cousin|boss|neighbour|teacher|best friend"
    "|daughter|son|wife|husband|doctor|dentist|roommate|coach|grandmother|colleague"
)
PETS = items(
    "dog|cat|horse|rabbit|parrot|hamster|turtle|goldfish|pony|boat|bike|car|school|band|team"
)
FACTS = {
    "name": Fact(
        "name",
        items(
            "My name is {v}.|I'm {v}.|I am {v}.|Hi, I'm {v}.|Hello, my name is {v}.|Call me {v}."
            "|{v} here."
            "|Hi! My name's {v}.|You can call me {v}.|People call me {v}.|This is {v} speaking."
            "|Good morning, I am {v}.|Please call me {v}.|Hey, it's {v}."
        ),
        items(
            "What is my name?|What's my name?|Do you remember my name?|Who am I?|Tell me my name."
            "|What was my name?|Do you know my name?|Can you say my name?"
            "|What did I say my name was?"
            "|Remind me, what is my name?|And what is my name?"
        ),
        "Your name is {v}.",
    ),
    "city": Fact(
        "city",
        items(
            "I live in {v}.|I'm from {v}.|I come from {v}.|My home is in {v}.|I moved to {v}."
            "|I am living in {v}.|My city is {v}.|I have a flat in {v}.|I grew up in {v}."
        ),
        items(
            "Where do I live?|Which city am I from?|Where am I from?|What is my city?"
            "|Where is my home?"
            "|Do you remember where I live?|Which city do I live in?|In which city do I live?"
        ),
        "You live in {v}.",
    ),
    "called": Fact(
        "name",
        items(
            "My {r} is called {v}.|My {r} is {v}.|My {r}'s name is {v}.|I have a {r} called {v}."
            "|I have a {r} named {v}.|The name of my {r} is {v}.|{v} is my {r}."
        ),
        items(
            "What is my {r} called?|What is the name of my {r}?|What's my {r}'s name?"
            "|Do you remember the name of my {r}?|How is my {r} called?|Tell me the name of my {r}."
            "|What is my {r}'s name?"
        ),
        "Your {r} is called {v}.",
        RELATIVES + PETS,
    ),
    "who": Fact(
        "name",
        items("My {r} is called {v}.|My {r} is {v}.|My {r}'s name is {v}.|{v} is my {r}."),
        items("Who is my {r}?|Do you know who my {r} is?|Who was my {r} again?"),
        "Your {r} is {v}.",
        RELATIVES,
    ),
    "color": Fact(
        "color",
        items(
            "My favorite color is {v}.|My favourite color is {v}.|I love the color {v}."
            "|I like {v} best.|{v} is my favorite color."
        ),
        items(
            "What is my favorite color?|Which color do I like?|What's my favourite color?"
            "|Do you remember my favorite color?"
        ),
        "Your favorite color is {v}.",
    ),
    "food": Fact(
        "food",
        items(
            "My favorite food is {v}.|I love {v}.|I like to eat {v}.|I could eat {v} every day."
            "|My favourite food is {v}."
        ),
        items(
            "What is my favorite food?|What do I like to eat?|What food do I like?"
            "|Do you remember my favorite food?"
        ),
        "Your favorite food is {v}.",
    ),
    "hobby": Fact(
        "hobby",
        items(
            "My hobby is {v}.|My favorite hobby is {v}.|I spend my weekends with {v}."
            "|In my free time I do {v}."
        ),
        items("What is my hobby?|What do I do in my free time?|Which hobby do I have?"),
        "Your hobby is {v}.",
    ),
    "job": Fact(
        "job",
        items("I work as a {v}.|I am a {v}.|I'm a {v}.|My job is {v}.|My profession is {v}."),
        items("What is my job?|What do I work as?|What's my job?|What do I do for a living?"),
        "Your job is {v}.",
    ),
    "age": Fact(
        "age",
        items("I am {v} years old.|I'm {v} years old.|I just turned {v}.|My age is {v}."),
        items("How old am I?|What is my age?|Do you remember how old I am?|What's my age?"),
        "You are {v} years old.",
    ),
    "code": Fact(
        "code",
        items(
            "The {r} is {v}.|Remember the {r}: {v}.|My {r} is {v}.|Please remember the {r} {v}."
            "|Keep this {r} in mind: {v}.|Note the {r} {v}."
        ),
        items(
            "What is the {r}?|What was the {r}?|Tell me the {r}.|Do you remember the {r}?"
            "|What's the {r}?|Which {r} did I tell you?"
        ),
        "The {r} is {v}.",
        items(
            "code|password|secret word|code word|room number|pin|magic word|number|order number"
            "|key word"
        ),
    ),
    "time": Fact(
        "time",
        items(
            "The {r} is at {v}.|We have a {r} at {v}.|My {r} is at {v}."
            "|Don't forget, the {r} is at {v}."
            "|The {r} starts at {v}."
        ),
        items(
            "When is the {r}?|What time is the {r}?|At what time is the {r}?"
            "|When does the {r} start?"
        ),
        "The {r} is at {v}.",
        items("meeting|party|call|lesson|dinner|train|game|appointment|film|flight"),
    ),
    "place": Fact(
        "place",
        items(
            "I put the {r} in the {v}.|The {r} is in the {v}.|My {r} is in the {v}."
            "|I left the {r} in the {v}."
            "|The {r} are in the {v}."
        ),
        items(
            "Where is the {r}?|Where did I put the {r}?|Where did I leave the {r}?"
            "|Where was the {r}?"
            "|Do you know where the {r} is?"
        ),
        "The {r} is in the {v}.",
        items("key|book|phone|wallet|bag|letter|hammer|ring|ticket|umbrella|camera|hat|laptop|map"),
    ),
}
ROOMS = (
    "kitchen|garage|bedroom|car|garden|office|bathroom|drawer|fridge|cellar|attic|hallway|desk"
    "|red box|blue bag|suitcase|cupboard|living room|wooden chest|top drawer"
).split("|")
ACKS = [
    "OK.",
    "OK.",
    "Got it.",
    "Noted.",
    "I will remember that.",
    "Thanks for telling me.",
    "I see.",
]
NAME_ACKS = ["Nice to meet you, {v}.", "Nice to meet you, {v}.", "Hello {v}!", "Got it.", "OK."]

SUM_ASKS = [
    "What is {a} {op} {b}?",
    "What is {a} {op} {b}?",
    "What's {a} {op} {b}?",
    "{a} {op} {b}",
    "{a}{op}{b}",
    "{a}{op}{b}=?",
    "{a} {op} {b} = ?",
    "Calculate {a} {op} {b}.",
    "Compute {a} {op} {b}.",
    "How much is {a} {op} {b}?",
    "Work out {a} {op} {b}.",
    "What is {a} {word} {b}?",
    "What's {a} {word} {b}?",
    "How much is {a} {word} {b}?",
    "{a} {word} {b}?",
    "Solve {a} {op} {b}.",
]
ADD_ASKS = [
    "{name} picks {a} {thing}s and then another {b}. How many are that?",
    "{name} owns {a} {thing}s and gets {b} from {other}. How many does {name} own now?",
    "If you put {a} {thing}s and {b} {thing}s together, how many do you have?",
    "I've got {a} {thing}s and {other} gives me {b} more. How many do I own?",
    "There were {a} {thing}s, then {b} came. How many now?",
    "{a} {thing}s are red and {b} are blue. What is the total?",
    "Add {a} and {b}.",
    "Add {b} to {a}.",
    "What is the sum of {a} and {b}?",
    "What do {a} and {b} make?",
    "I have {a} {thing}s and get {b} more. How many do I have?",
    "{name} has {a} {thing}s and buys {b} more. How many {thing}s does {name} have?",
    "There are {a} {thing}s on the table and {b} on the floor. How many are there in all?",
    "{name} has {a} {thing}s, {other} has {b}. How many do they have together?",
    "One box holds {a} {thing}s, the other {b}. How many in total?",
]
SUB_ASKS = [
    "{name} owns {a} {thing}s and gives {b} to {other}. How many are left over?",
    "{name} has {a} {thing}s and sold {b}. How many does {name} keep?",
    "{name} sells {b} of {a} {thing}s. How many are not sold?",
    "I've got {a} {thing}s and break {b}. How many remain whole?",
    "{a} {thing}s were in the box and {b} got lost. How many remain?",
    "A shop has {a} {thing}s and sells {b}. How many are still there?",
    "{a} people are on the train and {b} leave. How many stay?",
    "What is left if I take {b} from {a}?",
    "Subtract {b} from {a}.",
    "Take {b} from {a}.",
    "Take {b} away from {a}.",
    "What is the difference between {a} and {b}?",
    "I have {a} {thing}s and lose {b}. How many are left?",
    "{name} had {a} {thing}s and gave away {b}. How many are left?",
    "There were {a} {thing}s and {b} were sold. How many {thing}s are left?",
    "{name} had {a} {thing}s and {other} took {b}. How many does {name} still have?",
]
CHAIN_ADD = [
    "Now add {b}.",
    "Add {b} to that.",
    "And plus {b}?",
    "Add {b} more.",
    "What is that plus {b}?",
]
CHAIN_SUB = [
    "Now subtract {b}.",
    "Take {b} from that.",
    "And minus {b}?",
    "What is that minus {b}?",
]
SYSTEMS = [
    "You are Sprig, a small assistant.",
    "You are a helpful assistant.",
    "You are Sprig.",
    "Answer briefly.",
    "You are a careful assistant.",
    "You help with small tasks.",
    "Be brief.",
    "You are a helpful assistant. Answer in as few words as possible.",
    "Be helpful and precise.",
    "You extract data and judge texts.",
    "You are a friendly assistant that knows tools.",
]
SMALL_TALK = [
    (
        "Hi|Hello|Hey|Hi there|Good morning|Hello!|Hi!|Hey there!|Good evening",
        "Hello! How can I help you?",
    ),
    (
        "Who are you?|What are you?|What is your name?|Who am I talking to?|What's your name?",
        "I am Sprig, a very small language model.",
    ),
    (
        "What can you do?|How can you help me?|What are you good at?|What can I ask you?",
        "I can extract fields as JSON, choose tools, judge texts, add numbers and remember names.",
    ),
    (
        "Thanks|Thank you|Thanks!|Thank you!|Thanks a lot.|Great, thanks!|Thank you very much.",
        "You are welcome!",
    ),
    ("How are you?|How are you today?|How's it going?|How do you do?", "I am fine, thank you."),
    ("Bye|Goodbye|See you later|Good night|Bye bye!|That is all.|See you!", "Goodbye!"),
    (
        "Who made you?|Where do you come from?|Who trained you?",
        "I was trained from scratch for Espalier, on made-up chats.",
    ),
    ("OK|Okay.|Nice.|Good.|Great!|Cool|Well done!|Very good.", "What is next?"),
]


MORE_FORMS = {
    "name": (
        "By the way, I am {v}.|The name is {v}.|Everyone calls me {v}.|I'm called {v}.|I go by {v}."
        "|Evening! I'm {v}, nice to be here.|My parents named me {v}."
        "|I'm {v} and I have a question.",
        "Can you tell me my name?|What am I called?|How am I called?|Do you still know my name?"
        "|Can you remember what I'm called?|Say my name.|Which name did I give you?|My name is?",
    ),
    "city": (
        "Since last year I live in {v}.|My house is in {v}.|I have lived in {v} for a long time."
        "|Now I am living in {v}.|I rent a flat in {v}.|At the moment my home is {v}.",
        "Where do I live now?|What town do I live in?|Which town is my home?"
        "|Can you say where I live?",
    ),
    "called": (
        "We call my {r} {v}.|I named my {r} {v}.|My new {r} is called {v}."
        "|Guess what: my {r} is {v}.",
        "Do you know what my {r} is called?|And what is my {r} called?|What did I call my {r}?"
        "|Which name has my {r}?|Can you tell me my {r}'s name?|Name my {r}.",
    ),
    "who": (
        "My {r} is of course {v}.|You should know that {v} is my {r}.|My {r}, {v}, is here.",
        "And who is my {r}?|Can you tell me who my {r} is?|Tell me who my {r} is.",
    ),
    "color": (
        "The color I like most is {v}.|I like {v} more than any color.|My color is {v}."
        "|Among the colors I prefer {v}.|{v} is the best color of all.|I prefer {v}.",
        "What color do I prefer?|Which color is my favorite?|What color do I like?"
        "|Which color do I like most?"
        "|And my favorite color?|Can you name my favorite color?",
    ),
    "food": (
        "In the evening I like {v}.|The food I like most is {v}.|For lunch I prefer {v}."
        "|I really like {v}.|Nothing tastes better than {v}.|Best of all I like {v}.",
        "Which food is my favorite?|What food do I like most?|Which food do I like?"
        "|What do I eat gladly?"
        "|And my favorite food?|What is the food that I like?",
    ),
    "hobby": (
        "I like {v} in my free time.|These days my hobby is {v}.|My old hobby is {v}."
        "|I do {v} every week.",
        "Which hobby did I tell you?|And my hobby?|What's my hobby?|Can you name my hobby?",
    ),
    "job": (
        "I earn my money as a {v}.|I live from my work as a {v}.|By profession I am a {v}."
        "|I have been a {v} for years.|At work I am a {v}.",
        "What's my profession?|Which job do I have?|Which profession do I have?"
        "|What am I by profession?"
        "|And my job?|And what is my profession?",
    ),
    "age": (
        "Today I turned {v}.|I will stay {v} years old until May."
        "|Believe it or not, I am {v} years old.",
        "Can you tell me how old I am?|And how old am I?|How old did I say that I am?|My age is?",
    ),
    "code": (
        "Keep in mind that the {r} is {v}.|Write down the {r}: {v}."
        "|You must know that the {r} is {v}."
        "|The new {r} is {v}.|Save the {r} {v}.|{v} is the {r}.|The wifi {r} is {v}.",
        "And what is the {r}?|Can you tell me the {r}?|Give me the {r}.|Do you know the {r}?"
        "|What was the {r} again?|I forgot the {r}.|Could you repeat the {r}?",
    ),
    "time": (
        "They set the {r} for {v}.|This time the {r} is at {v}.|The {r} was moved to {v}."
        "|Our {r} begins at {v}.|The {r} leaves at {v}.|I have a {r} at {v}.",
        "And when is the {r}?|Do you know when the {r} is?|When does my {r} begin?"
        "|When does the {r} leave?"
        "|When did I say the {r} is?|At which time is my {r}?",
    ),
    "place": (
        "A minute ago I put the {r} in the {v}.|The {r} lies in the {v}."
        "|You find the {r} in the {v}."
        "|I keep the {r} in the {v}.|I forgot my {r} in the {v}.|I hid the {r} in the {v}.",
        "And where is the {r}?|Can you say where the {r} is?|Where is my {r}?"
        "|Where can I find the {r}?"
        "|Where did I hide the {r}?|Where do I keep my {r}?",
    ),
}
FACTS = {
    kind: replace(
        fact,
        statements=fact.statements + items(MORE_FORMS[kind][0]),
        questions=fact.questions + items(MORE_FORMS[kind][1]),
    )
    for kind, fact in FACTS.items()
}
