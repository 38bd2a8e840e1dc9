"""The house stands: layout, packaging, import rules (docs/adr/0001-packaging.md)."""

from __future__ import annotations

import ast
import importlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests import house_rules
from tests.support import ROOT

CLIENT_SIDE = ["espalier", "espalier.grammar", "espalier.frontend_lang", "espalier.runtime.engine"]


def run_python(code: str, cwd: Path, **env: str) -> str:
    """Run `code` in a fresh interpreter that inherits no PYTHONPATH; its output, or its failure."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=clean | env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_imports_go_down() -> None:
    assert house_rules.check_imports(ROOT) == []


def test_imports_stay_inside() -> None:
    assert house_rules.check_foreign_names(ROOT) == []


def test_every_folder_is_packaged() -> None:
    assert house_rules.check_packages(ROOT) == []


def test_files_and_functions_are_short() -> None:
    assert house_rules.check_sizes(ROOT) == []


def test_library_is_safe_and_finished() -> None:
    assert house_rules.check_unsafe(ROOT) == []


def test_no_path_of_a_workplace() -> None:
    assert house_rules.check_paths(ROOT) == []


def test_type_checkers_read_a_visible_folder() -> None:
    # pyright reports "0 errors" over nothing when the folder it is given is hidden.
    config = house_rules.load_config(ROOT)
    for folder in config["tool"]["pyright"]["include"]:
        assert not any(part.startswith(".") for part in Path(folder).parts)
        assert folder.startswith(config["tool"]["mypy"]["mypy_path"])


def test_transformers_imports_in_the_repo_root() -> None:
    run_python("from transformers import LlamaForCausalLM", ROOT)


def test_imports_of_the_client_side_load_no_torch() -> None:
    code = f"""
import importlib, json, sys
sys.path.insert(0, {str(ROOT)!r})
heavy = {{}}
for name in {[*CLIENT_SIDE, *light_modules()]!r}:
    importlib.import_module(name)
    heavy[name] = sorted({{"torch", "transformers"}} & sys.modules.keys())
import espalier
for name in espalier.__all__:
    getattr(espalier, name)
    heavy["espalier." + name] = sorted({{"torch", "transformers"}} & sys.modules.keys())
print(json.dumps({{name: found for name, found in heavy.items() if found}}))
"""
    assert json.loads(run_python(code, ROOT.parent)) == {}


def light_modules() -> list[str]:
    names = (house_rules.module_name(ROOT, path) for path in house_rules.library_files(ROOT))
    light = (
        n for n in names if any(house_rules.under(n, pattern) for pattern in house_rules.LIGHT)
    )
    return [f"espalier.{name}" for name in light]


def test_all_of_espalier_is_sorted_and_complete() -> None:
    import espalier

    assert espalier.__all__ == sorted(set(espalier.__all__))
    assert [name for name in espalier.__all__ if not hasattr(espalier, name)] == []
    bound = {name: getattr(espalier, name) for name in dir(espalier)}
    assert house_rules.check_public_names(espalier.__all__, bound) == []


def test_a_name_that_espalier_has_not_is_told_with_the_nearest() -> None:
    import espalier

    with pytest.raises(AttributeError, match=r"'functoin'\. Did you mean 'function'\?$"):
        _ = espalier.functoin


def test_type_checkers_see_all_of_espalier() -> None:
    tree = house_rules.parse(ROOT / "espalier" / "__init__.py")
    seen = {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    }
    import espalier

    assert seen == {*espalier.__all__} - {"__version__"}


@pytest.mark.parametrize("part", ["frontend_lang", "grammar", "radix_cache", "runtime"])
def test_all_of_a_part_is_complete(part: str) -> None:
    module = importlib.import_module(f"espalier.{part}")
    names = getattr(module, "__all__", [])
    lazy = {name: getattr(module, name) for name in names if hasattr(module, name)}
    assert house_rules.check_public_names(list(names), vars(module) | lazy) == []


@pytest.mark.slow
def test_the_wheel_works_from_elsewhere(tmp_path: Path) -> None:
    """Built from a copy (building writes beside the sources), unpacked, imported from elsewhere."""
    source, unpacked = tmp_path / "source", tmp_path / "unpacked"
    for path in house_rules.project_files(ROOT):
        target = source / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    build = f"import setuptools.build_meta as b; b.build_wheel({str(tmp_path)!r})"
    run_python(build, source)
    (wheel,) = tmp_path.glob("espalier-*.whl")
    zipfile.ZipFile(wheel).extractall(unpacked)
    shutil.rmtree(source)

    modules = [house_rules.module_name(ROOT, path) for path in house_rules.library_files(ROOT)]
    code = f"""
import importlib, sys
for name in {modules!r}:
    importlib.import_module("espalier" + "." * bool(name) + name)
import espalier
files = [m.__file__ for n, m in sys.modules.items() if n.split(".")[0] == "espalier" and m.__file__]
assert all(f.startswith({str(unpacked)!r}) for f in files), files
"""
    run_python(code, tmp_path, PYTHONPATH=str(unpacked))
    shipped = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*")}
    assert "espalier/py.typed" in shipped
    assert {name.split("/")[0].split("-")[0] for name in shipped} == {"espalier"}
