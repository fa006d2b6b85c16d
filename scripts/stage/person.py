"""A simulated person at Label Studio's pages in a real browser: logs in, draws with the mouse, and fills in forms.

It depends on the pages of Label Studio 1.23 and on the names in the product's forms, and on nothing else of the
product. It waits only on conditions of the page. The caller starts and stops the browser."""

from __future__ import annotations

import re
from collections.abc import Sequence

from playwright.sync_api import Browser, Locator, Page, Response, expect

from stage.label_studio_server import LabelStudio

#: Command-line flags of Debian's Chromium without a user: no sandbox as root, and no requests in the background.
CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
#: Width and height of the browser's window in pixels, as on a laptop.
WINDOW = (1440, 900)
#: Milliseconds after which a page that has not loaded counts as broken; two busy cores are slow.
PATIENCE_MS = 60_000

Point = tuple[float, float]

_SUBMIT = "[data-testid=bottombar-submit-button]"
_UPDATE = "[data-testid=bottombar-update-button]"
#: Name of the button + beside the annotations of a task.
_ANOTHER = "Create an annotation"
_ANNOTATION = re.compile(r"/api/(tasks/\d+/annotations|annotations/\d+)/?(\?|$)")


class Person:
    """One user with one browser page. ``errors`` collects the uncaught errors of the scripts on the pages."""

    def __init__(
        self, browser: Browser, server: LabelStudio, *, window: tuple[int, int] = WINDOW, dark: bool = False
    ) -> None:
        self.server = server
        self.errors: list[str] = []
        self.context = browser.new_context(viewport={"width": window[0], "height": window[1]})
        theme = "Dark" if dark else "Light"  # as Label Studio keeps the choice in its menu
        self.context.add_init_script(f"localStorage.setItem('preferred-color-scheme', '{theme}')")
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def close(self) -> None:
        """Close the page and its session."""
        self.context.close()

    def log_in(self) -> None:
        """Log in on Label Studio's log-in page."""
        self.page.goto(f"{self.server.url}/user/login/")
        self.page.fill("input[name=email]", self.server.email)
        self.page.fill("input[name=password]", self.server.password)
        self.page.keyboard.press("Enter")
        self.page.wait_for_url(lambda url: "/login" not in url)

    def open_project(self, project_id: int) -> None:
        """Open the project's Data Manager, and wait until its first tab is loaded."""
        self.page.goto(f"{self.server.url}/projects/{project_id}/data")
        self.page.get_by_role("button", name="Import").first.wait_for()
        self.page.wait_for_load_state("networkidle")

    def open_task(self, project_id: int, task_id: int) -> None:
        """Open a task in the editor, and wait until its images are drawn."""
        self.page.goto(f"{self.server.url}/projects/{project_id}/data?task={task_id}")
        self.page.locator(f"{_SUBMIT}, {_UPDATE}").first.wait_for()
        self.page.locator(".konvajs-content canvas").first.wait_for()
        self.image_size()

    def judge_too(self) -> None:
        """Begin an annotation of one's own on the opened task, which another person has annotated."""
        self.page.get_by_role("button", name=_ANOTHER).click()
        self.page.locator(_SUBMIT).first.wait_for()
        self.image_size()

    # drawing, in fractions of the image: (0, 0) its top left corner, (1, 1) its bottom right one

    def draw_box(self, label: int, start: Point, end: Point) -> None:
        """Draw a box by dragging from ``start`` to ``end``.

        ``label`` is the number of its label on the form, from 0.
        """
        regions = self.regions()
        self._choose_label(label)
        (left, top), (right, bottom) = self._on_screen(start), self._on_screen(end)
        self.page.mouse.move(left, top)
        self.page.mouse.down()
        self.page.mouse.move((left + right) / 2, (top + bottom) / 2, steps=5)
        self.page.mouse.move(right, bottom, steps=5)
        self.page.mouse.up()
        self.expect_regions(regions + 1)

    def draw_polygon(self, label: int, corners: Sequence[Point]) -> None:
        """Draw a polygon by clicking its corners, and close it by a click on the first.

        ``label`` is the number of its label on the form, from 0.
        """
        regions = self.regions()
        self._choose_label(label)
        for number, corner in enumerate((*corners, corners[0])):
            self.page.mouse.move(*self._on_screen(corner), steps=3)
            self.page.mouse.down()
            self.page.mouse.up()
            if number < len(corners):
                self.page.wait_for_function(_CORNERS_DRAWN, arg=number + 1)
        self.page.wait_for_function(_CLOSED, arg=regions + 1)
        self.expect_regions(regions + 1)

    def discard_regions(self) -> int:
        """Wait for the proposed regions, delete all regions with Backspace, and return their number."""
        self.page.locator(".lsf-outliner-item").first.wait_for()
        many = self.regions()
        for left in range(many - 1, -1, -1):
            self.page.locator(".lsf-outliner-item").first.click()
            self.page.keyboard.press("Backspace")
            self.expect_regions(left)
        return many

    def expect_regions(self, many: int) -> None:
        """Wait until the panel on the right lists ``many`` regions."""
        expect(self.page.locator(".lsf-outliner-item")).to_have_count(many, timeout=PATIENCE_MS)

    def regions(self) -> int:
        """Return the number of regions that the panel on the right lists."""
        return self.page.locator(".lsf-outliner-item").count()

    def outlines(self, least: int = 1) -> list[tuple[str, float, float, float, float]]:
        """Wait for at least ``least`` closed outlines over the image; return them.

        Each is given by its colour, and by left, top, right and bottom as fractions of the image's width and height.
        """
        self.page.wait_for_function(_CLOSED, arg=least)
        return [tuple(outline) for outline in self.page.evaluate(_OUTLINES)]

    def image_size(self) -> tuple[int, int]:
        """Wait until the editor has loaded and drawn the image; return its width and height in pixels.

        The editor may replace the image's element just after it was drawn.
        """
        loaded = f"() => {{ const size = ({_IMAGE_SIZE})(); return size[0] > 0 ? size : null; }}"
        width, height = self.page.wait_for_function(loaded).json_value()
        return int(width), int(height)

    # forms

    def press(self, *keys: str) -> None:
        """Press hotkeys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def tick(self, choice: str) -> None:
        """Select a choice of the form, which is found by its text."""
        self.page.locator(f'input[type=checkbox][name="{choice}"]').check()

    def ticked(self, choice: str) -> bool:
        """Return whether the choice with this text is selected."""
        return self.page.locator(f'input[type=checkbox][name="{choice}"]').is_checked()

    def write(self, field: str, text: str) -> None:
        """Type text into a field, and submit it with Enter."""
        box = self.page.locator(f'input[name="{field}"]')
        box.fill(text)
        box.press("Enter")

    def number(self, field: str, number: int) -> None:
        """Type a number into a field."""
        self.page.locator(f'input[type=number][name="{field}"]').fill(str(number))

    def form_text(self) -> str:
        """Return the text on the form."""
        return self.summary().inner_text()

    def summary(self) -> Locator:
        """The element of the page that has the text on the form."""
        return self.page.locator(".lsf-main-view .lsf-htx-richtext").first

    def submit(self) -> None:
        """Submit with the button, and wait until Label Studio has stored the annotation."""
        self._answered(lambda: self.page.locator(f"{_SUBMIT}, {_UPDATE}").first.click())

    def submit_by_key(self) -> None:
        """Submit with Ctrl+Enter."""
        self._answered(lambda: self.page.keyboard.press("Control+Enter"))

    def _answered(self, act: object) -> None:
        assert callable(act)
        with self.page.expect_response(_is_answer) as waiting:
            act()
        answer: Response = waiting.value
        assert answer.ok, f"Label Studio answered {answer.status}: {answer.text()[:300]}"

    def _choose_label(self, number: int) -> None:
        self.page.locator(".lsf-labels .lsf-label").nth(number).click()

    def _on_screen(self, point: Point) -> Point:
        frame = self.page.locator(".konvajs-content").first.bounding_box()
        assert frame is not None
        return frame["x"] + point[0] * frame["width"], frame["y"] + point[1] * frame["height"]


def _is_answer(answer: Response) -> bool:
    return answer.request.method in ("POST", "PATCH") and _ANNOTATION.search(answer.url) is not None


# Label Studio draws with Konva, so the shapes on the canvas are read from Konva.
_CORNERS_DRAWN = (
    "many => Konva.stages[0].find('Circle').filter(one => one.name().startsWith('anchor_')).length === many"
)
# The editor may replace its stage just after it was drawn, and has none in between.
_CLOSED = "many => (Konva.stages[0]?.find('Line') ?? []).filter(line => line.closed()).length >= many"
_OUTLINES = """() => {
    const stage = Konva.stages[0];
    return stage.find('Line').filter(line => line.closed() && line.points().length >= 6).map(line => {
        const box = line.getClientRect({relativeTo: stage, skipStroke: true});
        const [across, down] = [stage.width(), stage.height()];
        return [line.stroke(), box.x / across, box.y / down, (box.x + box.width) / across, (box.y + box.height) / down];
    });
}"""
_IMAGE_SIZE = """() => {
    const drawn = [...document.querySelectorAll('.lsf-image img, .lsf-image-progress img')];
    const all = drawn.length ? drawn : [...document.querySelectorAll('img[src^="blob:"]')];
    const image = all.find(one => one.complete && one.naturalWidth > 0);
    return image ? [image.naturalWidth, image.naturalHeight] : [0, 0];
}"""
