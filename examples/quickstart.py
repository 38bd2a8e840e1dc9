"""A first program: fields of a sentence into a dataclass.

python examples/quickstart.py
espalier run examples/quickstart.py --arg "sentence=At 52, Ingrid Solberg moved to Bergen."
"""

from __future__ import annotations

from dataclasses import dataclass

import espalier as esp


@dataclass
class Person:
    name: str
    age: int
    city: str


@esp.function
def extract(
    s: esp.ProgramState, sentence: str = "Zorina Okafor is 34 years old and lives in Lisbon."
) -> None:
    s += esp.user(f"Extract name, age, city as JSON: {sentence}")
    s += esp.assistant(esp.gen("person", Person))


def main() -> None:
    with esp.Engine() as engine:
        state = extract.run(backend=engine)
        person: Person = state["person"]
        print(f"{person.name} is {person.age} and lives in {person.city}.")
        print(state.report())


if __name__ == "__main__":
    main()
