"""Every command that a message offers is one that the command line accepts."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest
from typer import BadParameter
from typer.main import get_command

import datagen
from command_lines import parsed
from datagen.cli import app
from datagen.domain.decision import ACTIONS, Decision
from datagen.domain.lifecycle import StudyEvent
from datagen.errors import NotConfirmed
from datagen.workflow.decisions.command_line import command_of
from fake_studio import FakeStudio
from studio import Study

#: Names of studies that a shell or the command line could take for something else.
NAMES = ["plates", "Brushed plates", "O'Brien's $HOME `x`", "-n", "--count"]
#: What the form holds: Label Studio sends the number of images with every action.
FORM = {"count": 200, "audit_count": 30, "name": "night shift", "note": "looks “good”; it's --fine"}
CONFIRMABLE = (StudyEvent.REFINE, StudyEvent.AUDIT, StudyEvent.APPROVE)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("action", ACTIONS)
def test_command_of_every_action_is_accepted_with_what_the_form_held(action: StudyEvent, name: str) -> None:
    wish = Decision(action=action, **FORM)
    command, given = parsed(command_of(name, wish, confirm=action in CONFIRMABLE))
    assert command == {"build preview": "preview", "audit": "audit-samples", "go on": "resume"}.get(action, action)
    assert (given["name"], given["note"]) == (name, FORM["note"])
    expected = {StudyEvent.AUDIT: (30, None), StudyEvent.APPROVE: (200, "night shift")}
    assert (given.get("count"), given.get("run_name")) == expected.get(action, (None, None))
    assert given.get("confirm", True)


def test_offered_confirmation_keeps_count_name_and_note(studio: FakeStudio, study: Study) -> None:
    """“datagen refine Tiles --count 200 --confirm” was offered, and refine has no --count."""
    for action in CONFIRMABLE:
        with pytest.raises(NotConfirmed) as refused:
            study.act(action, **FORM, confirmed=False)
        command, given = parsed(str(refused.value).partition("or run: ")[2])
        assert command == ("audit-samples" if action is StudyEvent.AUDIT else action)
        assert (given["name"], given["note"], given["confirm"]) == (study.name, FORM["note"], True)
        assert given.get("count", 200) == (30 if action is StudyEvent.AUDIT else 200)
        assert given.get("run_name", "night shift") == "night shift"


def _texts(source: str) -> list[str]:
    """The texts in a module that are not docstrings; “7” stands for each value in them."""
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    left_out = {part for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    left_out |= {node.value for node in nodes if isinstance(node, ast.Expr)}
    formatted = [node for node in nodes if isinstance(node, ast.JoinedStr)]
    texts = [
        "".join(str(part.value) if isinstance(part, ast.Constant) else "7" for part in f.values) for f in formatted
    ]
    return texts + [
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in left_out
    ]


def _offered() -> list[str]:
    """The commands in the product's texts: “datagen …”, or what follows a colon, up to the next mark."""
    folder = Path(datagen.__file__).parent
    sources = (path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    texts = [text for source in sources if "datagen " in source for text in _texts(source)]
    return sorted(
        {match.group(1).strip() for text in texts for match in re.finditer(r"(?:: |“)(datagen [a-z][^”;,.()]*)", text)}
    )


@pytest.mark.parametrize("line", _offered())
def test_command_in_a_message_is_accepted(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    assert name in get_command(app).commands, line  # type: ignore[attr-defined]
    if arguments and arguments[-1] != "--engine":  # the engine is in the next text
        # a value is a name, a number, or a share
        assert any(_is_accepted(line.replace("7", value)) for value in ("7", "0.7")), line


def _is_accepted(line: str) -> bool:
    try:
        parsed(line)
    except BadParameter:
        return False
    return True


def test_names_in_commands_are_quoted_for_a_shell() -> None:
    """“datagen provision "$HOME"”, as Python quotes it, names another study in a shell."""
    folder = Path(datagen.__file__).parent
    wrong = [
        f"{path.name}: {match.group()}"
        for path in folder.rglob("*.py")
        for match in re.finditer(r"datagen [a-z-]+ \{[^}]*!r\}", path.read_text(encoding="utf-8"))
    ]
    assert wrong == []
