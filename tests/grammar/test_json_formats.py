"""Formats: against the JSON-Schema-Test-Suite, and edge cases of our own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from espalier.errors import GrammarError
from espalier.grammar import GrammarCompiler, GrammarSpec, Vocabulary, parse
from espalier.grammar.json_formats import FORMATS, REFUSED_FORMATS, format_term
from espalier.grammar.json_match import matches
from tests.support import data_path

from .machine_tools import rich_compiler

GOOD = {
    "date": ["2000-02-29", "2024-02-29", "1999-12-31", "0400-02-29", "9999-01-01"],
    "time": ["00:00:00Z", "23:59:59.123456+23:59", "12:00:00z"],
    "date-time": ["2024-02-29T23:59:59.5-01:30", "1985-04-12t23:20:50z"],
    "naive-time": ["23:59:59", "00:00:00.25"],
    "naive-date-time": ["2024-02-29T23:59:59", "1985-04-12T23:20:50.52"],
    "duration": ["P4DT12H30M5S", "P4Y", "PT36H", "P1M", "PT1M", "P2W", "P1Y2M3DT4H5M6S"],
    "email": ["joe.bloggs@example.com", '"a b"@x.io', "a+b@[127.0.0.1]", "te~st@[IPv6:::1]"],
    "hostname": ["www.example.com", "a", "1host", "a" * 63 + ".b"],
    "ipv4": ["0.0.0.0", "255.255.255.255", "192.168.0.1"],
    "ipv6": ["::", "::1", "1::", "1:2:3:4:5:6:7:8", "::ffff:1.2.3.4", "1:2::7:8", "a::1.2.3.4"],
    "uri": ["http://a:b@c.d:80/e?f#g", "urn:x:y", "mailto:a@b.c", "http://[::1]/", "a:", "x:/a//b"],
    "uri-reference": ["", "/a", "a/b", "#f", "?q", "//host/p", "http://x", "a%20b", "./a:b"],
    "uuid": ["123e4567-e89b-12d3-a456-426614174000", "ABCDEF00-0000-0000-0000-000000000000"],
    "json-pointer": ["", "/", "/a~0b/~1", "//", "/é"],
    "relative-json-pointer": ["0", "12#", "0/a", "3//~1"],
    "iri": ["http://é.漢/ü?q=é#é", "x:é", "x:a?\ue000", "mailto:a@b.c", "http://[::1]/é"],
    "iri-reference": ["é", "", "//é/ü", "#漢", "?\ue000", "a%20b"],
    "uri-template": ["", "/a{b}", "{+a,b*,c:99}", "{?q}{&r.s}", "é%41", "a'b"],
    "idn-email": ["δοκιμή@example.com", '"é a"@x.io', "a@xn--bcher-kva.de", "a+b@[127.0.0.1]"],
}
BAD = {
    "date": ["1900-02-29", "2023-02-29", "0000-01-01", "2024-13-01", "2024-04-31", "24-01-01"],
    "time": ["24:00:00Z", "12:00:00", "12:60:00Z", "12:00:60Z", "12:00Z", "12:00:00.Z"],
    "date-time": ["2023-02-29T00:00:00Z", "2024-01-01 00:00:00Z", "2024-01-01T00:00:00"],
    "naive-time": ["12:00:00Z", "24:00:00", ""],
    "naive-date-time": ["2024-02-30T00:00:00", "2024-01-01T00:00:00Z"],
    "duration": ["P", "PT", "P1YT", "P1D2H", "1D", "P1W2D", "P2S", "P1Y3D", "PT1H2S"],
    "email": ["a", "@b.c", "a@", ".a@b.c", "a..b@c.d", "a.@b.c", "a b@c.d", "a@-b.c", "a@b_c"],
    "hostname": ["", "-a", "a-", "a..b", "a_b", "a" * 64, "xn--x", ".a", "a.", "a." * 130 + "a"],
    "ipv4": ["256.0.0.1", "1.2.3", "01.2.3.4", "1.2.3.4.5", "1.2.3.4 "],
    "ipv6": [
        "1:2:3:4:5:6:7",
        ":::",
        "1::2::3",
        "12345::",
        "1:2:3:4:5:6:7:8:9",
        "::1.2.3.4.5",
        ":1",
    ],
    "uri": ["", "/a", "a", "http://a b", "1a:b", "http://[1", "a:%zz", "http://é"],
    "uri-reference": ["a:b c", "\\", ":a", "%g0", "[", "a:b[", "//[::1"],
    "uuid": ["123e4567e89b12d3a456426614174000", "123e4567-e89b-12d3-a456-42661417400g", ""],
    "json-pointer": ["a", "/~", "/~2", "#/a"],
    "relative-json-pointer": ["", "/a", "01", "-1", "0##", "0#/a", "0~1", "٣"],
    "iri": ["", "/é", "http://é b", "é:b", "http://a/\ue000", "x:<", "http://[é]", "a:%zz"],
    "iri-reference": ["é:b c", "\\", "#\ue000", "\ufffe", "%g0"],
    "uri-template": ["{", "}", "{}", "{a,}", "{a:0}", "{=a}", "{a..b}", "a b", '"', "%4", "{a*:1}"],
    "idn-email": ["é", "@é.c", "é@", ".é@b.c", "é..a@c.d", "a b@c.d", "é\uff20a.b"],
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_by_hand(name: str) -> None:
    term = format_term(name)
    assert [text for text in GOOD[name] if not matches(term, text)] == []
    assert [text for text in BAD[name] if matches(term, text)] == []


@pytest.mark.parametrize("name", [name for name in FORMATS if "naive" not in name])
def test_formats_of_the_test_suite(name: str) -> None:
    """Nothing invalid is accepted; what is rejected though valid is what the docstring names."""
    folder: Path = data_path("json-schema-test-suite") / "draft2020-12" / "optional" / "format"
    term = format_term(name)
    for group in json.loads((folder / f"{name}.json").read_text()):
        if group["schema"].get("format") != name:
            continue
        for test in group["tests"]:
            text = test["data"]
            if isinstance(text, str) and matches(term, text) is not test["valid"]:
                assert test["valid"], test
                unwritten = (":60", "xn--", *(("@실", "@cafe") if name == "idn-email" else ()))
                assert any(part in text for part in unwritten), test


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("date", "0000-02-29"),
        ("time", "23:59:60Z"),
        ("date-time", "1998-12-31T23:59:60Z"),
        ("hostname", "xn--bcher-kva.example"),
        ("idn-email", "a@bücher.example"),
        ("uri-template", "{=a}"),
        ("relative-json-pointer", "0+1/a"),
    ],
)
def test_what_is_valid_and_not_written_is_not_written_under_not(name: str, valid: str) -> None:
    assert not matches(format_term(name), valid)
    assert matches(format_term(name, wide=True), valid)
    assert [text for text in GOOD[name] if not matches(format_term(name, wide=True), text)] == []
    vocabulary = Vocabulary([bytes([byte]) for byte in range(256)])
    other = {"type": "string", "not": {"format": name}}
    for schema in (other, {**other, "enum": [valid, "a {b c"]}):
        matcher = GrammarCompiler(vocabulary).compile(GrammarSpec.json_schema(schema)).matcher()
        text = json.dumps(valid, ensure_ascii=False).encode()
        assert not (matcher.accept_bytes(text) and matcher.can_end)


@pytest.mark.parametrize("name", REFUSED_FORMATS)
def test_formats_of_the_specification_are_enforced_or_refused(name: str) -> None:
    for schema in ({"format": name}, {"not": {"format": name}, "type": "string"}):
        with pytest.raises(GrammarError, match=f'`format` "{name}" is not supported') as caught:
            parse(GrammarSpec.json_schema({"properties": {"a": schema}}))
        assert str(caught.value.where).endswith("/format")
        assert caught.value.hint
    parse(GrammarSpec.json_schema({"format": name}, format="annotate"))
    lenient = parse(GrammarSpec.json_schema({"format": name}, lenient=True))
    assert (lenient.dropped, lenient.annotated) == (("#/format",), ())


def test_every_format_of_the_test_suite_is_known() -> None:
    folder: Path = data_path("json-schema-test-suite") / "draft2020-12" / "optional" / "format"
    names = {file.stem for file in folder.glob("*.json")} - {"ecmascript-regex", "unknown"}
    assert names == (FORMATS.keys() | REFUSED_FORMATS.keys()) - {"naive-time", "naive-date-time"}


def test_where_a_format_binds_nothing_is_told() -> None:
    schema = {
        "properties": {"a": {"format": "date"}, "b": {"type": "integer", "format": "int32"}},
        "additionalProperties": {"format": "password"},
    }
    own = ("#/additionalProperties/format", "#/properties/b/format")
    assert tuple(sorted(parse(GrammarSpec.json_schema(schema)).annotated)) == own
    compiled = rich_compiler().compile(GrammarSpec.json_schema({"format": "byte"}))
    assert compiled.annotated == ("#/format",)
    annotating = parse(GrammarSpec.json_schema(schema, format="annotate"))
    assert sorted(annotating.annotated) == [*own[:1], "#/properties/a/format", *own[1:]]
