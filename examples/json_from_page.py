"""A page of HTML into a dataclass: the text between the tags, and a schema that cannot be left.

python examples/json_from_page.py
"""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser

import espalier as esp

PAGE = """<html><head><title>What is on</title><style>p { color: red }</style></head><body>
<p>The <b>Jazz Night</b> is on March 5 at the Town&nbsp;Hall.</p></body></html>"""


@dataclass
class Event:
    title: str
    date: str
    place: str


class _Text(HTMLParser):
    """The text of a page's body; titles, styles and scripts are none."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._skipped = ""  # the tag that began what is left out

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002 (HTMLParser's)
        if not self._skipped and tag in ("title", "style", "script"):
            self._skipped = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._skipped:
            self._skipped = ""

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self.parts.append(data)


@esp.opaque
def text_of(page: str) -> str:
    """What a reader of the page sees, blanks made one."""
    parser = _Text()
    parser.feed(page)
    parser.close()
    return " ".join("".join(parser.parts).split())


@esp.function
def read(s: esp.ProgramState, page: str = PAGE) -> Event:
    s += esp.user(f"Extract title, date, place as JSON: {text_of(page)}")
    s += esp.assistant(esp.gen("event", Event, max_tokens=60))
    return s["event"]


def main() -> None:
    with esp.Engine() as engine:
        state = read.run(backend=engine)
        print(state.ret_value)
        print(state.report())


if __name__ == "__main__":
    main()
