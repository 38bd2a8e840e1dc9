"""A headless Chromium, where there is one, that looks at a page as a person does."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import pytest

_T = TypeVar("_T")
_NAMES = ("chromium", "chromium-browser", "google-chrome")


class Page:
    """One tab. What is looked for may take its time to come."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        self.driver.get(url)
        self.wait(lambda: self.text("#state"))

    def all(self, selector: str) -> list[Any]:
        found: list[Any] = self.driver.find_elements("css selector", selector)
        return found

    def one(self, selector: str) -> Any:
        return self.wait(lambda: next(iter(self.all(selector)), None), selector)

    def text(self, selector: str) -> str:
        return str(self.run("return document.querySelector(arguments[0]).textContent", selector))

    def run(self, script: str, *args: Any) -> Any:
        return self.driver.execute_script(script, *args)

    def wait(self, look: Callable[[], _T | None], what: str = "", seconds: float = 60) -> _T:
        """What `look` finds, once it finds something. What the page drew anew meanwhile is looked
        for again."""
        from selenium.common.exceptions import StaleElementReferenceException

        end = time.monotonic() + seconds
        while True:
            with suppress(StaleElementReferenceException):
                if found := look():
                    return found
            if time.monotonic() > end:
                shown = self.run("return document.body.innerText")
                raise AssertionError(f"waited in vain for {what or look}; there is\n{shown}")
            time.sleep(0.05)

    def press(self, keys: str) -> None:
        """Keys, to whatever has the focus."""
        self.driver.switch_to.active_element.send_keys(keys)

    def leave(self) -> None:
        """No box has the focus."""
        self.run("document.activeElement.blur()")

    def write(self, selector: str, text: str) -> None:
        area = self.one(selector)
        area.clear()
        area.send_keys(text)

    def ask(self, text: str) -> str:
        """Send a message; the answer's text, once it is whole."""
        before = len(self.all(".turn.assistant"))
        self.write("#ask", text + "\n")
        return self.answer(before)

    def answer(self, before: int = 0) -> str:
        self.wait(lambda: len(self.all(".turn.assistant > .meta")) > before, "an answer")
        return self.all(".turn.assistant .answer")[-1].text  # type: ignore[no-any-return]

    def complaints(self) -> list[str]:
        """What the browser logged since the last look, but for answers that are errors."""
        logged = [entry["message"] for entry in self.driver.get_log("browser")]
        return [text for text in logged if "the server responded with a status of" not in text]


@contextmanager
def chromium(width: int = 1380, height: int = 900) -> Iterator[Page]:
    """A browser. Skips the test where Chromium, its driver or selenium is missing."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    browser = next(filter(None, map(shutil.which, _NAMES)), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("no Chromium with its driver (Debian: apt-get install chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        f"--window-size={width},{height}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield Page(made)
    finally:
        made.quit()
