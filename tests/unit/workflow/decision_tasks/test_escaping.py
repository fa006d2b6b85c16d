"""Names and comments from people and files are shown as text, never as markup."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from datagen.cli.console import safe
from datagen.domain.inputs import ProjectKind
from datagen.errors import InputProblem
from datagen.label_studio.projects.label_configs import render


@pytest.mark.parametrize("label", ["a\x00b", "a\nb", "\x1b[31m", "\u202e", ""])
@pytest.mark.parametrize("kind", [ProjectKind.CONCEPTS, ProjectKind.DATASET])
def test_a_label_that_cannot_be_shown_is_refused(kind: ProjectKind, label: str) -> None:
    with pytest.raises(InputProblem):
        render(kind, [label])


@pytest.mark.parametrize(
    "text", ["[red]x[/red]", "[/]", "[link=http://evil]x[/link]", "\x1b]0;title\x07", "a\rb", "\x9b2J"]
)
def test_a_sentence_with_markup_or_controls_is_printed_harmlessly(text: str, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", newline="") as file:
        Console(file=file, width=200).print(f"[red]Error:[/] {safe(text)}", highlight=False, soft_wrap=True)
    written = (tmp_path / "out").read_bytes().decode()
    assert all(character.isprintable() or character == "\n" for character in written)
    if text.startswith("["):
        assert text in written
