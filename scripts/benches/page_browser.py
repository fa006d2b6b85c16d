"""The pages in Chromium for ``scripts/bench pages``: bytes and time of a first visit, and verdicts by keyboard."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from stage.person import CHROMIUM_FLAGS, PATIENCE_MS, WINDOW
from stage.processes import StageError

#: Number of verdicts, and seconds for which a person looks at an image before judging it.
VERDICTS, LOOK_S = 20, 0.8
#: Every so many images are bad, for the first reason.
_EVERY_BAD = 5
#: Height of a window in which a whole page of a gallery is visible, so that the browser loads every picture of it.
_TALL = 30_000
#: Milliseconds since the page was opened at which the last picture was complete; 0 while one is not.
_LOADED_AT = """() => [...document.images].every(image => image.complete && image.naturalWidth)
    ? Math.max(...performance.getEntriesByType('resource').map(each => each.responseEnd),
               ...performance.getEntriesByType('navigation').map(each => each.loadEventEnd))
    : 0"""
#: Milliseconds without a request after which a page counts as loaded.
_QUIET_MS = 500


@contextmanager
def chromium() -> Iterator[Browser]:
    """Context manager of a headless Chromium.

    Raises:
        StageError: there is none.
    """
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise StageError("There is no chromium on the PATH; install it (Debian: apt-get install chromium).")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(CHROMIUM_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def first_visits(
    browser: Browser, url: str, cookies: Mapping[str, str], paths: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Open each page in a laptop's window with an empty cache; return what was transferred until it was quiet.

    Returns:
        Name of the page → bytes in all, of the page, of style sheets and scripts, and of pictures, all with their
        headers, and the number of pictures.
    """
    return {name: _first_visit(browser, url, cookies, path) for name, path in paths.items()}


def whole_gallery(browser: Browser, url: str, cookies: Mapping[str, str], path: str, times: int) -> dict[str, Any]:
    """Open a gallery in a window that shows all of it, each time with an empty cache, and follow it to its end.

    Returns:
        Number of thumbnails, the first and the median time until all were complete in seconds, and the size of the
        largest and the median thumbnail in bytes.
    """
    seconds, sizes = [], []
    for _ in range(times):
        with _window(browser, url, cookies, height=_TALL) as page:
            transferred = _transfers(page)
            took, address = 0.0, url + path
            while address:
                page.goto(address)
                took += page.wait_for_function(_LOADED_AT).json_value() / 1000
                more = page.locator("p.more a")
                address = url + str(more.get_attribute("href")) if more.count() else ""
            seconds.append(took)
            sizes = [each["content"] for each in transferred.values() if each["type"] == "Image"]
    return {
        "thumbnails": len(sizes),
        "first_s": round(seconds[0], 2),
        "median_s": round(sorted(seconds[1:] or seconds)[len(seconds[1:] or seconds) // 2], 2),
        "largest_bytes": max(sizes),
        "median_bytes": sorted(sizes)[len(sizes) // 2],
    }


def judge_by_keyboard(browser: Browser, url: str, cookies: Mapping[str, str], path: str) -> dict[str, float]:
    """Judge ``VERDICTS`` images on a review sheet by keyboard, after a look at each.

    Returns:
        Seconds from the first look to the last key, to the moment at which the page shows the last verdict, and to the
        moment at which each verdict is saved in Label Studio.
    """
    with _window(browser, url, cookies) as page:
        page.goto(url + path)
        page.wait_for_load_state("networkidle")
        began = time.perf_counter()
        page.keyboard.press("ArrowRight")
        for place in range(VERDICTS):
            expect(page.locator("#sheet > li").nth(place)).to_have_class(re.compile("current"))
            page.wait_for_timeout(1000 * LOOK_S)  # the person looks at the image
            is_bad = place % _EVERY_BAD == _EVERY_BAD - 1
            for key in ("1", "b") if is_bad else ("g",):
                page.keyboard.press(key)
        pressed = time.perf_counter() - began
        expect(page.locator("#judged")).to_have_text(str(VERDICTS))
        shown = time.perf_counter() - began
        saved = page.locator("#sheet .state", has_text=re.compile("^saved$"))
        expect(saved).to_have_count(VERDICTS, timeout=4 * PATIENCE_MS)
        return {
            "verdicts": VERDICTS,
            "look_s": LOOK_S,
            "last_key_s": round(pressed, 1),
            "shown_s": round(shown, 1),
            "saved_s": round(time.perf_counter() - began, 1),
        }


def _first_visit(browser: Browser, url: str, cookies: Mapping[str, str], path: str) -> dict[str, Any]:
    with _window(browser, url, cookies) as page:
        transferred = _transfers(page)
        page.goto(url + path, wait_until="networkidle")
        page.wait_for_timeout(_QUIET_MS)
        kinds: dict[str, int] = {}
        for each in transferred.values():
            kinds[each["type"]] = kinds.get(each["type"], 0) + each["transferred"]
        return {
            "bytes": sum(kinds.values()),
            "page_bytes": kinds.get("Document", 0),
            "style_and_script_bytes": kinds.get("Stylesheet", 0) + kinds.get("Script", 0),
            "picture_bytes": kinds.get("Image", 0),
            "pictures": sum(each["type"] == "Image" for each in transferred.values()),
        }


def _transfers(page: Page) -> dict[str, dict[str, Any]]:
    """Return what the page transfers from now on, by request: its type, and bytes with and without compression."""
    transfers: dict[str, dict[str, Any]] = {}
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")

    def on_response(event: dict[str, Any]) -> None:
        transfers[event["requestId"]] = {"type": event["type"], "transferred": 0, "content": 0}

    def on_data(event: dict[str, Any]) -> None:
        if event["requestId"] in transfers:
            transfers[event["requestId"]]["content"] += event["dataLength"]

    def on_end(event: dict[str, Any]) -> None:
        if event["requestId"] in transfers:
            transfers[event["requestId"]]["transferred"] = int(event["encodedDataLength"])

    listeners: dict[Any, Callable[[dict[str, Any]], None]] = {
        "Network.responseReceived": on_response,
        "Network.dataReceived": on_data,
        "Network.loadingFinished": on_end,
    }
    for name, listener in listeners.items():
        session.on(name, listener)
    return transfers


@contextmanager
def _window(browser: Browser, url: str, cookies: Mapping[str, str], height: int = WINDOW[1]) -> Iterator[Page]:
    """Context manager of a page in a new window with an empty cache, in which somebody has logged in."""
    context: BrowserContext = browser.new_context(viewport={"width": WINDOW[0], "height": height})
    context.add_cookies([{"name": name, "value": value, "url": f"{url}/studio/"} for name, value in cookies.items()])
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    try:
        yield page
    finally:
        context.close()
