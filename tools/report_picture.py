"""Makes docs/report.png: the report's page of a program on the embedded model, in Chromium.

python -m tools.report_picture
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import espalier as esp
from examples.judge import TEXT, judge
from tests.runtime.server.browsing import chromium

DOCS = Path(__file__).resolve().parent.parent / "docs"


def main() -> None:
    with esp.Engine() as engine, tempfile.TemporaryDirectory() as folder:
        judge.run(text="Thank you.", backend=engine, seed=1)
        file = Path(folder) / "report.html"
        state = judge.run(text=TEXT, backend=engine, seed=1)
        file.write_text(state.report().html(), encoding="utf-8")
        with chromium(1180, 760) as page:
            page.driver.get(file.as_uri())
            for call in page.all("details.call > summary")[:2]:
                call.click()
            page.driver.save_screenshot(str(DOCS / "report.png"))


if __name__ == "__main__":
    main()
