"""The page at /, as bytes: what it is made of, and who gets it. test_browser.py uses it."""

from __future__ import annotations

import re

import pytest

from espalier.runtime.engine import Engine
from espalier.runtime.server.routes_grammar import GrammarChecked
from espalier.runtime.server.routes_page import FILES, HEADERS
from tests.runtime.serving import InProcess

NAMESPACES = {"http://www.w3.org/2000/svg"}


def text(name: str) -> str:
    return FILES[name].data.decode()


def test_it_is_served_with_its_policy(null: InProcess) -> None:
    answer = null.get("/")
    assert (answer.status_code, answer.content) == (200, FILES["index.html"].data)
    for name, file in FILES.items():
        answer = null.get(f"/page/{name}")
        assert (answer.status_code, answer.content) == (200, file.data)
        assert answer.headers["content-type"] == file.media_type
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    policy = null.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert not re.search(r"unsafe|https?:|\*|data:|blob:", policy)


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/health", "/v1/models", "/openapi.json"])
def test_head_is_get_without_its_body(null: InProcess, path: str) -> None:
    head, get = null.request("HEAD", path), null.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert dict(head.headers) == dict(get.headers)
    assert null.request("HEAD", "/generate").status_code == 405
    assert "head" not in null.get("/openapi.json").json()["paths"]["/v1/models"]


@pytest.mark.parametrize(
    ("method", "path", "told"),
    [
        ("POST", "/v1/chat/completion", "POST /v1/chat/completions"),
        ("GET", "/model", "GET /v1/models"),
        ("GET", "/v1/chat/completions", "POST /v1/chat/completions"),
        ("POST", "/v1/embedding", "POST /v1/embeddings"),
        ("GET", "/nothing-like-it", "GET /openapi.json tells all"),
        ("GET", "/" + "x" * 5000 + "\u202e", "GET /openapi.json tells all"),
    ],
)
def test_what_is_not_there_says_what_is(null: InProcess, method: str, path: str, told: str) -> None:
    answer = null.request(method, path)
    assert answer.status_code in (404, 405)
    error = answer.json()["error"]
    assert told in error["message"]
    assert error["code"] in ("not_found", "method_not_allowed")
    assert len(error["message"]) < 600


def test_it_holds_nothing_that_needs_a_key(null_engine: Engine) -> None:
    locked = InProcess(null_engine, served_model_names=("secret-name",), api_keys=("k",))
    assert locked.get("/").content == FILES["index.html"].data
    assert locked.get("/v1/models").status_code == 401


@pytest.mark.parametrize("name", ["", "no.js", "..%2fapp.py", "%2e%2e/app.py", "../app.py", "a/b"])
def test_no_other_file_is_served(null: InProcess, name: str) -> None:
    assert null.get(f"/page/{name}").status_code == 404
    assert null.request("POST", "/").status_code == 405


def test_nothing_is_fetched_from_elsewhere() -> None:
    for name in FILES:
        found = set(re.findall(r"https?://[^\s\"'<>)]+|url\(|@import|//cdn", text(name)))
        assert found <= NAMESPACES, name


def test_every_file_that_is_named_is_there() -> None:
    named = set(re.findall(r"/page/([\w.]+)", text("index.html")))
    for name in FILES:
        named |= set(re.findall(r"from \"\./([\w.]+)\"", text(name)))
    assert named | {"index.html"} == set(FILES)


def test_texts_are_never_read_as_markup() -> None:
    banned = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|srcdoc"
    for name in FILES:
        assert not re.search(banned, text(name)), name
        assert len(text(name).splitlines()) <= 400, name


def test_every_element_that_the_scripts_name_is_there() -> None:
    ids = set(re.findall(r"\bid=\"([\w-]+)\"", text("index.html")))
    asked = set()
    for name in FILES:
        asked |= set(re.findall(r"\bat\(\"([\w-]+)\"\)", text(name)))
    assert asked <= ids


# -- what checks a grammar while one types ---------------------------------------------------------

PERSON = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"json_schema": PERSON}, "json_schema"),
        ({"response_format": {"type": "json_object"}}, "json_schema"),
        ({"regex": r"\d{3}"}, "regex"),
        ({"guided_choice": ["a", "b"]}, "choices"),
        ({"ebnf": 'start: "a"+'}, "ebnf"),
    ],
)
def test_a_good_grammar(sprig: InProcess, body: dict[str, object], kind: str) -> None:
    told = sprig.ok("/grammar/check", **body)
    GrammarChecked.model_validate(told)
    assert (told["valid"], told["kind"], told["error"]) == (True, kind, None)
    assert sprig.left_over() == (0, 0, 0)


def test_a_bad_grammar_is_told_as_a_request_would_be(sprig: InProcess) -> None:
    for body in (
        {"json_schema": {"type": "strin"}},
        {"json_schema": {"properties": {"a": {"$ref": "http://elsewhere.example/x"}}}},
        {"regex": "(a"},
        {"ebnf": "start: nobody"},
    ):
        told = sprig.ok("/grammar/check", **body)
        assert told["valid"] is False
        asked = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1, **body}
        refused = sprig.refused("/v1/chat/completions", **asked)
        assert told["error"]["message"] == refused["message"]
    assert sprig.left_over() == (0, 0, 0)


def test_what_is_no_grammar_is_an_error(sprig: InProcess) -> None:
    assert "expected a grammar" in sprig.refused("/grammar/check")["message"]
    both = sprig.refused("/grammar/check", regex="a", choice=["a"])
    assert "expected one grammar" in both["message"]
    assert sprig.refused("/grammar/check", regexp="a")["code"] == "unknown_parameter"


def test_a_check_is_seen_in_nobodys_cache(sprig: InProcess) -> None:
    sprig.engine.flush_cache()
    sprig.ok("/grammar/check", regex="a")
    assert all(n["namespace"] == "+check" for n in sprig.get("/cache/tree").json()["nodes"])
