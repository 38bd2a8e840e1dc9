# ruff: noqa: SIM905
"""Training vocabularies: word lists and the maker of words nobody has seen.

Invariant W1: no word listed here is listed in `heldout.py`.
Invariant W2: a made word belongs to the held-out side if and only if `is_heldout_word(word)`,
so the two sides never make the same word.
"""

from __future__ import annotations

import random
import re
import zlib
from pathlib import Path

from .tools import TOOLS

_ONSETS = (
    "b br bl c ch cl cr d dr f fl fr g gl gr h j k kl kr l m n p pl pr qu r s sc sh sk sl sm sn "
    "sp st str sv t th tr v vl w wh x y z zh"
).split()
ONSETS = [*_ONSETS, ""]
VOWELS = "a e i o u ai ea ee ia ie io oa oo ou y ei au á é ö ü ø ã í".split()
COMMON_VOWELS = "a e i o u".split()
CODAS = "b ck d f g k l ll m n nd ng nt p r rd rn rt s sh ss st t th v x z".split() + [""] * 14
LETTERS = "abcdefghijklmnopqrstuvwxyz"
ACCENTED = [  # U+00DF to U+024F, so that every byte of such letters is copied now and then
    letter
    for letter in map(chr, range(0xDF, 0x250))
    if letter.isalpha() and letter.islower() and len(letter.upper()) == 1
]


def is_heldout_word(word: str) -> bool:
    """One made word in eight is kept for the held-out side, by checksum."""
    return zlib.crc32(word.lower().encode()) % 8 == 0


ENGLISH: dict[bool, list[str]] = {False: [], True: []}  # common words, by side
for _word in (Path(__file__).parent / "english.txt").read_text(encoding="utf-8").split():
    ENGLISH[is_heldout_word(_word)].append(_word)
# Words put into frames in place of others (`noise`).
FILLERS = """
today again maybe often here there now then soon also just still really quite almost always never
usually once twice later early happily slowly quickly gladly proudly suddenly finally people
friends visitors readers neighbours everybody someone nobody mother father doctor during before
after since until while because although whenever among beside near behind under over through
without within against toward upon with from about into onto of for by small great long old young
new good red dark bright quiet lovely strange busy lucky famous house door road river garden table
window morning evening night summer winter week year goes comes takes makes gives finds keeps holds
runs walks sits stands waits sings reads tells went came took made gave found kept held ran walked
sat stood waited sang read told wrote said asked knew thought felt heard saw met joined left opened
closed started stopped packed earned owned rented carried followed visited answered remembered
mentioned announced promised
""".split()
# Words the frames of the chats are made of. Each has a token of its own, and a model that has seen
# it in frames alone cannot copy it: made words begin with one at times.
FRAME_WORDS = sorted(
    {word for word in FILLERS if len(word) > 2}
    | {
        word
        for tool in TOOLS.values()
        for text in [*tool.questions, *tool.names, *tool.args, *sum(tool.arg_names.values(), ())]
        for word in re.findall(r"[a-z]{3,9}", re.sub(r"\{\w+\}", "", text.lower()))
    }
)


def make_word(
    rng: random.Random, heldout: bool, syllables: tuple[int, int] = (2, 3), english: float = 0.3
) -> str:
    """A lower-case word that belongs to the asked side (W2): with chance `english` an English word,
    else syllables or (in training) any letters, accented ones too, so that every token is copied
    now and then."""
    if rng.random() < english:
        return rng.choice(ENGLISH[heldout])
    if not heldout and rng.random() < 0.35:
        return _pieced(rng)
    any_letters = not heldout and rng.random() < 0.15
    framed = not heldout and rng.random() < 0.2
    while True:
        parts = [rng.choice(FRAME_WORDS)] if framed else []
        for _ in range(1 if framed else rng.randint(*syllables)):
            vowels = COMMON_VOWELS if rng.random() < 0.8 else VOWELS
            parts.append(rng.choice(ONSETS) + rng.choice(vowels) + rng.choice(CODAS))
        word = "".join(parts)
        if any_letters:
            word = "".join(rng.choice(LETTERS) for _ in word)
        if not heldout and rng.random() < 0.2:
            spots = rng.sample(range(len(word)), min(len(word), rng.choice([1, 1, 2, 3])))
            word = "".join(rng.choice(ACCENTED) if i in spots else c for i, c in enumerate(word))
        if 3 <= len(word) <= 12 and is_heldout_word(word) == heldout:
            return word


def _pieced(rng: random.Random) -> str:
    """The head of one English word and the tail of another, or a head alone: syllables begin in too
    few ways for every token to be copied as the first of a word, as in "Folake" or "stools"."""
    while True:
        word = rng.choice(ENGLISH[False])[: rng.randint(2, 5)]
        if rng.random() < 0.85:
            word += rng.choice(ENGLISH[False])[-rng.randint(2, 4) :]
        if 3 <= len(word) <= 12 and not is_heldout_word(word):
            return word


FIRST_NAMES = """
James Mary Robert Patricia John Jennifer Michael Linda David Elizabeth William Barbara Richard Susan
Joseph Jessica Thomas Sarah Charles Karen Daniel Lisa Matthew Nancy Anthony Betty Mark Sandra Paul
Ashley Steven Emily Andrew Donna Joshua Michelle Kenneth Carol Kevin Amanda Brian Melissa George
Deborah Edward Stephanie Ronald Rebecca Timothy Laura Jason Sharon Jeffrey Cynthia Ryan Kathleen
Jacob Amy Gary Angela Nicholas Shirley Eric Anna Jonathan Brenda Stephen Pamela Larry Emma Justin
Nicole Scott Helen Brandon Samantha Ben Katherine Samuel Christine Greg Debra Frank Rachel Alex
Carolyn Raymond Janet Patrick Maria Jack Olivia Dennis Heather Jerry Diane Tyler Julie Aaron Joyce
Jose Victoria Adam Ruth Henry Virginia Nathan Lauren Douglas Kelly Zachary Christina Peter Joan Kyle
Evelyn Noah Judith Ethan Andrea Jeremy Hannah Walter Megan Keith Cheryl Christian Jacqueline Roger
Martha Terry Gloria Austin Teresa Sean Ann Gerald Sara Carl Madison Harold Frances Dylan Kathryn
Arthur Janice Lawrence Jean Jordan Alice Jesse Julia Bryan Grace Billy Judy Bruce Sophia Gabriel
Rose Joe Theresa Logan Beverly Alan Denise Juan Marilyn Albert Amber Willie Danielle Wayne Brittany
Liam Mia Lucas Ava Mason Ella Leo Chloe Max Zoe Oscar Lily Hugo Nora Felix Clara Otto Ida Emil Elsa
Luis Carmen Diego Lucia Pablo Elena Marco Giulia Luca Sofia Paolo Chiara Pierre Camille Louis Manon
Jürgen Käthe Günter Zoë José Inés André Renée Søren Åsa Björn Łukasz Małgorzata Ngọc Ömer Aylin
Mehmet Fatma Ahmed Layla Omar Aisha Yusuf Zainab Ravi Ananya Arjun Divya Sanjay Meera Hiroshi Sakura
Kenji Aiko Wei Ming Jun Hana Ji-woo Min-jun Kwame Ama Chidi Ngozi Sipho Thandi Ivan Olga Dmitri
Svetlana Katya Boris Anders Ingrid Lars Freya Mikko Aino Janos Eszter Pavel Jana Marek Zuzana Sam
Kim Tom Bob Eve Dan Liz Meg Tim Pam Ron Sue Joy Roy Ian Amir Noor Tara Nina Rita Vera Iris Dora Ada
Ines
""".split()
LAST_NAMES = """
Smith Johnson Williams Brown Jones Garcia Miller Davis Rodriguez Martinez Hernandez Lopez Gonzalez
Wilson Anderson Taylor Moore Jackson Martin Lee Perez Thompson White Harris Sanchez Clark Ramirez
Lewis Robinson Walker Young Allen King Wright Torres Nguyen Hill Flores Green Adams Nelson Baker
Hall Rivera Campbell Mitchell Carter Roberts Gomez Phillips Evans Turner Diaz Parker Cruz Edwards
Collins Reyes Stewart Morris Morales Murphy Cook Rogers Gutierrez Ortiz Morgan Cooper Peterson
Bailey Reed Kelly Howard Ramos Cox Ward Richardson Watson Brooks Wood Bennett Gray James Müller
Schmidt Schneider Fischer Weber Rossi Russo Ferrari Dubois Moreau Laurent Kowalski Nowak Novak
Svensson Hansen Nielsen Yamamoto Tanaka Suzuki Kim Park Choi Chen Wang Zhang Singh Patel Kumar
Khan Ali Hassan Okafor Mensah O'Brien O'Neill MacLeod Papadopoulos Petrov Ivanova Silva Santos
""".split()
CITIES = (
    """
Paris|London|Berlin|Madrid|Rome|Lisbon|Vienna|Prague|Warsaw|Budapest|Dublin|Amsterdam|Brussels
Copenhagen|Stockholm|Oslo|Helsinki|Athens|Istanbul|Moscow|Kyiv|Zürich|Geneva|Munich|Hamburg|Cologne
Frankfurt|Lyon|Marseille|Nice|Bordeaux|Toulouse|Barcelona|Valencia|Seville|Bilbao|Porto|Milan|Turin
Naples|Venice|Florence|Bologna|Manchester|Liverpool|Leeds|Glasgow|Edinburgh|Bristol|Cardiff|Belfast
Cork|New York|Los Angeles|Chicago|Houston|Phoenix|Philadelphia|San Antonio|San Diego|Dallas|Austin
San Francisco|Seattle|Denver|Boston|Detroit|Memphis|Portland|Las Vegas|Baltimore|Atlanta|Miami
Oakland|Cleveland|New Orleans|Honolulu|Toronto|Montréal|Vancouver|Ottawa|Calgary|Québec|Mexico City
Guadalajara|Bogotá|Lima|Quito|Santiago|Buenos Aires|São Paulo|Rio de Janeiro|Montevideo|Caracas
Havana|Tokyo|Osaka|Kyoto|Sapporo|Seoul|Busan|Beijing|Shanghai|Shenzhen|Hong Kong|Taipei|Singapore
Bangkok|Hanoi|Manila|Jakarta|Mumbai|Delhi|Chennai|Kolkata|Bangalore|Karachi|Lahore|Dhaka|Kathmandu
Tehran|Baghdad|Dubai|Doha|Riyadh|Jerusalem|Tel Aviv|Cairo|Tunis|Algiers|Casablanca|Lagos|Accra
Nairobi|Kampala|Kigali|Cape Town|Johannesburg|Durban|Sydney|Melbourne|Brisbane|Perth|Auckland
Kraków|Gdańsk|Malmö|Göteborg|Århus|Düsseldorf|Córdoba|Málaga|Tromsø|Reykjavík|Split|Zagreb|Riga
""".strip()
    .replace("\n", "|")
    .split("|")
)
JOBS = (
    """
teacher|nurse|doctor|engineer|lawyer|baker|chef|pilot|farmer|plumber|painter|writer|singer|dentist
cook|waiter|driver|librarian|architect|accountant|carpenter|electrician|designer|photographer
programmer|mechanic|gardener|tailor|pharmacist|journalist|translator|scientist|biologist|chemist
physicist|geologist|firefighter|police officer|bus driver|taxi driver|software engineer|data analyst
graphic designer|sales manager|project manager|art teacher|piano teacher|tour guide|flight attendant
civil engineer|social worker|hairdresser|barber|butcher|fisherman|florist|jeweller|postman|vet
security guard|shop assistant|music producer|game developer|web developer|bank clerk
marine biologist
""".strip()
    .replace("\n", "|")
    .split("|")
)
COMPANIES = (
    """
Acme|Globex|Initech|Umbra|Nordwind|Bluefin|Redwood Labs|Sunrise Foods|Delta Motors|Apex Systems
City Hospital|Green Energy|Pixel Works|Orbit Airlines|Harbor Bank|Maple Books|Iron Gate|Lumen Studio
""".strip()
    .replace("\n", "|")
    .split("|")
)
HOBBIES = (
    """
chess|painting|swimming|hiking|cooking|reading|dancing|cycling|running|fishing|gardening|photography
knitting|sailing|climbing|skiing|surfing|yoga|karate|tennis|football|pottery|singing|camping|judo
""".strip()
    .replace("\n", "|")
    .split("|")
)
ITEM_NOUNS = (
    """
mug|chair|table|lamp|book|pen|pencil|notebook|shirt|jacket|coat|hat|scarf|sock|shoe|boot|bag
backpack|wallet|belt|ring|watch|clock|mirror|pillow|blanket|towel|bottle|cup|plate|bowl|spoon|fork
knife|pan|pot|kettle|toaster|blender|camera|phone|tablet|laptop|keyboard|mouse|monitor|printer|cable
charger|battery|speaker|headphone|ball|racket|bike|helmet|tent|rope|ladder|hammer|drill|screwdriver
bucket|broom|candle|vase|frame|poster|puzzle|doll|kite|drum|guitar|violin|flute|apple|orange|banana
lemon|pizza|burger|sandwich|cake|cookie|croissant|muffin|pie|donut|coffee|tea|juice|soda|salad|soup
umbrella|desk|sofa|shelf|rug|curtain|door handle|light bulb|water filter|coffee maker|tea pot
desk lamp|phone case|yoga mat|gift card|office chair|bookshelf|usb stick|garden hose|board game
picture frame
""".strip()
    .replace("\n", "|")
    .split("|")
)
ITEM_ADJECTIVES = (
    """
red|blue|green|black|white|yellow|pink|grey|brown|purple|small|large|big|tiny|wooden|plastic|metal
leather|cotton|silk|wool|glass|ceramic|steel|silver|golden|round|square|folding|electric|wireless
vintage|cheap|heavy|light|soft|hard|warm|cold|fresh|organic|spicy|sweet|striped|waterproof|portable
""".strip()
    .replace("\n", "|")
    .split("|")
)
EVENT_KINDS = (
    """
concert|meeting|workshop|party|wedding|lecture|seminar|festival|exhibition|conference|dinner|lunch
picnic|marathon|tournament|match|parade|auction|premiere|rehearsal|reunion|fair|market|show|class
training|interview|hackathon|quiz night|film night|book club|open day|charity run|dance class
""".strip()
    .replace("\n", "|")
    .split("|")
)
EVENT_ADJECTIVES = (
    """
annual|spring|summer|autumn|winter|jazz|rock|science|art|book|food|wine|music|chess|design|budget
board|team|family|school|city|street|garden|charity|history|poetry|photo|robotics|safety|sales|farm
""".strip()
    .replace("\n", "|")
    .split("|")
)
PLACE_KINDS = (
    """
Hall|Park|Theatre|Hotel|Library|Museum|School|Center|Square|Garden|Arena|Stadium|Club|Church|Café
Gallery|Room|House|Castle|Market|Pier|Station|Studio|Bar|Restaurant|College|Beach|Barn|Tower
""".strip()
    .replace("\n", "|")
    .split("|")
)
PLACE_ADJECTIVES = (
    """
Town|City|Grand|Royal|Central|Riverside|Old|New|Green|Blue|Red|North|South|East|West|Victoria
Queen's|King's|Lake|Hill|Harbor|Union|Liberty|Sunset|Oak|Maple|Rose|Golden|Silver|Crystal|Main
Corner|Forest
""".strip()
    .replace("\n", "|")
    .split("|")
)
COLORS = "red blue green yellow purple orange black white pink brown grey turquoise violet".split()
FOODS = (
    """
pizza|pasta|sushi|curry|ramen|tacos|lasagna|soup|salad|chocolate|ice cream|cheese|rice|noodles|bread
pancakes|dumplings|paella|falafel|steak|fish and chips|burgers|apple pie|porridge|kebab|risotto
""".strip()
    .replace("\n", "|")
    .split("|")
)
ANIMALS = (
    "cat dog horse rabbit parrot hamster turtle goldfish pony goat lizard pigeon mouse".split()
)
LANGUAGES = (
    "French German Spanish Italian Dutch Polish Turkish Arabic Japanese Korean Hindi".split()
)
TOPICS = (
    """
the history of chess|black holes|how to bake bread|electric cars|the best hiking trails|solar power
cheap flights|the French Revolution|healthy breakfast ideas|how bees make honey|jazz music|dinosaurs
the tallest mountain|python tutorials|new phones|vegan recipes|the moon landing|coral reefs|robots
learning the guitar|climate change|medieval castles|the stock market|growing tomatoes
world cup winners
""".strip()
    .replace("\n", "|")
    .split("|")
)
TASKS = (
    """
call the bank|buy milk|water the plants|pay the rent|pick up the kids|send the report|book a hotel
feed the cat|wash the car|renew my passport|clean the kitchen|order a cake|check the oven
visit grandma|return the books|take my pills|charge the phone|print the tickets|fix the bike
walk the dog
""".strip()
    .replace("\n", "|")
    .split("|")
)
THINGS = (
    """
film|movie|book|meal|hotel|room|service|phone|laptop|camera|show|concert|game|album|song|trip|flight
restaurant|food|coffee|staff|app|website|product|delivery|course|teacher|lesson|play|story|series
episode|museum|tour|beach|view|bed|breakfast|pizza|burger|soup|cake|wine|beer|shirt|jacket|bag|chair
table|lamp|car|bike|train|bus ride|driver|support team|waiter|manager|update|battery|screen|sound
keyboard|printer|mattress|vacuum|blender|toy|party|lecture|performance|band|actor|ending|plot|place
""".strip()
    .replace("\n", "|")
    .split("|")
)
MONTHS = (
    "January February March April May June July August September October November December".split()
)
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()


def number_word(number: int) -> str:
    """The English name of 0..99."""
    if number < 20:
        return UNITS[number]
    tens, unit = divmod(number, 10)
    return TENS[tens] + (f"-{UNITS[unit]}" if unit else "")


def bank(block: str) -> list[str]:
    """Items between bars or line ends."""
    return block.strip().replace("\n", "|").split("|")
