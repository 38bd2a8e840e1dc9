"""Make `.typing/espalier/`: links that show type checkers the package as it is installed.

The part folders lie at the top of the repo and are imported as `espalier.<part>`; neither mypy nor
pyright knows setuptools' package-dir mapping, so they read this git-ignored tree instead.
"""

from __future__ import annotations

import os
import shutil
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    with open(ROOT / "pyproject.toml", "rb") as file:
        mapping: dict[str, str] = tomllib.load(file)["tool"]["setuptools"]["package-dir"]
    tree = ROOT / ".typing" / "espalier"
    shutil.rmtree(tree.parent, ignore_errors=True)
    tree.mkdir(parents=True)
    for name, folder in sorted(mapping.items()):
        target = tree.joinpath(*name.split(".")[1:])
        target.mkdir(exist_ok=True)
        for source in sorted((ROOT / folder).iterdir()):
            if source.suffix in (".py", ".pyi", ".typed"):
                (target / source.name).symlink_to(os.path.relpath(source, target))


if __name__ == "__main__":
    main()
