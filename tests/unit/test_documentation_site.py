"""The documentation site builds without a warning, and its diagrams agree with the tables that the tests hold."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from datagen.workflow.services import JobKind
from import_graph import modules
from rooms import MAY_IMPORT
from stage.layout import ROOT

ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
#: `errors` and `__main__` are no rooms of the document: every room may import the one, and none the other.
ALLOWED = {room: allowed for room, allowed in MAY_IMPORT.items() if room not in ("errors", "__main__")}
DIAGRAMS = re.findall(r"^```mermaid\n(.*?)^```", ARCHITECTURE, re.M | re.S)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a dead link, a missing anchor or a page outside the navigation is an error."""
    pytest.importorskip("material", reason="mkdocs-material, of the extra dev, is not installed")
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder


def test_site_has_a_page_for_every_document(site: Path) -> None:
    documents = {path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")}
    pages = {path.relative_to(site).with_suffix("") for path in site.rglob("*.html")}
    assert {path.parent if path.name == "README" else path for path in documents} <= {
        path.parent if path.name == "index" and path.parent.name else path for path in pages
    }


def test_diagrams_are_left_to_mermaid_and_not_shown_as_code(site: Path) -> None:
    page = (site / "architecture.html").read_text(encoding="utf-8")
    assert page.count('<pre class="mermaid">') == len(DIAGRAMS) == 2


def test_pages_load_nothing_from_another_server(site: Path) -> None:
    loaded = re.compile(
        r"""<(?:script|img|iframe)[^>]*\ssrc=["']?(?:https?:)?//|<link[^>]*stylesheet[^>]*\shref=["']?(?:https?:)?//"""
    )
    assert [path.name for path in site.rglob("*.html") if loaded.search(path.read_text(encoding="utf-8"))] == []


# -- the diagrams


def flowchart() -> set[tuple[str, str]]:
    """The arrows of the diagram of rooms; every line of it is one."""
    first, *lines = DIAGRAMS[0].splitlines()
    assert first == "flowchart BT"
    arrows = [re.fullmatch(r"    (\w+) --> (\w+)", line) for line in lines]
    assert None not in arrows, "a line that is no arrow"
    return {(arrow[1], arrow[2]) for arrow in arrows if arrow}


def rooms_of_the_table() -> dict[str, set[str]]:
    """Room → the rooms that it may import, of the table in the document."""
    rows = dict(re.findall(r"^\| `(\w+)(?:/|\.py)` \|.*\| ([^|]+) \|$", ARCHITECTURE, re.M))
    named = {room: set(re.findall(r"`(\w+)`", cell)) for room, cell in rows.items()}
    for room, cell in rows.items():
        assert named[room] or cell == ("all" if ALLOWED[room] is None else "nothing"), f"{room}: {cell}"
    return named


def test_table_of_rooms_is_the_one_that_the_imports_are_tested_by() -> None:
    assert rooms_of_the_table() == {room: allowed or set() for room, allowed in ALLOWED.items()}


def test_diagram_shows_every_room() -> None:
    assert {room for arrow in flowchart() for room in arrow} == set(ALLOWED)


def test_every_arrow_of_the_diagram_is_permitted() -> None:
    wrong = [(room, target) for room, target in flowchart() if target not in (ALLOWED[room] or ALLOWED)]
    assert wrong == []


def test_every_permitted_import_follows_from_arrows_of_the_diagram() -> None:
    reached = flowchart()
    while further := {(a, d) for a, b in reached for c, d in reached if b == c} - reached:
        reached |= further
    missing = {(room, target) for room, allowed in ALLOWED.items() for target in allowed or ()} - reached
    assert missing == set()


def test_way_of_a_verdict_uses_declared_participants_and_jobs_that_exist() -> None:
    first, *lines = [line.strip() for line in DIAGRAMS[1].splitlines()]
    assert first == "sequenceDiagram"
    participants = {match[1] for line in lines if (match := re.fullmatch(r"participant (\w+) as .+", line))}
    messages = [line for line in lines if line and not line.startswith("participant ")]
    for line in messages:
        message = re.fullmatch(r"(\w+)--?>>(\w+): [^;#]+", line)
        assert message, f"no message in Mermaid's syntax: {line}"
        assert {message[1], message[2]} <= participants
    text = "\n".join(messages)
    assert set(re.findall(r"jobs? \"(\w+)\"", text)) <= set(JobKind)
    source = modules()["datagen.entrypoints.rq_tasks"].path.read_text(encoding="utf-8")
    for function in re.findall(r"rq_tasks\.(\w+)", ARCHITECTURE):
        assert f"def {function}(" in source
