"""Characters of a tale as JSON whose every field follows a regular expression.

The embedded model makes up who they are; that each is a character of this form, it cannot help.

python examples/characters.py
"""

from __future__ import annotations

import json

import espalier as esp

CHARACTER = (
    r'\{"name": "[A-Z][a-z]{2,10}( [A-Z][a-z]{2,10})?", '
    r'"house": "(Oak|Ash|Elm)", '
    r'"age": [1-9][0-9]?, '
    r'"wand": \{"wood": "[a-z]{3,10}", "inches": (9|1[0-4])\.[05]\}\}'
)


@esp.function
def character(s: esp.ProgramState, who: str = "a sailor of the old harbour") -> str:
    s += esp.user(f"Describe {who} as JSON.")
    s += esp.assistant(esp.gen("character", 90, regex=CHARACTER, temperature=0.8))
    return s["character"]


def main() -> None:
    with esp.Engine() as engine:
        whom = ["a sailor of the old harbour", "the last keeper of the lighthouse"]
        states = character.run_batch([{"who": who} for who in whom], backend=engine, seed=1)
        for state in states:
            print(json.loads(state.ret_value))
        print(states[-1].report())


if __name__ == "__main__":
    main()
