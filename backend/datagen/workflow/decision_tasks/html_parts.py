"""Parts of HTML of a decision page: links, boxes, lists, tables and folds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from datagen.domain.wording import sentence_case

#: Number of items of a list that are shown; the number of further items follows them.
LONGEST_LIST = 12


def link(project_id: int | None, text: str, task_id: int | None = None) -> str:
    """Return a link to a Label Studio project or to one of its tasks; the text alone before provisioning."""
    if project_id is None:
        return escape(text)
    task = f"?task={task_id}" if task_id is not None else ""
    return f'<a href="/projects/{project_id}/data{task}" target="_blank">{escape(text)}</a>'


def fold(title: str, html: str, *, unfolded: bool = False) -> str:
    """Return a part that unfolds on a click, so that it does not push the contact sheet off the screen."""
    title_style = 'style="cursor:pointer;font-weight:bold;margin:4px 0"'
    return f"<details{' open' if unfolded else ''}><summary {title_style}>{escape(title)}</summary>{html}</details>"


def first_of(lines: Sequence[str], many: int) -> str:
    """Return the first ``many`` lines as a list, and the others folded."""
    others = lines[many:]
    return bullets(lines[:many]) + (fold(f"{len(others)} more", bullets(others)) if others else "")


def refusal(html: str) -> str:
    """Return a red box: something was not done, or failed."""
    return _box("#fdecea", "#b3261e", html)


def warning(html: str) -> str:
    """Return a yellow box: something to look at."""
    return _box("#fff4e5", "#8a5300", html)


def answer(html: str) -> str:
    """Return a blue box: a decision that was made."""
    return _box("#e8f0fe", "#1a56b0", html)


def _box(background: str, colour: str, html: str) -> str:
    style = f"background:{background};color:{colour};border-radius:6px;padding:8px 12px;margin:8px 0"
    return f'<div style="{style}">{html}</div>'


def bullets(items: Iterable[str]) -> str:
    """Return lines as a list of at most ``LONGEST_LIST``, each beginning with a capital letter, escaped."""
    lines = [escape(sentence_case(item)) for item in items]
    more = [f"… and {len(lines) - LONGEST_LIST} more"] if len(lines) > LONGEST_LIST else []
    style = "margin:4px 0" + (";padding-left:18px;list-style:disc" if len(lines) > 1 else "")
    return f'<ul style="{style}">' + "".join(f"<li>{line}</li>" for line in lines[:LONGEST_LIST] + more) + "</ul>"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return an HTML table; its cells must be HTML already."""
    style = 'style="padding:2px 14px 2px 0;text-align:left"'
    cells = "".join(f"<th {style}>{cell}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td {style}>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{cells}</tr>{body}</table>"
