"""A simulated person on the studio's pages in a real browser: logs in, follows links, and takes pictures.

It depends on what the pages show a person, and on nothing else of the product. The caller starts and stops the browser.
"""

from __future__ import annotations

import io
import re

from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from stage.label_studio_server import LabelStudio
from stage.person import PATIENCE_MS, WINDOW


class PageVisitor:
    """One user with one browser page. ``errors`` collects what the browser reports as errors."""

    def __init__(self, browser: Browser, url: str, *, window: tuple[int, int] = WINDOW, dark: bool = False) -> None:
        self.url = url
        self.errors: list[str] = []
        self.context = browser.new_context(
            viewport={"width": window[0], "height": window[1]},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
        )
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)

    def close(self) -> None:
        """Close the page and its session."""
        self.context.close()

    def log_in(self, server: LabelStudio) -> None:
        """Open the studies and log in with a Label Studio account."""
        self.page.goto(f"{self.url}/studio/")
        self.page.get_by_label("E-mail").fill(server.email)
        self.page.get_by_label("Password").fill(server.password)
        self.page.get_by_role("button", name="Log in", exact=True).click()
        self.page.get_by_role("heading", name="Studies", level=1).wait_for()

    def home(self) -> None:
        """Open the studies."""
        self.page.goto(f"{self.url}/studio/")

    def follow(self, name: str | re.Pattern[str]) -> None:
        """Follow the first link with this name."""
        self.link(name).click()
        self.page.wait_for_load_state()

    def link(self, name: str | re.Pattern[str]) -> Locator:
        """The first link with this name."""
        return self.page.get_by_role("link", name=name).first

    def picture(self, *, full_page: bool = False) -> Image.Image:
        """Return a picture of the page, once every image on it is drawn."""
        for image in self.page.locator("img").all():
            image.evaluate("image => image.loading = 'eager'")
            expect(image).to_have_js_property("complete", True, timeout=PATIENCE_MS)
        self.page.wait_for_load_state("networkidle")
        return Image.open(io.BytesIO(self.page.screenshot(full_page=full_page, animations="disabled"))).convert("RGB")
