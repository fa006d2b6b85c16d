"""The documents are true: commands with their options, linked files, and the files that CONTRIBUTING names."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click
import pytest
import typer.main

from datagen.cli import app
from stage.layout import ROOT

DOCUMENTS = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
)
#: Options of scripts/demo that the README's text names, beside those in its commands.
_DEMO_OPTIONS = {"--data", "--auto", "--count", "--down"}


def shell_lines(document: Path) -> Iterator[str]:
    """Every line of the document's shell blocks; a line that is continued on the next one is one with it."""
    for block in re.findall(r"^```sh\n(.*?)^```", document.read_text(encoding="utf-8"), re.M | re.S):
        yield from block.replace("\\\n", " ").splitlines()


def commands(document: Path) -> Iterator[list[str]]:
    """Every command of a document, in blocks and inline, as its words (without comments)."""
    for line in shell_lines(document):
        words = shlex.split(line, comments=True)
        if words and words[-1] == "&":
            words.pop()
        if words:
            yield words
    for inline in re.findall(r"`((?:datagen|scripts/)[^`]*)`", document.read_text(encoding="utf-8")):
        yield shlex.split(inline)


def of_program(program: str) -> list[list[str]]:
    return [words for document in DOCUMENTS for words in commands(document) if words[0] == program]


def datagen_commands() -> list[list[str]]:
    """The `datagen` commands of all documents, also those that run inside a container."""
    inside = [words[4:] for words in of_program("docker") if words[1:4] == ["compose", "exec", "web"]]
    return [words[1:] for words in [*of_program("datagen"), *inside] if len(words) > 1]


@pytest.mark.parametrize("words", datagen_commands(), ids=" ".join)
def test_a_documented_command_of_datagen_is_accepted(words: list[str]) -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, click.Group) or hasattr(group, "commands")
    assert words[0].isupper() or words[0] in group.commands, f"datagen has no command {words[0]!r}"
    if words[0].isupper() or len(words) == 1:
        return  # a placeholder, or only the command's name
    command, rest = group.commands[words[0]], list(words[1:])
    if hasattr(command, "commands"):
        assert rest[0] in command.commands, f"datagen {words[0]} has no command {rest[0]!r}"
        command, rest = command.commands[rest[0]], rest[1:]
    with suppress(typer.Exit):  # of an option that prints something and ends the command
        command.make_context(f"datagen {words[0]}", rest, resilient_parsing=False).close()


def test_every_command_of_datagen_is_documented() -> None:
    reported = {words[0] for words in datagen_commands()}
    assert set(typer.main.get_command(app).commands) <= reported


@pytest.mark.parametrize(
    "words",
    [words for document in DOCUMENTS for words in commands(document) if words[0].startswith("scripts/")],
    ids=" ".join,
)
def test_a_documented_script_exists_and_can_be_run(words: list[str]) -> None:
    script = ROOT / words[0]
    assert script.exists()
    if script.suffix == "" and script.is_file():
        assert script.stat().st_mode & 0o111


def test_the_demo_has_the_options_that_are_documented() -> None:
    reported = {word for words in of_program("scripts/demo") for word in words[1:] if word.startswith("--")}
    helped = subprocess.run(
        [sys.executable, "-m", "stage.demo", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},
    ).stdout
    for option in reported | _DEMO_OPTIONS:
        assert option in helped, f"scripts/demo has no {option}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_linked_file_exists(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}, which is not there"


def test_every_decision_record_is_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = set(re.findall(r"\]\((\d{4}[^)]*\.md)\)", (folder / "README.md").read_text(encoding="utf-8")))
    assert listed == {path.name for path in folder.glob("[0-9]*.md")}


def test_every_file_that_contributing_names_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name in re.findall(r"`((?:store|export|synthesis|label_studio)/[a-z_/]*(?:\.py|/))`", text):
        assert (ROOT / "backend" / "datagen" / name).exists(), name
    for name in re.findall(r"`(tests/[a-z_/]+\.py)`", text):
        assert (ROOT / name).exists(), name


def test_the_changelog_knows_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    version = re.search(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert version is not None
    assert f"## [{version[1]}]" in text
