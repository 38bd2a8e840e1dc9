"""Each rule of the house catches the breach it is there for, and lets the right thing pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import house_rules
from tests.house_rules import Import


def tree(root: Path, **files: str) -> Path:
    """A checkout of small files: `runtime__cli="..."` writes runtime/cli.py."""
    for part in ("espalier", *house_rules.PARTS):
        (root / part).mkdir()
    for name in (
        "espalier/errors",
        "espalier/types",
        "grammar/spec",
        "runtime/cli",
        "runtime/client",
    ):
        (root / f"{name}.py").write_text("")
    for name, text in files.items():
        path = root / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("espalier__types", "from .errors import EspalierError"),
        ("radix_cache__cache", "from ..errors import InvariantError\nfrom .tree import Node"),
        ("kernels__attention", "import torch\nfrom ..types import Result"),
        (
            "runtime__batch",
            "import torch\nfrom ..grammar import x\nfrom ..kernels import attention",
        ),
        (
            "runtime__scheduler",
            "from ..radix_cache.cache import RadixCache\nfrom .plan import Plan",
        ),
        ("frontend_lang__gen", "from ..grammar.spec import GrammarSpec"),
        ("frontend_lang__backends__engine", "from ...runtime.engine import Engine"),
        ("runtime__batch", "from .client import Link\nfrom .engine import Engine"),
        ("runtime__cli_demo", "from ..frontend_lang import gen\nfrom ..benchmarks import prefix"),
        ("benchmarks__prefix", "from ..runtime.cli import main\nimport torch"),
    ],
)
def test_allowed_imports(tmp_path: Path, file: str, text: str) -> None:
    root = tree(
        tmp_path,
        **{"frontend_lang__x": "", "runtime__engine": "", "runtime__cli_demo": "", file: text},
    )
    assert house_rules.check_imports(root) == []


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("espalier__errors", "from .runtime import engine", "errors may not import runtime.engine"),
        ("espalier__types", "import torch", "types knows no torch"),
        ("radix_cache__tree", "from ..grammar.spec import x", "may not import grammar.spec"),
        ("radix_cache__tree", "def f():\n    import torch.nn", "radix_cache.tree knows no torch"),
        ("grammar__pool", "from ..kernels import sampling", "may not import kernels"),
        ("kernels__attention", "from ..runtime.engine import Engine", "may not import runtime"),
        ("runtime__scheduler", "from torch import Tensor", "runtime.scheduler knows no torch"),
        ("runtime__engine", "import transformers", "runtime.engine knows no transformers"),
        ("runtime__batch", "from ..frontend_lang import x", "may not import frontend_lang"),
        ("runtime__batch", "from .cli import main", "nothing imports runtime.cli"),
        ("runtime__batch", "from .. import benchmarks", "nothing imports benchmarks"),
        ("runtime__batch", "from . import cli", "nothing imports runtime.cli"),
        ("runtime__batch", "from .cli_demo import Tour", "nothing imports runtime.cli_demo"),
        ("frontend_lang__gen", "from ..runtime.engine import Engine", "may not import runtime"),
        ("frontend_lang__gen", "from ..grammar.pool import Pool", "may not import grammar"),
        ("frontend_lang__backends__x", "from ...runtime.batch import x", "may not import runtime"),
        ("runtime__batch", "import espalier.kernels", "by its absolute name"),
        ("runtime__batch", "from kernels import attention", "by its absolute name"),
        ("runtime__cli_demo", "from examples.quickstart import main", "by its absolute name"),
    ],
)
def test_forbidden_imports(tmp_path: Path, file: str, text: str, complaint: str) -> None:
    root = tree(
        tmp_path,
        **{"frontend_lang__x": "", "runtime__engine": "", "runtime__cli_demo": "", file: text},
    )
    (violation,) = house_rules.check_imports(root)
    assert complaint in violation


@pytest.mark.parametrize("name", ["tests.support", "examples", "espalier.errors"])
def test_foreign_names(tmp_path: Path, name: str) -> None:
    root = tree(tmp_path, tests__test_x=f"import espalier.{name}", tests__test_y="import espalier")
    assert house_rules.check_foreign_names(root) == [f"tests/test_x.py:1: imports espalier.{name}"]


def packaged(root: Path, packages: str, mapping: str) -> list[str]:
    config = f"[tool.setuptools]\npackages = {packages}\n[tool.setuptools.package-dir]\n{mapping}\n"
    (root / "pyproject.toml").write_text(config)
    return house_rules.check_packages(root)


def test_packages(tmp_path: Path) -> None:
    (tmp_path / "runtime" / "models").mkdir(parents=True)
    (tmp_path / "tests").mkdir()
    for name in ("runtime/a.py", "runtime/models/b.py", "tests/c.py", "setup.py"):
        (tmp_path / name).write_text("")
    both = '["espalier.runtime", "espalier.runtime.models"]'
    right = '"espalier.runtime" = "runtime"\n"espalier.runtime.models" = "runtime/models"'
    assert packaged(tmp_path, both, right) == []
    one = '"espalier.runtime" = "runtime"'
    assert packaged(tmp_path, '["espalier.runtime"]', one) == ["runtime/models: not in package-dir"]
    assert packaged(tmp_path, both, one) == [
        "runtime/models: not in package-dir",
        "espalier.runtime.models: no package-dir",
    ]
    assert packaged(tmp_path, '["espalier.runtime"]', right) == [
        "espalier.runtime.models: not in packages"
    ]
    wrong = right.replace('"runtime/models"', '"runtime/model"')
    assert "runtime/model: missing or empty" in packaged(tmp_path, both, wrong)
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text("")
    kernels = packaged(tmp_path, both[:-1] + ', "espalier.kernels"]', right)
    assert any(line.startswith("kernels/__init__.py: must not exist") for line in kernels)


def test_sizes(tmp_path: Path) -> None:
    long_function = "def f():\n" + "    x = 1\n" * 60
    root = tree(tmp_path, grammar__a=long_function, grammar__b="x = 1\n" * 401, grammar__c="x = 1")
    assert house_rules.check_sizes(root) == [
        "grammar/a.py:1: f has 61 lines",
        "grammar/b.py: 401 lines, of 400 at most",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "eval('1')",
        "exec('x = 1')",
        "raise NotImplementedError",
        "import torch\ntorch.load('x')",
        "import os\nos.system('ls')",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "try:\n    f()\nexcept Exception:\n    pass",
        "try:\n    f()\nexcept:\n    pass",
    ],
)
def test_unsafe(tmp_path: Path, text: str) -> None:
    assert len(house_rules.check_unsafe(tree(tmp_path, runtime__x=text))) == 1


def test_safe(tmp_path: Path) -> None:
    text = "model.eval()\ntry:\n    f()\nexcept (KeyError, NotImplementedError):\n    pass"
    assert house_rules.check_unsafe(tree(tmp_path, runtime__x=text)) == []


def test_paths(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("see `frame" + "work/x` and docs/work.md\n")
    assert house_rules.check_paths(tmp_path) == []
    (tmp_path / "b.md").write_text("fine\nsee /" + "work/x\n")
    assert house_rules.check_paths(tmp_path) == ["b.md:2: see /" + "work/x"]


def test_public_names() -> None:
    bound: dict[str, object] = {"a": 1, "_b": 2, "path": Path, "module": pytest, "x": Import}
    assert house_rules.check_public_names(["a", "path"], bound, "pathlib") == []
    assert house_rules.check_public_names(["a", "a", "z"], bound, "pathlib") == [
        "a: twice in __all__",
        "z: in __all__, and not there",
        "path: public, and not in __all__",
    ]
