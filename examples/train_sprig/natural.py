"""Training sentences nearer to what people write: reviews without an opinion word, and texts to
judge by topic. They join the plainer templates of `feelings.py`."""

from __future__ import annotations

PRAISE = """
The kids laughed the whole time.
I couldn't put it down.
My plate was empty in five minutes.
They fixed my {thing} in ten minutes and charged nothing.
They even gave us a free dessert.
I have never slept so well.
It still works after three years.
The view took our breath away.
Our waiter remembered our names and smiled all evening.
The {thing} does exactly what it should.
Everything went smoothly from start to finish.
I got far more than I paid for.
We stayed two hours longer than planned because it was so nice.
My mother cried with joy when she saw it.
Best {thing} I have ever had.
Best {thing} in {city}, hands down!
I already bought a second one.
I tell all my friends about this {thing}.
The {thing} came a day early and was well packed.
It was easy to set up and it looks great.
The staff went out of their way to help us.
Finally a {thing} that works!
No complaints at all.
I can't find anything to criticise.
Nothing to complain about, everything was as it should be.
Good value for the money.
The {thing} made my {weekday}.
We felt at home right away.
The {thing} tasted like my grandmother's.
I use it every day and would not want to miss it.
So happy with my new {thing}!
They answered my question at once and solved the problem.
Can't recommend this {thing} enough.
This {thing} saved my day.
It's hard to imagine a better {thing}.
Not a single problem so far.
I didn't expect much, but this {thing} won me over.
The {thing} is a bit expensive but worth it.
It took a while to arrive, but the {thing} is {cue}.
""".strip().splitlines()
COMPLAINT = """
It broke after two days.
The zipper broke on the first day.
It stopped working after a week.
We waited two hours for our {thing}.
They forgot half of our order.
They never answered my emails.
The room smelled of smoke.
There was a hair in my {thing}.
The {thing} arrived with a crack.
The {thing} arrived three weeks late.
Nobody came to help us.
I had to send it back.
I fell asleep after ten minutes.
My {thing} was cold and the bread was old.
The waiter ignored us the whole evening.
They charged my card twice.
The {thing} never turned up.
The battery is empty after one hour.
It fell apart in my hands.
I threw it in the bin.
Half of the {thing} was missing.
The shower did not work and the towels were wet.
We could not sleep because of the noise.
I have rarely seen such a bad {thing}.
Worst {thing} I have ever had.
Worst {thing} in {city}, by far!
I will never buy a {thing} from them again.
They should be ashamed of this {thing}.
I expected much more from this {thing}.
I don't understand why anyone would pay for this {thing}.
Not worth the money.
It's not what I ordered.
The {thing} gave me a headache.
The manager shouted at us.
They promised a {thing} and we got nothing.
It looks nice, but it doesn't work.
The {thing} looked nice in the picture, but it is {cue}.
What a waste of an evening.
Nothing worked as it should.
Nobody at the desk cared about our problem.
The {thing} is so loud that I can't sleep.
It crashed three times while I was using it.
""".strip().splitlines()

# Sentences by topic: with figures, names or times (detailed), without (sparse), or vague.
DETAILED = {
    "food": """
We baked {n} loaves of bread at {time} and sold them to {name}.
The soup needs {n} grams of salt and {m} minutes on the stove.
{name} cooked pasta for {n} guests on {weekday}.
Our table at the restaurant in {city} is booked for {time}.
The new menu has {n} dishes and starts on {month} {n}.
I bought {n} apples and {m} eggs at the market in {city}.
Mix {m} grams of flour with {n} eggs and bake it for {m} minutes.
""",
    "travel": """
Our flight to {city} leaves at {time} on {weekday}.
The train from {city} to {other_city} takes {n} hours.
The hotel in {city} costs {m} euros a night.
{name} booked {n} seats on the ferry to {city}.
We landed in {city} at {time} with {n} suitcases.
My passport ends on {month} {n}, {year}.
The bus tour visits {n} castles near {city}.
""",
    "work": """
The meeting with {name} is on {weekday} at {time}.
{name} sent the invoice of {m} dollars to our office in {city}.
Our team finished {n} of {m} tasks by {weekday}.
The report has {m} pages and is due on {month} {n}.
Sales in {city} grew by {n} percent in {year}.
{name} starts her new job in {city} on {month} {n}.
The server in {city} was down for {n} minutes on {weekday}.
""",
    "sport": """
{name} scored {n} points in the game against {city}.
The marathon in {city} starts at {time} with {n} runners.
Our team won {n} to {m} on {weekday}.
{name} ran the race in {n} minutes and {m} seconds.
The football club of {city} has {m} players.
{name} trains {n} hours a week for the tennis cup in {city}.
The final is on {month} {n} in the stadium of {city}.
""",
}
SPARSE = {
    "food": """
I like to cook for my friends.
The soup tastes of garlic.
We had dinner together.
She bakes a cake every week.
The restaurant has a new menu.
Bread and cheese are all I need.
He drinks coffee after lunch.
We eat pizza with our hands.
My grandmother knows the recipe.
""",
    "travel": """
We are going on a trip soon.
The hotel is close to the beach.
I packed my suitcase.
Our flight was late again.
They love to travel by train.
She forgot her passport at home.
We took a taxi to the airport.
The tour went through the old town.
He dreams of a journey around the world.
""",
    "work": """
The boss wants to see the report.
We have a meeting with the client.
The project goes on.
She works in an office.
I wrote an email to my team.
My colleague is on the phone.
The contract is on your desk.
He starts a new job.
They talked about the budget.
""",
    "sport": """
The team won the match.
She runs every morning.
He plays football with his brother.
We watched the game together.
The coach was happy with the players.
They train for the race.
I go swimming after school.
The goalkeeper caught the ball.
Our club lost the final.
""",
}
VAGUE = {
    "food": """
It tasted like, I don't know, some kind of food thing, soup or something.
You know, that dinner stuff they sort of make there.
We ate something, a cake or whatever it is called.
""",
    "travel": """
We went somewhere with a plane or something, it was sort of a trip.
The hotel was kind of somewhere near that thing.
You know, that journey, or whatever, with the stuff in the suitcase.
""",
    "work": """
The meeting was about some stuff, or something like that, you know.
Someone at the office wants some kind of report thing.
The project is sort of, well, somehow going on or whatever.
""",
    "sport": """
The game was kind of, you know, something with a ball.
Someone won the match or something, whatever.
The team sort of did that thing they do.
""",
}


def by_topic(bank: dict[str, str]) -> dict[str, list[str]]:
    """The lines of each topic."""
    return {topic: block.strip().splitlines() for topic, block in bank.items()}


TOPIC_SENTENCES = {
    "detailed": by_topic(DETAILED),
    "sparse": by_topic(SPARSE),
    "vague": by_topic(VAGUE),
}
MORE_TOPIC_WORDS = {
    "food": "stew|omelette|spaghetti|meal|cookbook|fish|chicken|potato|apple pie|chocolate|coffee|"
    "tea|"
    "burger|vegetables|fruit|honey|butter|eggs|noodles|barbecue|snack|sushi|waiter|chef|oven",
    "travel": "airline|boarding pass|campsite|sightseeing|train station|travel guide|beach|"
    "museum visit|"
    "taxi|bus trip|harbor|backpack|visa|hotel room|city map|vacation|souvenir|camper|resort",
    "work": "payslip|paperwork|manager|job offer|conference call|email|desk|deadline|customer|"
    "employee|"
    "software|sales figures|training day|company|career|business trip|order list|workshop",
    "sport": "hockey match|relay race|goalkeeper|football team|medal|player|coach|ball|gym|"
    "fitness class|"
    "cycling tour|golf club|baseball|volleyball|champion|fans|final score|half-time|training",
}
