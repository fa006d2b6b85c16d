"""Log-ins at the studio's pages in browser tests: one for each person, because an e-mail address may log in rarely."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Page

from stage.label_studio_server import LabelStudio


class LogIns:
    """The sessions of the people in a run of the tests."""

    def __init__(self) -> None:
        self._cookies: dict[tuple[str, str], list[Any]] = {}

    def open(self, page: Page, account: LabelStudio, url: str) -> None:
        """Open a page as this person: with the session of an earlier test while it lasts, else through the form."""
        key = (urlsplit(url).netloc, account.email)
        page.context.add_cookies(self._cookies.get(key, []))
        page.goto(url)
        if urlsplit(page.url).path == "/studio/log-in":
            fill_in(page, account)
            page.wait_for_url(url)
        self._cookies[key] = page.context.cookies()


def fill_in(page: Page, account: LabelStudio) -> None:
    """Fill in the log-in form and send it."""
    page.fill("input[name=email]", account.email)
    page.fill("input[name=password]", account.password)
    page.get_by_role("button", name="Log in", exact=True).click()
