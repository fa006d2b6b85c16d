"""The progress bar: shown on a terminal, and nowhere else."""

from __future__ import annotations

import io

from rich.console import Console

from datagen.cli.progress import progress_bar


def shown(*, terminal: bool) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100)
    with progress_bar("Exporting [1]", console) as progress:
        progress(0, 200)
        progress(50, 200)
    return stream.getvalue()


def test_terminal_shows_what_is_done_and_the_time_left() -> None:
    text = shown(terminal=True)
    assert "Exporting [1]" in text
    assert "50/200" in text
    assert "left" in text


def test_nothing_is_written_to_what_is_no_terminal() -> None:
    assert shown(terminal=False) == ""
