"""Where a text leaves its grammar, and what was allowed there."""

from __future__ import annotations

from pathlib import Path

import pytest

from espalier.grammar import GrammarCompiler, GrammarSpec, Vocabulary
from espalier.runtime import cli

COMPILER = GrammarCompiler(Vocabulary([bytes([b]) for b in range(256)] + [b""], [256], [256]))
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.mark.parametrize(
    ("spec", "text", "at", "allowed"),
    [
        (GrammarSpec.regex("[a-z]{2}[0-9x]?"), "ab!", 2, ["'0' to '9'", "'x'", "the end"]),
        (GrammarSpec.regex("[a-z]{2}"), "a", 1, ["'a' to 'z'"]),
        (GrammarSpec.choices(["yes", "no"]), "maybe", 0, ["'n'", "'y'"]),
        (GrammarSpec.regex("é+"), "éé e", 2, ["a character beyond ASCII", "the end"]),
        (GrammarSpec.json_schema({"type": "boolean"}), "tru", 3, ["'e'"]),
        (GrammarSpec.ebnf('root ::= "a" "\\n"'), "ab", 1, ["line end"]),
    ],
)
def test_the_place_and_what_was_allowed(
    spec: GrammarSpec, text: str, at: int, allowed: list[str]
) -> None:
    verdict = COMPILER.compile(spec).explain(text)
    assert (verdict.accepted, verdict.at, verdict.allowed) == (False, at, allowed)


def test_a_picture_and_what_is_accepted() -> None:
    grammar = COMPILER.compile(GrammarSpec.json_schema(SCHEMA))
    assert str(grammar.explain('{"n": 12}')) == "accepted"
    told = str(grammar.explain('{"n": "12"}')).splitlines()
    assert told[0] == '{"n": "12"}'
    assert told[1] == "      ^"
    assert told[2].startswith("expected '-'")
    long = COMPILER.compile(GrammarSpec.regex("a*")).explain("a" * 500 + "b")
    assert long.at == 500
    assert long.picture.splitlines()[1].index("^") == long.picture.index("b")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schema, good, bad = tmp_path / "s.json", tmp_path / "good.json", tmp_path / "bad.json"
    schema.write_text('{"type": "array", "items": {"type": "integer"}}\n')
    good.write_text("[1, 2]\n")
    bad.write_text("[1, x]\n")
    assert cli.main(["grammar", "check", str(schema), str(good)]) == 0
    assert "accepted" in capsys.readouterr().out
    assert cli.main(["grammar", "check", str(schema), str(bad)]) == 1
    assert "[1, x]\n    ^\n" in capsys.readouterr().out
    inline = ["grammar", "check", "--inline", "--kind"]
    assert cli.main([*inline, "regex", "a+", "aa"]) == 0
    assert cli.main([*inline, "ebnf", 'root ::= "a"', "b"]) == 1
    assert cli.main([*inline, "regex", "(a"]) == 2
    assert cli.main([*inline, "regex", "a", "a", "--lenient"]) == 2
    spaced = [*inline, "json_schema", '{"type": "array"}', "[1,2]", "--whitespace"]
    assert cli.main([*spaced, "compact"]) == 0
    capsys.readouterr()
    assert cli.main([*spaced, "json"]) == 1
    assert "with --whitespace free" in capsys.readouterr().out
    assert "--whitespace" not in capsys.readouterr().out
    good.write_text("[\n  1,\n  2\n]\n")
    assert cli.main(["grammar", "check", str(schema), str(good)]) == 1
    assert "with --whitespace free it is accepted" in capsys.readouterr().out
    assert cli.main(["grammar", "check", str(schema), str(good), "--whitespace", "free"]) == 0
    others, remote = tmp_path / "others.json", tmp_path / "remote.json"
    others.write_text('{"urn:a": {"type": "null"}}')
    remote.write_text('{"$ref": "urn:a"}')
    assert cli.main(["grammar", "check", str(remote)]) == 2
    assert cli.main(["grammar", "check", str(remote), "--registry", str(others)]) == 0
    assert cli.main(["grammar", "check", str(remote), "--registry", str(good)]) == 2
    assert cli.main(["grammar", "check", str(tmp_path / "none.json")]) == 2
    assert cli.main(["grammar", "check", "--inline", "a+"]) == 2
    assert cli.main(["grammar", "check", str(schema), str(tmp_path / "none")]) == 2
    assert "none" in capsys.readouterr().err
