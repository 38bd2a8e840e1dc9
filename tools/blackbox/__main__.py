"""Runs peers' tests of servers like this one against `espalier serve`, and writes docs/blackbox.md.

`python -m tools.blackbox` fetches the source distributions of openai, llama-cpp-python and vLLM,
and runs their tests against live servers: on the embedded model, and on a small one of random
weights. It fails where fewer than 95 % of those that apply pass.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .models import CONTEXT, save_random
from .page import BAR, write_page
from .servers import ROOT
from .suites import SUITES, Model, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools.blackbox", description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "blackbox")
    parser.add_argument("--suite", choices=[suite.name for suite in SUITES])
    parser.add_argument("--model", choices=["sprig", "random"])
    parser.add_argument("-k", dest="only", help="as pytest has it; no page is written")
    args = parser.parse_args()
    work: Path = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    models = [
        Model("sprig", ROOT / "runtime" / "sprig", 2048),
        Model("random", save_random(work / "random"), CONTEXT),
    ]
    for suite in SUITES:
        for model in models:
            if args.suite in (None, suite.name) and args.model in (None, model.name):
                run(suite, model, work, args.only)
    if args.only is not None:
        return 0
    return 0 if write_page(work, [m.name for m in models]) >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
