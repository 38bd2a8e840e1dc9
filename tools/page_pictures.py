"""Makes the pictures of the page in docs/: `python -m tools.page_pictures`, with Chromium.

Two users' requests run while the page is looked at, so that the tree has something to show.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from tests.runtime.served import served
from tests.runtime.server.browsing import Page, chromium

DOCS = Path(__file__).resolve().parents[1] / "docs"
TEXT = "Text: Thank you so much! The pizza arrived on Friday at 7 pm. Please hurry!"
JUDGED = (
    "Judge the tone: friendly, neutral or rude?",
    "Judge the urgency: urgent or calm?",
    "Judge the topic: food, travel, work or sport?",
)
STORY = "What can you do, and who are you?"


def main() -> None:
    with served() as server, chromium(1440, 980) as page, ThreadPoolExecutor(8) as pool:
        page.open(server.url)
        page.run("localStorage.setItem('espalier-theme', 'light')")
        page.driver.refresh()
        page.wait(lambda: page.text("#state") == "ready")
        chat = f"{server.url}/v1/chat/completions"
        for question in JUDGED:
            _post(chat, [TEXT, question], max_tokens=4)
        _example(page, 3)
        _example(page, 2)
        page.wait(lambda: page.all(".result input"))
        page.press("sunny, 21 degrees\n")
        page.answer(1)
        _picture(page, "page-tools.png")
        running = [pool.submit(_post, chat, [STORY], n=3, **LONG)]
        running.append(pool.submit(_post, chat, [TEXT, JUDGED[0]], **LONG))
        _example(page, 1)
        page.answer()
        page.wait(lambda: page.all('.run[data-state="used"]'))
        page.one("#tree").click()
        page.press("\ue011")
        page.press("\ue015")
        _picture(page, "page-light.png")
        page.press("d")
        _picture(page, "page-dark.png")
        for one in running:
            one.result()


LONG = {"ignore_eos": True, "max_tokens": 1500, "temperature": 1}


def _post(url: str, said: list[str], **more: Any) -> None:
    messages = [{"role": "user", "content": text} for text in said]
    body = {"messages": messages, "temperature": 0, **more}
    httpx.post(url, json=body, timeout=300).raise_for_status()


def _example(page: Page, number: int) -> None:
    page.one("#fresh").click()
    page.all("#examples button")[number].click()
    page.wait(lambda: page.all(".turn.assistant > .meta"))


def _picture(page: Page, name: str) -> None:
    time.sleep(0.8)  # until what moves has come to rest
    page.driver.save_screenshot(str(DOCS / name))


if __name__ == "__main__":
    main()
