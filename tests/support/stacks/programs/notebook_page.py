"""A notebook's page in headless Chromium: URL SCREENSHOT END

Runs the first cell and writes what it printed, once that matches the regular expression END. Must not know
what is behind the page.
"""

from __future__ import annotations

import sys

from playwright.sync_api import sync_playwright

PATIENCE = 120_000
OUTPUT = ".jp-OutputArea-output"
SHOWS = f"pattern => new RegExp(pattern).test(document.querySelector('{OUTPUT}')?.innerText)"
# A cell that is run before its kernel is there is forgotten.
READY = "document.querySelector('#jp-main-statusbar')?.innerText.includes('| Idle')"


def main(url: str, screenshot: str, end: str) -> None:
    """Write the cell's output; the picture is taken whatever happened, for who looks for the reason."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 720})
        page.set_default_timeout(PATIENCE)
        try:
            page.goto(url)
            page.wait_for_function(READY)
            page.locator(".jp-Notebook .cm-content").first.click()
            page.keyboard.press("Shift+Enter")
            page.wait_for_function(SHOWS, arg=end)
            shown = page.inner_text(OUTPUT)
        finally:
            page.screenshot(path=screenshot)
            browser.close()
    sys.stdout.write(shown)


if __name__ == "__main__":
    main(*sys.argv[1:])
