"""docs/json-schema.md says what the code does."""

from __future__ import annotations

import pytest

from espalier.grammar.json_dialects import VOCABULARIES
from tests.support import data_path
from tools.schema_keywords import KEYWORDS, OLDER
from tools.schema_page import PAGE, check, page


def test_every_keyword_has_its_line() -> None:
    assert set(KEYWORDS) == {name for names in VOCABULARIES.values() for name in names}


@pytest.mark.parametrize("name", [*KEYWORDS, *OLDER])
def test_examples(name: str) -> None:
    assert check(name, {**KEYWORDS, **OLDER}[name])


def test_the_page_is_current() -> None:
    made = page(data_path("json-schema-test-suite"))
    assert PAGE.read_text() == made, "run python -m tools.schema_page SUITE"
