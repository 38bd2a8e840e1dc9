"""Classification by select, after a few examples: exact probabilities, and no answer but a label.

python examples/few_shot.py
"""

from __future__ import annotations

import espalier as esp

LABELS = ["positive", "negative", "neutral"]
SHOTS = [
    ("I loved every minute of it.", "positive"),
    ("It arrived broken and late.", "negative"),
    ("The box has four screws in it.", "neutral"),
]
REVIEWS = [
    "The soup was cold and the waiter was rude.",
    "Wonderful rooms and a lovely breakfast!",
    "The hotel has two floors.",
]


@esp.function
def classify(s: esp.ProgramState, review: str = REVIEWS[0]) -> str:
    ask = "Is this review positive, negative or neutral? "
    for text, label in SHOTS:
        s += esp.user(ask + text) + esp.assistant(label)
    s += esp.user(ask + review)
    s += esp.assistant(esp.select("label", LABELS))
    return s["label"]


def main() -> None:
    with esp.Engine() as engine:
        states = classify.run_batch([{"review": review} for review in REVIEWS], backend=engine)
        for review, state in zip(REVIEWS, states, strict=True):
            chances = state.get_meta_info("label")["probabilities"]
            print(f"{state['label']:9} {chances[state['label']]:.2f}  {review}")
        print(states[-1].report())


if __name__ == "__main__":
    main()
