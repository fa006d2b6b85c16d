"""Charts as values that a template writes as SVG: positions and sizes in the units of the drawing, no markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datagen.workflow.study_pages.run_view import Histogram
from datagen.workflow.study_pages.study_view import BatchCard

#: Size of the chart of rounds, and the space left of and below its plot, in units of the drawing.
WIDTH, HEIGHT, LEFT, BELOW = 480, 190, 58, 34
_TOP = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundMark:
    """A round in the chart: the share of good verdicts as a dot, its interval as a line."""

    number: int
    x: float
    y: float
    top: float
    bottom: float
    #: share and interval as text, such as “75 % (48 to 91 %)”
    text: str
    good: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundChart:
    """The share of good verdicts of the rounds, the oldest on the left."""

    marks: tuple[RoundMark, ...]
    #: y coordinate → its label
    grid: tuple[tuple[float, str], ...]
    #: the points of the line through the dots
    line: str


def round_chart(rounds: Sequence[BatchCard]) -> RoundChart:
    """Return the chart of rounds with verdicts."""
    step = (WIDTH - LEFT - 24) / max(1, len(rounds))
    marks = []
    for place, card in enumerate(rounds):
        share = card.share
        assert share is not None
        given = card.verdicts.good + card.verdicts.bad
        marks.append(
            RoundMark(
                number=card.number,
                x=round(LEFT + step * (place + 0.5), 1),
                y=_y(share.good),
                top=_y(share.high),
                bottom=_y(share.low),
                text=f"{_percent(share.good)} ({_percent(share.low)} to {_percent(share.high)})",
                good=card.verdicts.good,
                count=given,
            )
        )
    return RoundChart(
        marks=tuple(marks),
        grid=tuple((_y(share), _percent(share)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)),
        line=" ".join(f"{mark.x},{mark.y}" for mark in marks),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _y(share: float) -> float:
    return round(_TOP + (1 - share) * (HEIGHT - _TOP - BELOW), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A bar of a histogram: position and size in units of the drawing, and what it stands for."""

    x: float
    y: float
    width: float
    height: float
    text: str
    #: what is written below it; empty if nothing is
    label: str = ""


#: Size of a histogram in units of the drawing; labels are written below it.
BARS_WIDTH, BARS_HEIGHT = 360, 120
#: Largest width of a bar in units of the drawing, and number of bars up to which each has a label.
MAX_BAR, MAX_LABELS = 44, 14


def histogram_bars(histogram: Histogram, unit: str, digits: int = 0) -> tuple[Bar, ...]:
    """Return the bars of a histogram; their limits are written with so many digits behind the point."""
    interval = (histogram.high - histogram.low) / len(histogram.counts)
    texts = [
        f"{histogram.low + interval * number:.{digits}f} to {histogram.low + interval * (number + 1):.{digits}f} {unit}"
        for number in range(len(histogram.counts))
    ]
    return _bars(list(zip(texts, histogram.counts, strict=True)), ())


def count_bars(counts: Sequence[tuple[int, int]]) -> tuple[Bar, ...]:
    """Return a bar for each pair of a number and how often it occurs; each has the number below it if there is room."""
    labels = [str(number) for number, _ in counts] if len(counts) <= MAX_LABELS else ()
    return _bars([(str(number), count) for number, count in counts], labels)


def _bars(counts: Sequence[tuple[str, int]], labels: Sequence[str]) -> tuple[Bar, ...]:
    most = max((count for _, count in counts), default=0) or 1
    width = min(MAX_BAR, BARS_WIDTH / max(1, len(counts)))
    bars = []
    for number, (text, count) in enumerate(counts):
        height = round(BARS_HEIGHT * count / most, 1)
        bars.append(
            Bar(
                x=round(width * number + 1, 1),
                y=round(BARS_HEIGHT - height, 1),
                width=round(max(1.0, width - 2), 1),
                height=height,
                text=f"{text}: {count:,}",
                label=labels[number] if labels else "",
            )
        )
    return tuple(bars)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of the place map: its column and row, its opacity 0 to 1, and what it stands for."""

    column: int
    row: int
    opacity: float
    text: str


def place_cells(places: Sequence[Sequence[int]]) -> tuple[Cell, ...]:
    """Return the cells of a place map that are not empty."""
    most = max((count for row in places for count in row), default=0) or 1
    return tuple(
        Cell(column=column, row=row, opacity=round(0.12 + 0.88 * count / most, 2), text=f"{count:,}")
        for row, counts in enumerate(places)
        for column, count in enumerate(counts)
        if count
    )
