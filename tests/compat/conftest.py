"""SGLang's wheel, and the alias for as long as a test runs."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from types import ModuleType

import pytest

from espalier.compat import install_sglang_alias, remove_sglang_alias
from espalier.frontend_lang.backends import default
from tests.compat.wheel import sglang_wheel


@pytest.fixture(scope="session")
def wheel(pytestconfig: pytest.Config) -> Iterator[zipfile.ZipFile]:
    """SGLang's wheel, open."""
    assert pytestconfig.cache is not None
    with sglang_wheel(pytestconfig.cache.mkdir("sglang")) as opened:
        yield opened


@pytest.fixture
def sglang() -> Iterator[ModuleType]:
    """The alias, and no default backend afterwards."""
    yield install_sglang_alias()
    remove_sglang_alias()
    default.set_default_backend(None)
