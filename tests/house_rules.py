"""Checkers of the house's rules (docs/adr/0001-packaging.md), as plain functions over a tree.

Each takes the root of a checkout and gives one line per violation, so that `test_house.py` can hold
the project to them and show on small bad trees that each can fail.
"""

from __future__ import annotations

import ast
import functools
import os
import subprocess
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

PARTS = ("benchmarks", "compat", "frontend_lang", "grammar", "kernels", "radix_cache", "runtime")
NOUNS = ("errors", "types")
OUTSIDE = ("tests", "examples", "tools")  # folders of a checkout that the library never imports
SKIPPED_FOLDERS = {"build", "dist", "docs", *OUTSIDE}

# These may import all, and nobody imports them.
ON_TOP = (
    "runtime.cli",
    "runtime.cli_*",
    "runtime.server",
    "runtime.server_*",
    "benchmarks",
    "compat",
)
# Who may import whom: the first pattern that fits a module of the library, and what it may import
# beside errors and types. A pattern fits the module it names and everything below it.
MAY_IMPORT: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("errors", ()),
    ("types", ()),
    ("radix_cache", ("radix_cache",)),
    ("grammar", ("grammar",)),
    ("kernels", ("kernels",)),
    # A script's answers are held to their grammars, by the grammar part itself.
    ("frontend_lang.backends.conform", ("frontend_lang", "grammar")),
    (
        "frontend_lang.backends",
        (
            "frontend_lang",
            "grammar.spec",
            "grammar.terms",
            "grammar.python_types",
            "runtime.engine",
            "runtime.http_client",
            "runtime.http_protocol",
        ),
    ),
    ("frontend_lang", ("frontend_lang", "grammar.spec", "grammar.terms", "grammar.python_types")),
    *((top, ("*",)) for top in ON_TOP),
    ("runtime", ("runtime", "radix_cache", "grammar", "kernels")),
)
HEAVY = ("torch", "transformers", "triton", "safetensors")
SCHEDULER = ("plan", "request", "scheduler", "sequence", "waiting")
# Modules that know no torch: ints in, ints out, and a caller's process that never loads it.
LIGHT = (
    "errors",
    "types",
    "radix_cache",
    "grammar",
    "frontend_lang",
    "runtime.engine",
    "runtime.http_client",
    *(f"runtime.{name}" for name in SCHEDULER),
)


class Import(NamedTuple):
    """One imported module: as written (`absolute`), or resolved below the package (`""` level)."""

    module: str
    line: int
    relative: bool


def load_config(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text())


def library_files(root: Path) -> Iterator[Path]:
    for part in ("espalier", *PARTS):
        yield from sorted((root / part).rglob("*.py"))


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def module_name(root: Path, path: Path) -> str:
    """The name below `espalier`: `runtime/models/llama.py` is `runtime.models.llama`."""
    parts = list(path.relative_to(root).with_suffix("").parts)
    if parts[0] == "espalier":
        parts = parts[1:]
    if parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts)


def under(module: str, pattern: str) -> bool:
    """Whether `module` is `pattern` (which may hold `*`) or lies below it."""
    return fnmatch(module, pattern) or fnmatch(module, pattern + ".*")


def imports_of(root: Path, path: Path) -> Iterator[Import]:
    """Every import of a file, wherever it stands; names imported from a package count as modules
    of it where such a file exists."""
    package = module_name(root, path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, relative=False)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield Import(node.module or "", node.lineno, relative=False)
        elif isinstance(node, ast.ImportFrom):
            above = [name for name in package if name][: len(package) - node.level + 1]
            base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                module = f"{base}.{alias.name}".strip(".")
                yield Import(module if is_module(root, module) else base, node.lineno, True)


def is_module(root: Path, module: str) -> bool:
    path = root.joinpath(*module.split("."))
    nouns = root / "espalier" / f"{module}.py"
    return path.is_dir() or path.with_suffix(".py").is_file() or nouns.is_file()


def check_imports(root: Path) -> list[str]:
    """Who may import whom; relative imports between parts; nothing from outside the library."""
    found = []
    for path in library_files(root):
        name = module_name(root, path)
        allowed = next((may for pattern, may in MAY_IMPORT if under(name, pattern)), ("*",))
        light = any(under(name, pattern) for pattern in LIGHT)
        for module, line, relative in imports_of(root, path):
            where = f"{path.relative_to(root)}:{line}"
            top = module.split(".")[0]
            if not relative:
                if top in ("espalier", *PARTS, *OUTSIDE):
                    found.append(f"{where}: imports {module} by its absolute name")
                if light and top in HEAVY:
                    found.append(f"{where}: {name} knows no {top}")
                continue
            if module in NOUNS or module == "":
                continue
            if any(under(module, top) and not under(name, top) for top in ON_TOP):
                if not any(under(name, top) for top in ON_TOP):
                    found.append(f"{where}: nothing imports {module}")
            elif not any(under(module, pattern) for pattern in allowed):
                found.append(f"{where}: {name or 'espalier'} may not import {module}")
    return found


def check_foreign_names(root: Path) -> list[str]:
    """A checkout makes `espalier.tests` and its like importable; nobody relies on that."""
    found = []
    banned = tuple(f"espalier.{name}" for name in (*OUTSIDE, "espalier"))
    for folder in ("espalier", *PARTS, *OUTSIDE):
        for path in sorted((root / folder).rglob("*.py")):
            for module, line, relative in imports_of(root, path):
                if not relative and any(under(module, name) for name in banned):
                    found.append(f"{path.relative_to(root)}:{line}: imports {module}")
    return found


def check_packages(root: Path) -> list[str]:
    """Every folder with .py files is a package of the wheel, and every package is such a folder."""
    config = load_config(root)["tool"]["setuptools"]
    folders = {
        path.parent.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if not any(part.startswith(".") for part in path.relative_to(root).parts)
        and path.relative_to(root).parts[0] not in SKIPPED_FOLDERS
        and path.parent != root
    }
    mapping: dict[str, str] = config["package-dir"]
    found = [f"{folder}: not in package-dir" for folder in sorted(folders - {*mapping.values()})]
    found += [f"{name}: not in packages" for name in sorted(mapping.keys() - {*config["packages"]})]
    found += [f"{name}: no package-dir" for name in sorted({*config["packages"]} - mapping.keys())]
    for name, folder in mapping.items():
        expected = folder.replace("/", ".")
        if name not in (expected, f"espalier.{expected}"):
            found.append(f"{name}: lies in {folder}")
        if not any((root / folder).glob("*")):
            found.append(f"{folder}: missing or empty")
    if (root / "kernels" / "__init__.py").exists():
        found.append("kernels/__init__.py: must not exist (transformers probes the name `kernels`)")
    return found


def check_sizes(root: Path, lines: int = 400, function_lines: int = 60) -> list[str]:
    """One idea a file, at most 400 lines; functions at most 60."""
    found = []
    for path in library_files(root):
        text = path.read_text()
        where = path.relative_to(root)
        if (length := len(text.splitlines())) > lines:
            found.append(f"{where}: {length} lines, of {lines} at most")
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > function_lines:
                    found.append(f"{where}:{node.lineno}: {node.name} has {length} lines")
    return found


def check_unsafe(root: Path) -> list[str]:
    """What a user or a client can reach runs no pickle, no eval and no shell; nothing is a stub."""
    found = []
    modules = {"pickle", "cloudpickle", "dill", "marshal", "shelve"}
    for path in library_files(root):
        tree = parse(path)
        where = path.relative_to(root)
        found += [
            f"{where}:{line}: imports {module}"
            for module, line, _ in imports_of(root, path)
            if module.split(".")[0] in modules
        ]
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id in {"eval", "exec"}:
                found.append(f"{where}:{node.lineno}: {node.id}")
            if isinstance(node, ast.Raise) and "NotImplementedError" in ast.unparse(node):
                found.append(f"{where}:{node.lineno}: NotImplementedError")
            if isinstance(node, ast.Attribute) and node.attr in {"load", "system"}:
                called = ast.unparse(node)
                if called in {"torch.load", "os.system"}:
                    found.append(f"{where}:{node.lineno}: {called}")
            if isinstance(node, ast.keyword) and node.arg == "shell":
                found.append(f"{where}:{node.value.lineno}: shell=")
            if isinstance(node, ast.ExceptHandler) and [*map(type, node.body)] == [ast.Pass]:
                broad = node.type is None or ast.unparse(node.type) in {
                    "Exception",
                    "BaseException",
                }
                if broad:
                    found.append(f"{where}:{node.lineno}: swallows every exception")
    return found


def project_files(root: Path) -> list[Path]:
    """The files of a checkout that are, or are about to be, committed; in an unpacked archive, all
    that are not hidden or built."""
    if (root / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout
        names = listed.decode().split("\0")
    else:
        names = []
        for folder, subfolders, files in os.walk(root):
            subfolders[:] = [n for n in subfolders if n[0] != "." and n not in ("build", "dist")]
            names += [os.path.relpath(os.path.join(folder, name), root) for name in files]
    return sorted({root / name for name in names if name and (root / name).is_file()})


def check_paths(root: Path) -> list[str]:
    """No file holds a path of the machine it was written on."""
    places = ["/" + "work/", "/" + "farm/", "/" + "root/", "/tmp/" + "bash_jobs"]
    found = []
    for path in project_files(root):
        data = path.read_bytes()
        if b"\0" in data[:4096]:
            continue
        for number, text in enumerate(data.decode(errors="replace").splitlines(), 1):
            if any(place in text for place in places):
                found.append(f"{path.relative_to(root)}:{number}: {text.strip()[:80]}")
    return found


def check_public_names(
    names: list[str], namespace: dict[str, object], package: str = "espalier"
) -> list[str]:
    """`__all__` against what a module binds: every name exists, none twice, and no class or
    function of the package's own is forgotten."""
    found = [
        f"{name}: twice in __all__" for name in sorted({n for n in names if names.count(n) > 1})
    ]
    found += [f"{name}: in __all__, and not there" for name in names if name not in namespace]
    for name, value in namespace.items():
        home = getattr(value, "__module__", "") or ""
        if not name.startswith("_") and home.split(".")[0] == package and name not in names:
            found.append(f"{name}: public, and not in __all__")
    return found
