"""Make `build/typing/espalier/`: links that show type checkers the package as it is installed.

The part folders lie at the top of the repo and are imported as `espalier.<part>`; neither mypy nor
pyright knows setuptools' package-dir mapping, so they read this git-ignored tree instead. Links
that are right are left alone, so that a checker running beside this script loses nothing.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    with open(ROOT / "pyproject.toml", "rb") as file:
        mapping: dict[str, str] = tomllib.load(file)["tool"]["setuptools"]["package-dir"]
    tree = ROOT / "build" / "typing"
    wanted: dict[Path, str] = {}
    for name, folder in mapping.items():
        target = tree.joinpath(*name.split("."))
        target.mkdir(parents=True, exist_ok=True)
        for source in (ROOT / folder).glob("*"):
            if source.suffix in (".py", ".pyi", ".typed"):
                wanted[target / source.name] = os.path.relpath(source, target)
    for link in tree.rglob("*"):
        if link.is_symlink() and wanted.get(link) != os.readlink(link):
            link.unlink()
    for link, source_path in wanted.items():
        if not link.is_symlink():
            link.symlink_to(source_path)


if __name__ == "__main__":
    main()
