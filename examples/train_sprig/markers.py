"""Marker sentences of tone, urgency and certainty put together from parts. Training only."""

from __future__ import annotations

import random

from .words import FIRST_NAMES, bank, make_word

INSULTS = bank("""
idiot|fool|clown|moron|loser|liar|donkey|coward|pig|cheat|amateur|dummy|crook|jerk|nobody|brat
""")
BAD = bank("""
stupid|dumb|useless|lazy|pathetic|ridiculous|rotten|shameless|clueless|worthless|arrogant|silly
""")
RUDE = bank("""
You {bad} {insult}!|You {insult}s!|You {bad} {insult}s did it again!|What a {bad} {insult} you are.
You are such a {insult}.|Only a {insult} like you can say that.|You {bad} people!|Shut your mouth.
Are you really that {bad}?|I can't stand {insult}s like you.|You are {bad} and {bad2}.
Hey {insult}, wake up!|Nobody asked you, {insult}.|Get out of my sight, you {insult}.
You {insult}s lost it again.|Your {bad} team is a joke.|How {bad} are you?
Don't talk to me, {insult}.
""")
KIND = bank("""
kind|sweet|helpful|wonderful|lovely|great|generous|patient|thoughtful|amazing|friendly|good
""")
FRIENDLY = bank("""
Thanks a million!|Thanks so much, dear {name}!|Thank you, {name}, you are so {kind}.|Dear {name}!
You are so {kind}!|Many thanks, dear {name}.|How {kind} of you!|It is so {kind} of you to help.
Thanks for your {kind} help, {name}!|Hi {name}, lovely to see you!|I am so grateful to you.
Thank you for the {kind} words!|You are a {kind} friend.|Kind regards and all the best!
Hugs and kisses!|Wishing you a {kind} weekend!|Thanks again for everything!|Bless you, {name}!
With warm thanks, {name}.|Thanks a lot for being so {kind}!|I love working with you, {name}!
""")
URGENT = bank("""
I need it right now!|I need it {soon}!|Please answer {soon}!|It must be done {soon}!|Come {soon}!
This can't wait!|Send it {soon}, it is urgent!|Urgent: call me {soon}!|Hurry up!|Please be quick!
Help, {soon}!|We are running out of time!|It is extremely urgent.|Do something {soon}!
The deadline is {when}!|We need an answer {soon}!|Emergency!|I can't wait any longer!
Please hurry with the {what}!|Hurry up with the other {what}!|Please hurry with it!
Be quick with it!
I need the {what} {soon}!|Please send the {what} {soon}!|Quick, bring me the {what}!
Please hurry up!
Can you hurry with the {what}, please?|Be quick with that {what}!|We need another {what} {soon}!
""")
WHAT = bank("""
one|other one|second one|rest|order|answer|bill|list|keys|papers|box|photos|tickets|form|letter|key
""")
SOON = bank("""
now|right now|at once|immediately|as soon as possible|ASAP|right away|this minute|today
""")
CALM = bank("""
No hurry with that.|No rush with it.|There's plenty of time.|Take all the time you need.|Relax.
The {what} can wait.|No hurry with the {what}.
It can wait until next year.|Whenever it suits you.|It is not urgent.|Any time is fine.
""")
UNSURE = bank("""
I'm not sure.|I am not so sure about it.|Maybe.|Maybe not.|Perhaps I'm wrong.|Maybe I'm wrong.
I might be wrong here.|It could be.|I think, but I don't know.|Not sure if that is right.
I don't really remember.|Possibly.|Hard to say.|It may be so.|I am unsure.|Perhaps, perhaps not.
""")
SURE = bank("""
I'm sure of it.|I am certain.|Definitely.|Without any doubt.|That is certain.|I know it for sure.
I am completely sure.|There can be no doubt about it.|I have seen it with my own eyes.
""")
MARKERS = {
    "rude": RUDE,
    "friendly": FRIENDLY,
    "urgent": URGENT,
    "calm": CALM,
    "unsure": UNSURE,
    "sure": SURE,
}


def marker(rng: random.Random, verdict: str) -> str:
    """A sentence that decides one dimension."""
    first, second = rng.sample(BAD, 2)
    return rng.choice(MARKERS[verdict]).format(
        bad=first,
        bad2=second,
        insult=rng.choice(INSULTS),
        kind=rng.choice(KIND),
        name=rng.choice(FIRST_NAMES),
        soon=rng.choice(SOON),
        what=rng.choice(WHAT) if rng.random() < 0.6 else make_word(rng, heldout=False, english=0.8),
        when=rng.choice(["today", "in ten minutes", "tonight", "tomorrow morning", "in one hour"]),
    )
