"""Cue words (shared with the held-out side) and training templates of sentiment and judging.

A model trained from scratch cannot know that a word it never saw is praise, so the cue words are
shared; what is held out are the sentences around them and the things they speak of.
"""

from __future__ import annotations


def words(block: str) -> list[str]:
    """Items between bars or line ends."""
    return [item for item in block.strip().replace("\n", "|").split("|") if item]


GOOD = words("""
warm and friendly|happy|sweet|smart|cheerful|generous|cute|peaceful|lively|tender|well made|spotless
good|great|excellent|wonderful|amazing|fantastic|lovely|perfect|brilliant|superb|delightful|terrific
awesome|outstanding|beautiful|charming|delicious|enjoyable|impressive|incredible|magnificent|nice
marvelous|pleasant|splendid|stunning|fabulous|exciting|fun|funny|friendly|helpful|comfortable|cosy
clean|fresh|tasty|reliable|fast|smooth|gorgeous|touching|clever|inspiring|fascinating|flawless
first-class|top-notch|worth every penny|a joy|a pleasure|a real treat|a masterpiece|gripping
heartwarming|refreshing|elegant|charming|solid|polite|attentive|the best|better than expected|cool
""")
BAD = words("""
grumpy|bored|late|tasteless|burnt|cracked|torn|leaking|hopeless|clumsy|unfair|sad|tired|angry|upset
bad|terrible|awful|horrible|dreadful|poor|disappointing|boring|dull|ugly|disgusting|annoying|rude
useless|broken|dirty|slow|noisy|cheap-looking|nasty|unpleasant|uncomfortable|cold and tasteless
bland|stale|ridiculous|stupid|lame|mediocre|pathetic|shameful|unreliable|faulty|frustrating|lousy
miserable|painful|tiresome|worthless|overpriced|a waste of money|a waste of time|a disaster|a mess
a joke|a nightmare|a letdown|the worst|worse than expected|smelly|sticky|unfriendly|unhelpful|weak
flimsy|soggy|greasy|chaotic|confusing|depressing|unacceptable|inedible|damaged|unbearable|rubbish
""")
GOOD_DOES = words("""
I loved|I really liked|I enjoyed|I adore|We loved|We really enjoyed|Everyone loved
I was delighted by|I am very happy with|I'm so pleased with|My kids love|I would gladly recommend
I can only recommend|I fell in love with|I was impressed by|We were thrilled with|I'm a big fan of
I highly recommend
""")
BAD_DOES = words("""
I hated|I really disliked|I regret|I can't stand|We hated|We did not enjoy|Nobody liked|I despise
I was let down by|I am very unhappy with|I'm so disappointed by|My kids hate|I would never recommend
I'm fed up with|I was shocked by|We were annoyed by|I'm sick of|I do not recommend|I didn't like
""")
GOOD_ENDS = words("""
I would buy it again.|I will come back!|Five stars.|Highly recommended.|It made my day.
I can't wait to go again.|What a joy!|Thank you so much!|It exceeded my expectations.|Love it!
10 out of 10.|We had a great time.|It works like a charm.|I smiled the whole time.|Well done!
Worth every cent.|I couldn't be happier.|We'll definitely be back.|Don't miss it!
""")
BAD_ENDS = words("""
I want my money back.|Never again!|One star.|Avoid it.|It ruined my day.|I will not come back.
What a shame.|Save your money.|It broke after two days.|Stay away!|Hate it!|1 out of 10.
We left early.|It stopped working.|I fell asleep.|I asked for a refund.|I couldn't be more upset.
Worst purchase ever.|We won't be back.|Don't bother!|I want a refund.|It was a total waste.
""")
INTENSIFIERS = ["", "", "", "really ", "very ", "so ", "absolutely ", "truly ", "quite ", "just "]

FEELING = """
The {thing} is not {anti}.
The {thing} was not {anti}.
The {thing} is not {anti}, believe me.
Not {anti} at all, this {thing}.
The {thing} isn't {anti}, that's for sure.
The {thing} really wasn't {anti}.
Nobody would call this {thing} {anti}.
The {thing} was never {anti}.
The {thing} is far from {anti}.
This {thing} is not {anti}, no.
No, the {thing} is {cue}.
The {thing} was {cue}.
The {thing} is {cue}.
The {thing} was {cue}!
The {thing} is {cue} and the {thing2} is {cue2}.
The {thing} was {cue} and the {thing2} was {cue2}.
The {thing} and the {thing2} were both {cue}.
What a {cue1} {thing}!
Such a {cue1} {thing}.
This {thing} is {cue}.
This was a {cue1} {thing}.
This is a {cue1} {thing}.
It was a {cue1} {thing}.
It was {cue}.
A {cue1} {thing}.
A {cue1} {thing} with a {cue3} {thing2}.
{does} the {thing}.
{does} this {thing}.
{does} the {thing} and the {thing2}.
{does} every minute of the {thing}.
{does} the {thing}. {end}
The {thing} was {cue}. {end}
The {thing} is {cue}, {end}
{end} The {thing} was {cue}.
{end}
I think the {thing} is {cue}.
I found the {thing} {cue}.
I have to say the {thing} was {cue}.
In my opinion the {thing} is {cue}.
Honestly, the {thing} was {cue}.
We thought the {thing} was {cue}.
My wife said the {thing} was {cue}.
The {thing} we had was {cue}.
The {thing} turned out to be {cue}.
The {thing} looks {cue}.
The {thing} felt {cue}.
Their {thing} is {cue}.
{name} thought the {thing} was {cue}.
Our {thing} in {city} was {cue}.
Went to {city} and the {thing} was {cue}.
Bought this {thing} last week. It is {cue}.
The {thing} arrived on {weekday} and it is {cue}.
We stayed {n} days and the {thing} was {cue}.
The {thing} is anything but {anti}.
The {thing} was not {anti} at all.
The {thing} wasn't {anti}.
It isn't {anti}.
I wouldn't call the {thing} {anti}.
I expected the {thing} to be {anti}, but it was {cue}.
The {thing} looked {anti} at first, but it turned out {cue}.
Two things I remember: a {cue1} {thing} and a {cue3} {thing2}.
A {cue1} {thing}, a {cue3} {thing2}, and that was it.
First a {cue1} {thing}, then a {cue3} {thing2}.
On {weekday}: a {cue1} {thing}, a {cue3} {thing2}.
In {city}: a {cue1} {thing}.
So, a {cue1} {thing}.
We got a {cue1} {thing}.
The day in short: {cue1} {thing}, {cue3} {thing2}.
Seldom have I seen such a {cue1} {thing}.
Inside, a {cue1} {thing}; outside, a {cue3} {thing2}.
People say the {thing} is {anti}, but I think it is {cue}.
""".strip().splitlines()
NEUTRAL = """
The {thing} is in {city}.
The {thing} arrived on {weekday}.
The {thing} starts at {time}.
The {thing} costs {n} dollars.
The {thing} is {color}.
The {thing} has {n} parts.
The {thing} comes in {color} and {color2}.
The {thing} lasts {n} hours.
The {thing} was made in {city}.
The {thing} is next to the {thing2}.
The {thing} and the {thing2} are on the list.
The {thing} opens on {weekday}.
The {thing} is for {n} people.
The {thing} belongs to {name}.
This {thing} is from {year}.
This is the {thing} from {city}.
This {thing} weighs {n} kilos.
I bought the {thing} on {weekday}.
I saw the {thing} on {weekday}.
I used the {thing} for {n} days.
We had the {thing} at {time}.
We went to {city} by {thing}.
{name} sent the {thing} to {city}.
{name} has a {thing} and a {thing2}.
{name} talked about the {thing} on {weekday}.
There is a {thing} in {city}.
There are {n} seats in the room.
The box contains a {thing} and a {thing2}.
It was delivered to {city} on {weekday}.
It is a {color} {thing}.
The manual of the {thing} has {n} pages.
You can get the {thing} in {city}.
They changed the {thing} in {year}.
My {thing} is {n} years old.
Our {thing} is on the second floor.
The {thing} will be on {weekday} at {time}.
Put the {thing} on the {thing2}.
Leave the {thing} near the {thing2}.
Please bring the {thing} to {city}.
Move the {thing} to the left of the {thing2}.
Take the {thing} and the {thing2} with you.
Write down when the {thing} opens.
Count the parts of the {thing}.
Please read about the {thing} on {weekday}.
Send the {thing} to {name} by {weekday}.
""".strip().splitlines()
SENTIMENT_ASKS = [
    "Is this review {options}? {text}",
    "Is this review {options}? {text}",
    "Is this review {options}?\n{text}",
    "Is this text {options}? {text}",
    "Sentiment ({options}): {text}",
    "What is the sentiment, {options}? {text}",
    "Classify the sentiment as {options}: {text}",
    "Review: {text}\nIs it {options}?",
    "Text: {text}\nSentiment, {options}?",
    "{text}\nIs that {options}?",
    "Say in one word if this is {options}: {text}",
    "Classify as {options}: {text}",
    'Is this {options}? "{text}"',
    "Sentiment of this review, {options}: {text}",
    "Sentiment of this text in one word, {options}: {text}",
]

# Judging. Each dimension's closed set of words, in its usual order.
DIMENSIONS = {
    "clarity": ("clear", "vague"),
    "tone": ("friendly", "neutral", "rude"),
    "length": ("short", "long"),
    "detail": ("detailed", "sparse"),
    "urgency": ("urgent", "calm"),
    "certainty": ("sure", "unsure"),
    "topic": ("food", "travel", "work", "sport"),
}
FRIENDLY = words("""
Thank you so much!|Thanks a lot, dear!|You are so kind.|It's lovely to hear from you!
Hope you are well!|Many thanks, you are wonderful!|Have a lovely day!
Dear friend, how nice to write to you!|Cheers, my friend!|I really appreciate your help!
Warm greetings to you all!|Best wishes and big hugs!|So glad to have you!|Thanks for being so great!
Hello my dear!|I hope you have a great day!|You did a wonderful job!
""")
RUDE = words("""
You are an idiot.|Shut up.|Are you stupid?|What a bunch of losers.|Nobody cares about you.|Get lost.
You people are useless.|I'm sick of your nonsense.|Are you blind or what?|Don't be such a fool.
You are a disgrace.|Only a moron would do that.|Stop wasting my time, you clown.|Go away, you fool.
How dumb can you be?|You never get anything right, you idiot.|Your work is garbage.
""")
URGENT = words("""
This is urgent!|We need this right now!|Please hurry!|Do it immediately!|It can't wait!
ASAP, please!|Answer me as soon as possible!|The deadline is in one hour!|This is an emergency!
Act now!|Quick, quick!|It has to be done today, at once!|There is no time to lose!
Drop everything and do this first!|We must act right away!|Every minute counts!
""")
CALM = words("""
There is no hurry.|Take your time.|Whenever you like.|No rush at all.|It can wait.|Any day is fine.
Do it when you find the time.|Next month is early enough.
""")
UNSURE = words("""
Maybe I am wrong.|I am not sure.|I think so, but I may be wrong.|Perhaps it is different.|Who knows?
It might be true, or not.|I could be mistaken.|I guess so.|Possibly, I don't really know.
I have my doubts.|Probably, but don't quote me.|It may or may not be so.|I'm not certain about this.
""")
SURE = words("""
I am absolutely sure.|There is no doubt.|I know it for certain.|That is a fact.
I'm one hundred percent sure.|I checked it twice.|It is definitely so.|I can guarantee it.
""")
VAGUE = """
Something about the {t} was kind of like that thing.
The {t} is, you know, somehow like the other stuff.
It's about that {t} thing, or whatever it was.
They did some stuff with the {t}, sort of.
Someone said something about the {t} and so on.
The {t} and things like that, you know what I mean.
It was like, whatever, with the {t} and all that.
The whole {t} thing is sort of somewhere around.
Well, the {t}, it kind of depends on stuff.
Some of the {t} is somehow this or that.
""".strip().splitlines()
CLEAR_DETAILED = """
On {weekday} at {time} {name} brought the {t} to {city}.
{name} counted {n} of them next to the {t} in {city}.
The {t} cost {n} dollars and arrived on {weekday}.
At {time} the {t} was ready for all {n} people in {city}.
{name} and {other} shared the {t} on {month} {n}.
In {year} the {t} moved from {city} to {other_city}.
The {t} took {n} minutes and {name} paid {m} euros.
{n} people from {city} saw the {t} at {time}.
""".strip().splitlines()
CLEAR_SPARSE = """
The {t} is here.
The {t} was new to us.
We talked about the {t}.
I saw the {t} again.
They showed us the {t}.
We like to talk about the {t}.
The {t} is part of our day.
My neighbour has seen the {t} too.
The {t} is on the list.
We have the {t} every week.
You can see the {t} from here.
The {t} was the same as before.
""".strip().splitlines()
TOPIC_WORDS = {
    "food": words(
        "soup|pizza|salad|bread|cheese|cake|dinner|breakfast|pasta|rice|sauce|curry|lunch"
        "|recipe|kitchen|cook|dessert|menu|restaurant|sandwich"
    ),
    "travel": words(
        "flight|hotel|beach trip|train ride|airport|passport|suitcase|cruise|road trip"
        "|tour|ferry|plane ticket|holiday|hostel|journey|island trip|border|luggage"
    ),
    "work": words(
        "office|report|meeting|project|contract|boss|invoice|job interview|salary|team call"
        "|deadline list|spreadsheet|client|budget|presentation|colleague|printer"
    ),
    "sport": words(
        "football match|race|tennis game|goal|team coach|marathon|basketball game|stadium"
        "|swimming race|trophy|league|penalty|boxing match|ski race|tournament|referee"
    ),
}
JUDGE_ASKS = [
    "Judge the {dimension}: {options}?",
    "Judge the {dimension}: {options}?",
    "Judge the {dimension}: {options}?",
    "{Dimension}: {options}?",
    "{Dimension}: {options}?",
    "What is the {dimension} of the text, {options}?",
    "Is the {dimension} {options}?",
    "Judge the {dimension} of the text in one word: {options}",
    "Rate the {dimension}: {options}.",
    "How do you judge its {dimension}? Answer {options}.",
    "{Dimension}?",
    "Judge the {dimension}.",
    "Judge the {dimension} of this text.",
    "Judge the {dimension} in one word.",
]
JUDGE_TEXTS = [
    "Text: {text}",
    "Text: {text}",
    "Text: {text}",
    "Read this text: {text}",
    "Here is a text: {text}",
    'Text: "{text}"',
    "Judge this text: {text}",
    "Please judge the following text.\n{text}",
    "{text}",
]
JUDGE_READY = ["Ready.", "Ready.", "Ready.", "I have read it.", "OK."]
