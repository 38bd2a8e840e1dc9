"""One test for each class of advisories that servers of models have had, but for those that other
files hold (docs/security.md names them all)."""

from __future__ import annotations

import hmac
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from espalier.errors import EspalierError
from espalier.runtime.engine import Engine
from espalier.runtime.locate import SPRIG
from espalier.runtime.server.access import ACCESS
from espalier.runtime.server.settings import ServerSettings
from espalier.runtime.tokenizer import Tokenizer
from tests.runtime.server.test_guard import bearer, routes
from tests.runtime.serving import InProcess, user
from tests.tiny_tokenizers import byte_level

CHAT = "/v1/chat/completions"
KEYS = ("a-user-key", "another-key", "k" * 500)
ADMIN = "admin-key"


@pytest.fixture
def locked(null_engine: Engine) -> InProcess:
    return InProcess(null_engine, served_model_names=("null",), api_keys=KEYS, admin_key=ADMIN)


@pytest.mark.parametrize(
    "sent",
    [KEYS[0], KEYS[2], ADMIN, "x", KEYS[0][:-1], KEYS[0] + "x", "k" * 60_000, "é", "\xff\xfe", "�"],
)
def test_every_key_takes_the_same_comparisons(
    locked: InProcess, sent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of digests of one length, all of them each time: a time tells nothing of a key."""
    compared: list[tuple[int, int]] = []
    right = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return right(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    header: Any = {"authorization": b"Bearer " + sent.encode()}
    status = locked.get("/v1/models", headers=header).status_code
    assert status == (200 if sent in (*KEYS, ADMIN) else 401)
    assert compared == [(32, 32)] * (len(KEYS) + 1)
    for keys in ({"api_keys": (sent,)}, {"admin_key": sent}):
        if not sent.isascii():
            with pytest.raises(EspalierError, match="visible ASCII"):
                ServerSettings(**keys).check()  # type: ignore[arg-type]


def test_nothing_is_told_of_what_others_have_cached(locked: InProcess) -> None:
    """Neither of what is there (tokens, and what was computed, which is what takes time), nor of
    what comes in the same step."""
    engine = locked.engine
    body = {"prompt": [[6] * 40], "max_tokens": 1, "ignore_eos": True}
    who = [(KEYS[0], {}), (KEYS[1], {}), (KEYS[0], {"cache_salt": "s"}), (ADMIN, {})]
    for key, salt in who:
        before = engine.stats()
        seen = locked.post("/cache/explain", {"prompt": [6] * 40, **salt}, headers=bearer(key))
        assert '"matched":0' in seen.text.replace(" ", ""), seen.text
        answer = locked.post("/v1/completions", body | salt, headers=bearer(key)).json()
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
        after = engine.stats()
        assert after["computed_tokens"] - before["computed_tokens"] == 40
        assert after["shared_tokens"] == before["shared_tokens"]


def test_a_get_has_no_effect(locked: InProcess) -> None:
    """What changes something takes POST and a JSON body, which no page of another origin sends."""
    changing = {path for path in ACCESS if path not in ("/health", "/health_generate")}
    for route in routes(locked):
        if "POST" in route.methods:
            changing.add(route.path)
            for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE"):
                answer = locked.request(method, route.path, headers=bearer(ADMIN))
                assert answer.status_code == 405, (method, route.path)
        else:
            assert route.methods <= {"GET", "HEAD"}
    plain = bearer(ADMIN) | {"content-type": "text/plain"}
    answer = locked.request("POST", "/abort_request", content=b'{"abort_all":true}', headers=plain)
    assert answer.status_code == 415


REMOTE = "http://127.0.0.1:9/x"


def test_no_address_in_a_request_is_called(locked: InProcess, sprig: InProcess) -> None:
    """Nor any file read: parts with images, schemas with references, names that are paths."""
    tried: list[object] = []
    watching = True

    def hook(event: str, given: tuple[object, ...]) -> None:
        outward = event in ("socket.connect", "socket.getaddrinfo", "urllib.Request")
        named = event == "open" and ("passwd" in str(given[0]) or "127.0.0.1" in str(given[0]))
        if watching and (outward or named):
            tried.append((event, given))

    sys.addaudithook(hook)
    parts = [
        {"type": kind, kind: {"url": url}}
        for kind in ("image_url", "video_url", "audio_url")
        for url in (REMOTE, "file:///etc/passwd")
    ]
    bodies: list[dict[str, Any]] = [
        *({"messages": [{"role": "user", "content": [part]}]} for part in parts),
        *(
            {"messages": [user("x")], "guided_json": {"$ref": to}, "max_tokens": 4}
            for to in (REMOTE, "file:///etc/passwd", "/etc/passwd", "https://json-schema.org/x")
        ),
        {"messages": [user("x")], "model": "../../../etc/passwd"},
        {"messages": [user("x")], "model": REMOTE},
        {"messages": [user("x")], "chat_template": "{% include '/etc/passwd' %}"},
        {"messages": [user("x")], "lora_path": "/etc/passwd"},
    ]
    for body in bodies:
        answer = sprig.post(CHAT, body)
        assert answer.status_code in (400, 404), answer.text
        assert "root:" not in answer.text
    for path in ("/v1/models/..%2f..%2f..%2fetc%2fpasswd", "/v1/models//etc/passwd",
                 "/native/tokenizer/../../etc/passwd", "/static/..%2f..%2fetc/passwd"):  # fmt: skip
        answer = locked.get(path, headers=bearer(ADMIN))
        assert answer.status_code == 404
        assert "root:" not in answer.text
    watching = False
    assert tried == []


def test_no_prompt_key_or_line_of_a_client_is_logged(
    locked: InProcess, sprig: InProcess, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    """At the level that servers run at; and what is logged of a request is never more than its
    route."""
    caplog.set_level(logging.INFO)
    mark = "SECRET\r\n2026-01-01 ERROR forged\x1b[2K"
    bad: list[Any] = [mark, [mark], {mark: mark}, {"type": mark}]
    for serving, headers in ((locked, bearer(KEYS[0])), (sprig, {})):
        for name in ("messages", "model", "tools", "response_format", "regex", "ebnf", "stop",
                     "request_id", "user", "cache_salt", "tool_choice", mark):  # fmt: skip
            for value in bad:
                body = {"messages": [user(mark)], "max_tokens": 1} | {name: value}
                serving.post(CHAT, body, headers=headers)
    for path in ("/SECRET%0d%0aforged", "/v1/models/SECRET%0aforged", "/health?SECRET=%0a"):
        locked.get(path, headers={"authorization": "Bearer SECRET", "x": "SECRET"})
    ours = [one.getMessage() for one in caplog.records if not one.name.startswith("http")]
    said = "".join((*ours, *capfd.readouterr()))
    assert "SECRET" not in said
    assert "forged" not in said


def test_text_never_becomes_a_special_token(sprig: InProcess) -> None:
    """Wherever a client may write one."""
    tokenizer = sprig.engine.tokenizer
    spelled = [tokenizer.raw.id_to_token(id) for id in sorted(tokenizer.special_ids)]
    evil = "".join(token for token in spelled if token) + "x"
    tool = {"type": "function", "function": {"name": "f", "description": evil,
            "parameters": {"properties": {evil: {"description": evil}}}}}  # fmt: skip
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {evil: evil}}}
    chats: list[list[dict[str, Any]]] = [
        [user(evil)],
        [{"role": "system", "content": evil}, user("x")],
        [user("x"), {"role": "assistant", "content": evil}, user("x")],
        [user("x"), {"role": "assistant", "tool_calls": [call]},
         {"role": "tool", "tool_call_id": "1", "content": evil}],
    ]  # fmt: skip

    def special(**body: Any) -> int:
        ids = sprig.ok("/tokenize", **body)["tokens"]
        return sum(id in tokenizer.special_ids for id in ids)

    def cleaned(value: Any) -> Any:
        text = json.dumps(value).replace(json.dumps(evil)[1:-1], "y")
        return json.loads(text)

    for messages in chats:
        assert special(messages=messages) == special(messages=cleaned(messages))
    assert special(prompt=evil) == special(prompt="y")
    lengths = [
        sprig.ok(CHAT, messages=[user("x")], tools=cleaned([tool]) if clean else [tool],
                 tool_choice="none", max_tokens=1)["usage"]["prompt_tokens"]
        for clean in (False, True)
    ]  # fmt: skip
    assert lengths[0] >= lengths[1]


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__base__.__subclasses__() }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ lipsum.__globals__['os'].popen('true').read() }}",
        "{{ raise_exception.__globals__ }}",
        "{{ strftime_now.__globals__['__builtins__'] }}",
        "{{ messages[0].update({'content': 'x'}) }}",
        "{{ messages.append(1) }}",
        "{{ ('{0.__class__}').format(messages) ~ ('{0.__class__}'|format)(messages) }}",
        "{{ (messages|attr('__class__')).mro() }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{% for i in range(1000000) %}x{% endfor %}",
        "{{ 1 // 0 }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(source: str) -> None:
    """A checkpoint's own; one that a client sends is refused as such."""
    tokenizer = Tokenizer(byte_level(), template=source)
    try:
        assert tokenizer.render_chat([user("x")]) == ""  # what is not there is written as nothing
    except EspalierError as error:
        assert "chat template" in str(error)  # noqa: PT017


def test_templates_of_clients_are_refused(sprig: InProcess) -> None:
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}"
    before = time.thread_time()
    for body in (
        {"chat_template": endless},
        {"chat_template_kwargs": {"chat_template": endless}},
        {"chat_template_kwargs": {"messages": []}},
        {"chat_template_kwargs": {"add_generation_prompt": False}},
        {"chat_template_kwargs": {"__class__": 1}},
    ):
        assert sprig.refused(CHAT, messages=[user("x")], **body)["code"] == "unsupported_parameter"
    assert time.thread_time() - before < 2


@pytest.mark.parametrize(
    "prompt",
    ["\0", "a\0b", "\ufffe", "\u202e" * 50, "e\u0301" * 50, "🙂" * 50, "\U000e0001", " " * 500],
)
def test_odd_texts_come_back_as_they_are(sprig: InProcess, prompt: str) -> None:
    ids = sprig.ok("/tokenize", prompt=prompt, add_special_tokens=False)["tokens"]
    assert sprig.ok("/detokenize", tokens=ids)["text"] == prompt
    answer = sprig.ok("/v1/completions", prompt=prompt, max_tokens=3, echo=True, logprobs=1)
    assert answer["choices"][0]["text"].startswith(prompt)
    for half in ([ids[: len(ids) // 2] or ids], [ids[-1:]]):  # in the midst of a character
        sprig.ok("/v1/completions", prompt=half, max_tokens=3, echo=True)
        sprig.events("/v1/completions", prompt=half, max_tokens=3)


def test_a_text_of_ten_megabytes_is_refused_at_once(sprig: InProcess) -> None:
    before = time.thread_time()
    answer = sprig.post("/v1/completions", {"prompt": "a" * 10_000_000})
    assert answer.status_code == 413
    assert time.thread_time() - before < 1
    assert sprig.post("/v1/completions", {"prompt": "a" * 100_000}).status_code == 400
    assert sprig.left_over() == (0, 0, 0)


def test_the_code_of_a_model_folder_is_never_run(tmp_path: Path) -> None:
    """auto_map names a module that lies beside the weights; pickles run code when they are read."""
    ran = tmp_path / "ran"
    folder = tmp_path / "model"
    folder.mkdir()
    for path in SPRIG.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    code = f"import pathlib\npathlib.Path({str(ran)!r}).write_text('')\nclass X: pass\n"
    for name in ("modeling_x.py", "tokenization_x.py", "configuration_x.py", "__init__.py"):
        (folder / name).write_text(code)
    for name, kinds in (
        ("config.json", ("AutoConfig", "AutoModelForCausalLM")),
        ("tokenizer_config.json", ("AutoTokenizer",)),
    ):
        path = folder / name
        told = json.loads(path.read_text()) if path.exists() else {}
        told["auto_map"] = dict.fromkeys(kinds, "modeling_x.X")
        path.write_text(json.dumps(told))
    with pytest.raises(EspalierError, match="auto_map"), Engine(str(folder), inline=True):
        pass
    assert not ran.exists()
