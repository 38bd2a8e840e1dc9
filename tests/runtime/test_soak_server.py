"""The soak test of a server in small; `make soak-server` sends 50,000 requests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from espalier.benchmarks import soak_server
from espalier.errors import EngineError


def test_a_server_neither_fails_nor_keeps_anything(tmp_path: Path) -> None:
    """Of its memory so few requests tell nothing."""
    file = tmp_path / "rows.json"
    asked = ["--requests", "400", "--clients", "16", "--json", str(file)]
    assert soak_server.main(asked) == 0
    rows = {row["name"]: row["value"] for row in json.loads(file.read_text())}
    assert rows["requests"] == 400
    assert rows["server files, at the end"] <= rows["server files, half way"] + 3


def test_a_wrong_answer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = soak_server.Ask("tokens", "/tokenize", {"prompt": 5}, 200)
    monkeypatch.setattr(soak_server, "drawn", lambda rng: wrong)
    with pytest.raises(EngineError, match="10 answers are wrong, the first: tokens: status 400"):
        soak_server.main(["--requests", "100", "--clients", "2"])
