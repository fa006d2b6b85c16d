"""Checks of a page in a browser: axe-core's rules, and that every control is reached by the keyboard and shows it.

``scripts/third_party/fetch.py --tests`` fetches axe-core; ``scripts/test`` does so by itself.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from playwright.sync_api import Page

from stage.layout import SETUP

AXE = SETUP / "third_party" / "axe.min.js"
#: Number of pixels, and difference of a channel, from which on a focused control looks different from others.
_FEWEST_PX, _DIFFERENCE = 40, 40
#: Pixels around a control that a picture of it shows: an outline is drawn there.
_AROUND = 8

_CONTROLS = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']"
_MARK = f"""() => {{
    const groups = new Set();
    let number = 0;
    for (const control of document.querySelectorAll("{_CONTROLS}")) {{
        if (!control.checkVisibility({{visibilityProperty: true}}) || control.closest("[inert]")) continue;
        if (control.disabled || control.tabIndex < 0) continue;
        if (control.type === "radio") {{  // the arrows go through a group
            if (groups.has(control.name)) continue;
            groups.add(control.name);
        }}
        control.dataset.control = number++;
    }}
    return number;
}}"""
_FOCUSED = """() => {
    const control = document.activeElement;
    if (!control || control === document.body) return null;
    const radio = control.type === "radio" && document.querySelector(`input[name="${control.name}"][data-control]`);
    const kind = [control.tagName, control.className, control.parentElement.tagName, control.parentElement.className];
    return [(radio || control).dataset.control ?? "", kind.join(" "), control.outerHTML.slice(0, 200)];
}"""


@dataclass(frozen=True)
class Violation:
    """A broken rule of axe-core, and the elements that break it."""

    rule: str
    help: str
    elements: tuple[str, ...]


def violations(page: Page) -> list[Violation]:
    """Return the rules of axe-core that the page breaks, those for good practice included."""
    assert AXE.is_file(), f"{AXE} is missing: run scripts/third_party/fetch.py --tests with Python."
    page.evaluate(AXE.read_text())  # through the debugger, which the page's policy for scripts does not concern
    rules = page.evaluate("async () => (await axe.run(document)).violations")
    return [
        Violation(
            broken["id"],
            broken["help"],
            tuple(f"{node['html'][:200]} {node.get('failureSummary', '')[:400]}" for node in broken["nodes"][:5]),
        )
        for broken in rules
    ]


def controls_out_of_reach(page: Page) -> list[str]:
    """Press Tab through the page; return the controls that it does not reach, and those that do not show the focus.

    Of controls that look alike, one is looked at. The page has to be opened with ``reduced_motion``, so that it scrolls
    to a control at once.
    """
    count = page.evaluate(_MARK)
    reached: set[str] = set()
    looked_at: set[str] = set()
    wrong: list[str] = []
    for _ in range(2 * count + 10):
        page.keyboard.press("Tab")
        focused = page.evaluate(_FOCUSED)
        if focused is None:  # the end of the page
            break
        number, kind, html = focused
        reached.add(number)
        if kind not in looked_at:
            looked_at.add(kind)
            if not _shows_focus(page):
                wrong.append(f"does not show that it has the focus: {html}")
    missing = page.evaluate(_NOT_AMONG, sorted(reached))
    return wrong + [f"is not reached with Tab: {html}" for html in missing]


def _shows_focus(page: Page) -> bool:
    """Return whether the focused control looks different from the same control without the focus."""
    box = page.evaluate("""() => {
        const box = document.activeElement.getBoundingClientRect();
        return [box.left, box.top, box.right, box.bottom];
    }""")
    size = page.viewport_size
    assert size is not None
    left, top = max(box[0] - _AROUND, 0), max(box[1] - _AROUND, 0)
    right, bottom = min(box[2] + _AROUND, size["width"]), min(box[3] + _AROUND, size["height"])
    if right - left < 1 or bottom - top < 1:
        return False  # it is outside of the window, or has no size
    clip = {"x": left, "y": top, "width": right - left, "height": bottom - top}
    focused = _pixels(page.screenshot(clip=clip, animations="disabled"))
    page.evaluate("window.lookedAt = document.activeElement; lookedAt.blur()")
    plain = _pixels(page.screenshot(clip=clip, animations="disabled"))
    page.evaluate("lookedAt.focus({preventScroll: true})")
    return int((np.abs(focused - plain).max(axis=2) > _DIFFERENCE).sum()) >= _FEWEST_PX


def _pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.int16)


_NOT_AMONG = """reached => [...document.querySelectorAll("[data-control]")]
    .filter(control => !reached.includes(control.dataset.control))
    .map(control => control.outerHTML.slice(0, 200))"""
