"""Writes a page's view model as HTML. All text is escaped; a name that a template does not know is an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from datagen.domain import wording
from datagen.web.pages import charts
from datagen.web.pages.addresses import Addresses
from datagen.web.pages.notices import Notice

#: Age from which a time is shown as a date, days.
_DATE_AFTER_DAYS = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The parts of every page around its content."""

    title: str
    #: e-mail address of the person; empty on the log-in page
    email: str
    #: token for the forms on the page
    form_token: str
    #: what the person's last action did, or why it was refused; shown once
    notice: Notice | None
    #: the installation's health as a sentence, and as one word: works, broken or unknown
    health: str
    lamp: str


class Renderer:
    """The templates of the pages."""

    def __init__(self, addresses: Addresses, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._environment = Environment(
            loader=PackageLoader("datagen.web.pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals |= {"to": addresses, "charts": charts}
        self._environment.filters |= {
            "ago": self._ago,
            "by_number": wording.by_number,
            "counted": wording.counted,
            "file_size": wording.file_size,
            "instant": instant,
            "percent": lambda share: f"{100 * share:.0f} %",
            "sentence_case": wording.sentence_case,
            "span": wording.span,
        }

    def render(self, template: str, frame: Frame, **values: Any) -> str:
        """Return a page as HTML; ``values`` are the names in its template."""
        return self._environment.get_template(f"{template}.html.j2").render(frame=frame, **values)

    def part(self, template: str, **values: Any) -> str:
        """Return a part of a page as HTML."""
        return self._environment.get_template(f"{template}.html.j2").render(**values)

    def _ago(self, at: datetime) -> str:
        """Return the age of a time in words; the date of a time of more than a few days ago."""
        age = max(self._clock() - at, timedelta(0))
        if age < timedelta(seconds=90):
            return "just now"
        if age < timedelta(days=1):
            return f"{wording.span(age)} ago"
        if age < timedelta(days=_DATE_AFTER_DAYS):
            return f"{wording.counted(age.days, 'day')} ago"
        return f"{at:%Y-%m-%d}"


def instant(at: datetime) -> str:
    """Return a time for people who read it without a script, which would show it in their own time zone."""
    return f"{at:%Y-%m-%d %H:%M} UTC"
