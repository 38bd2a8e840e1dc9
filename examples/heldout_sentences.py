"""Sentences from Sprig's held-out templates and vocabularies with their fields, as JSON lines.

python examples/heldout_sentences.py --count 20 | espalier demo --cases -
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if not __package__:  # run as a file: the folder `examples` is found beside it
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from examples.train_sprig.heldout import HELDOUT
from examples.train_sprig.skills import FIELD_ORDER, _record
from examples.train_sprig.world import fill, slots


def draw(count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """`count` sentences, each with the fields it gives, in declared order, and their values."""
    rng = random.Random(f"sentences-{seed}")
    for _ in range(count):
        kind = rng.choice(list(FIELD_ORDER))
        template, values, written = _record(rng, HELDOUT, kind)
        fields = [field for field in FIELD_ORDER[kind] if field in slots(template)]
        expected = {field: values[field] for field in fields}
        yield {"text": fill(template, written), "fields": fields, "expected": expected}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for case in draw(args.count, args.seed):
        print(json.dumps(case, ensure_ascii=False))


if __name__ == "__main__":
    main()
