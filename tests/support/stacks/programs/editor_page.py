"""An editor's page in headless Chromium: SOCKS_PORT URL FILE SCREENSHOT COMMAND END

Opens FILE of the folder that the page shows, types COMMAND into a terminal of the page, and writes what both
show as JSON when the terminal shows the regular expression END. Must not know what is behind the page.
"""

from __future__ import annotations

import json
import sys

from playwright.sync_api import Page, sync_playwright

PATIENCE = 120_000
TERMINAL = ".terminal-wrapper .xterm-rows"
SHOWS = f"pattern => new RegExp(pattern).test(document.querySelector('{TERMINAL}')?.innerText)"


def opened(page: Page, url: str, file: str) -> str:
    """The text of the file, as the editor shows it."""
    page.goto(url)
    page.get_by_role("treeitem", name=file).dblclick()
    page.wait_for_selector(f".tab.active >> text={file}")
    page.wait_for_function("document.querySelector('.view-lines')?.innerText.trim()")
    return page.inner_text(".view-lines").replace("\xa0", " ")


def typed(page: Page, command: str, end: str) -> str:
    """What the terminal shows after the command."""
    page.keyboard.press("Control+`")
    page.wait_for_function(SHOWS, arg=r"\$")
    page.locator(".terminal-wrapper textarea").focus()
    page.keyboard.type(f"{command}\n")
    page.wait_for_function(SHOWS, arg=end)
    return page.inner_text(TERMINAL).replace("\xa0", " ")


def main(socks: str, url: str, file: str, screenshot: str, command: str, end: str) -> None:
    """Write the two texts; the picture is taken whatever happened, for who looks for the reason."""
    # Chromium reaches its own machine without a proxy unless told otherwise; for root it has no sandbox.
    arguments = [
        f"--proxy-server=socks5://127.0.0.1:{socks}",
        "--proxy-bypass-list=<-loopback>",
        "--no-sandbox",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        page = browser.new_page(viewport={"width": 1200, "height": 720})
        page.set_default_timeout(PATIENCE)
        try:
            shown = {"file": opened(page, url, file), "terminal": typed(page, command, end)}
        finally:
            page.screenshot(path=screenshot)
            browser.close()
    sys.stdout.write(json.dumps(shown))


if __name__ == "__main__":
    main(*sys.argv[1:])
