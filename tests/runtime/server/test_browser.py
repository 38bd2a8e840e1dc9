"""The page at /, used in a headless Chromium, of a server that runs as a process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.runtime.served import Served, served
from tests.runtime.server.browsing import Page, chromium

SCHEMA = '{"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}'
TOOLS = '[{"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": '
TOOLS += '"string"}}, "required": ["city"], "additionalProperties": false}}]'
ENTER, ESCAPE, DOWN, RIGHT = "\ue007", "\ue00c", "\ue015", "\ue014"


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with chromium() as page:
        yield page


@pytest.fixture(scope="module")
def server(browser: Page) -> Iterator[Served]:
    with served() as made:
        yield made


@pytest.fixture
def page(browser: Page, server: Served) -> Iterator[Page]:
    """The page, fresh, of a server with nothing cached. It must leave no complaint."""
    httpx.post(f"{server.url}/flush_cache").raise_for_status()
    browser.complaints()
    browser.open(server.url)
    browser.run("sessionStorage.clear(); localStorage.clear()")
    browser.wait(lambda: browser.text("#state") == "ready")
    yield browser
    assert browser.complaints() == []


def fill(page: Page, box: str, text: str) -> None:
    """Type into the box of that name; it is opened by its key."""
    page.leave()
    page.press(box[0])
    page.run("document.activeElement.value = arguments[0]", text[:-1])
    page.press("\ue010" + text[-1])  # to the end, and the last character by hand


def verdict(page: Page, box: str) -> str:
    return str(page.one(f"#{box}-said").get_attribute("data-verdict"))


def test_a_chat_is_streamed_and_tells_what_was_cached(page: Page) -> None:
    assert "37+48" in page.ask("What is 37 + 48?")
    assert " of " in page.text(".turn.assistant .meta b")
    page.ask("Now add 7.")
    cached, whole = page.all(".turn.assistant > .meta b")[-1].text.split(" of ")
    assert 0 < int(cached) < int(whole)
    page.wait(lambda: page.text("#hits").startswith(("4", "5", "6", "7")), "the hit rate")
    assert "peak" in page.wait(lambda: "peak" in page.text("#rate") and page.text("#rate"))


def test_texts_stay_texts(page: Page) -> None:
    said = '<img src=x onerror="document.title=1"> <b>bold</b> `code`'
    page.ask(said)
    assert page.one(".turn.user").text == said
    assert page.all(".turns img, .turns b:not(.meta b)") == []
    assert page.driver.title == "Espalier"


def test_a_schema_is_checked_as_one_types_and_holds(page: Page) -> None:
    fill(page, "schema", '{"type": "object",\n "x" 1}')
    page.wait(lambda: verdict(page, "schema") == "invalid")
    assert "line 2, column 6" in page.text("#schema-said")
    assert not page.one("#send").is_enabled()
    page.run("document.querySelector('#schema').value = ''")
    page.press('{"type": "integr"}')
    page.wait(lambda: "integr" in page.text("#schema-said"))
    assert verdict(page, "schema") == "invalid"
    page.run("document.querySelector('#schema').value = arguments[0]", SCHEMA[:-1])
    page.press("}")
    page.wait(lambda: verdict(page, "schema") == "valid")
    answer = page.ask("Extract age as JSON: Ida is 41 years old.")
    assert set(json.loads(answer)) == {"age"}


def test_tools_are_shown_and_answered(page: Page) -> None:
    fill(page, "tools", TOOLS)
    page.wait(lambda: verdict(page, "tools") == "valid")
    page.ask("What is the weather in Paris?")
    assert page.one(".call h3").text.startswith("weather")
    assert (page.text(".call dt"), page.text(".call dd")) == ("city", "Paris")
    page.wait(lambda: page.run("return document.activeElement.closest('.result') !== null"))
    page.press("sunny, 21 degrees" + ENTER)
    assert "sunny" in page.answer(1)


def test_several_answers_of_which_one_is_gone_on_from(page: Page) -> None:
    page.leave()
    page.press("o")
    page.write("#count", "4")
    page.write("#temperature", "1.5")
    page.ask("My name is Zorina.")
    radios = page.all(".answers [role=radio]")
    assert len(radios) == 4
    radios[2].click()
    assert [r.get_attribute("aria-checked") for r in radios] == ["false", "false", "true", "false"]
    page.write("#count", "1")
    page.ask("What is my name?")


def test_the_tree_is_seen_while_requests_share_it(page: Page, server: Served) -> None:
    """Two requests of one prompt: one limb, in use by both; then it may be evicted."""
    body = {
        "messages": [{"role": "user", "content": "Tell me of the pear tree on the wall."}],
        "ignore_eos": True,
        "max_tokens": 1900,
        "n": 2,
        "temperature": 1,
    }
    chat = f"{server.url}/v1/chat/completions"
    with httpx.stream("POST", chat, json={**body, "stream": True}, timeout=300) as asked:
        assert asked.status_code == 200
        page.wait(lambda: page.all('.run[data-state="used"]'), "a limb in use")
        page.one("#tree").click()
        page.press("\ue011")  # Home
        while "Tell me of the pear tree" not in page.text("#node .words"):
            page.press(RIGHT)  # past what all chats begin with
        page.wait(lambda: "in use by 2 running" in page.text("#node"))
        assert page.text("#load") == "2, 0"
    page.wait(lambda: not page.all('.run[data-state="used"]'), "the end")
    page.wait(lambda: "evictable" in page.text("#node"))
    while "a tip" not in page.text("#node"):
        page.press(RIGHT)
    tips = [page.text("#node .words")]
    page.press(DOWN)
    tips.append(page.text("#node .words"))
    assert "1 of the last sequences" in page.text("#node")
    assert tips[0] != tips[1], "two answers, two limbs"
    assert page.text("#tree .owner") == "everybody"


def test_where_limbs_stand(page: Page) -> None:
    """The first branch goes on in its parent's row; no two limbs are one; depth is no matter."""

    def node(parent: int | None, start: int, end: int, first: int, **more: Any) -> dict[str, Any]:
        return {
            "namespace": "",
            "parent": parent,
            "start": start,
            "end": end,
            "head": [first],
        } | more

    nodes = [node(None, 0, 4, 1), node(0, 4, 8, 2), node(0, 4, 6, 2), node(1, 8, 9, 3)]
    nodes += [node(None, 0, 4, 1, namespace="k"), node(None, 0, 1, 0, namespace="health")]
    made = layout(page, nodes)
    assert [limb[0] for limb in made] == [1, 1, 1, 2, 4]
    assert len({limb[1] for limb in made}) == 5
    assert all(limb[2] < limb[3] for limb in made)
    chain = [node(None if n == 0 else n - 1, n, n + 1, n) for n in range(5000)]
    assert {limb[0] for limb in layout(page, chain)} == {1}


def layout(page: Page, nodes: list[dict[str, Any]]) -> list[list[Any]]:
    """Row, key, left and right of each limb."""
    found: list[list[Any]] = page.driver.execute_async_script(
        "const [nodes, done] = arguments;"
        "import('/page/tree.js').then(({ layout }) => done(layout(nodes).limbs.map("
        "(limb) => [limb.row, limb.key, limb.left, limb.right])))",
        nodes,
    )
    return found


def test_escape_stops_an_answer(page: Page, server: Served) -> None:
    page.leave()
    page.press("o")
    page.write("#count", "16")
    page.write("#temperature", "2")
    page.write("#ask", "What can you do?" * 30 + "\n")
    page.wait(lambda: page.one("#stop").is_displayed())
    page.press(ESCAPE)
    page.wait(lambda: page.all(".turn.assistant > .meta"))
    page.wait(lambda: page.one("#send").is_displayed())

    def idle() -> bool:
        return httpx.get(f"{server.url}/server_info").json()["inflight"] == 0

    page.wait(idle)


def test_keys_dark_and_light(page: Page) -> None:
    def background() -> str:
        return str(page.run("return getComputedStyle(document.body).backgroundColor"))

    first = background()
    page.leave()
    page.press("d")
    assert background() != first
    page.driver.refresh()
    page.wait(lambda: page.text("#state") == "ready")
    assert background() not in (first, "")
    page.leave()
    page.press("d")
    assert background() == first
    page.press("?")
    assert page.one("#help-dialog").get_attribute("open")
    page.press(ESCAPE)
    page.wait(lambda: not page.one("#help-dialog").get_attribute("open"))
    page.press("/")
    assert page.run("return document.activeElement.id") == "ask"
    page.press("s")  # a letter, not a shortcut
    assert page.run("return document.activeElement.value") == "s"


def test_nothing_comes_from_elsewhere_and_it_fits(page: Page, server: Served) -> None:
    loaded = page.run("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert loaded
    assert all(url.startswith(server.url) for url in loaded)
    try:
        for width in (1380, 700, 360):
            page.driver.set_window_size(width, 900)
            wide = "return document.documentElement.scrollWidth > innerWidth"
            assert not page.run(wide), width
    finally:
        page.driver.set_window_size(1380, 900)


def test_an_engine_that_cannot_answer_is_told(page: Page) -> None:
    """What was asked stays in the box, to be asked again."""
    long = "word " * 3000
    page.run("document.querySelector('#ask').value = arguments[0]", long)
    page.press(ENTER)
    page.wait(lambda: page.all(".fault"))
    assert "context" in page.text(".fault")
    assert page.run("return document.querySelector('#ask').value") == long.strip()


def test_it_asks_for_the_key_and_keeps_it_in_the_tab(
    browser: Page, tmp_path: Path, text_folder: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("user-key")
    (tmp_path / "admin").write_text("admin-key")
    flags = ["--api-key-file", str(keys), "--admin-key-file", str(tmp_path / "admin")]
    with served("null", "--tokenizer", str(text_folder), *flags) as locked:
        browser.open(locked.url)
        browser.wait(lambda: browser.one("#key-dialog").get_attribute("open"))
        _enter(browser, "wrong")
        browser.wait(lambda: "does not know this key" in browser.text("#key-why"))
        _enter(browser, "user-key")
        browser.wait(lambda: "takes the admin key" in browser.text("#tree"))
        browser.wait(lambda: browser.text("#model") == "null")
        _say(browser)
        browser.leave()
        browser.one("#open-key").click()
        _enter(browser, "admin-key")
        browser.wait(lambda: any("key " in one.text for one in browser.all("#tree .owner")))
        kept: dict[str, Any] = browser.run(
            "return {session: {...sessionStorage}, local: {...localStorage},"
            " cookie: document.cookie, html: document.documentElement.outerHTML,"
            " url: location.href, value: document.querySelector('#key').value}"
        )
        assert kept.pop("session") == {"espalier-key": "admin-key"}
        assert "admin-key" not in json.dumps(kept)
        browser.driver.refresh()
        browser.wait(lambda: browser.text("#state") == "ready")
        _say(browser)
        browser.wait(lambda: any("you" in one.text for one in browser.all("#tree .owner")))
        browser.one("#open-key").click()
        browser.one("#key-forget").click()
        browser.wait(lambda: browser.one("#key-dialog").get_attribute("open"))
        assert browser.run("return sessionStorage.length") == 0


def _enter(page: Page, key: str) -> None:
    page.wait(lambda: page.one("#key-dialog").get_attribute("open"))
    page.write("#key", key + "\n")


def _say(page: Page) -> None:
    page.run("document.querySelector('#max-tokens').value = 3")
    page.ask("one two three")
