"""The house's plan, as a test: which room may import which. An arrow that runs the other way fails here, by name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import datagen

ROOT = Path(datagen.__file__).parent

#: Room → the rooms that it may import beside itself and `errors`; None: all.
MAY_IMPORT = {
    "domain": set(),
    "imaging": {"domain"},
    "synthesis": {"domain", "imaging"},
    "learning": {"domain", "synthesis"},
    "evaluation": {"domain", "imaging", "synthesis"},
    "export": {"domain", "imaging"},
    "store": {"domain"},
    "label_studio": {"domain", "store"},
    "workflow": {"domain", "imaging", "synthesis", "learning", "evaluation", "export", "store", "label_studio"},
    "queue": {"domain", "synthesis", "store", "label_studio", "workflow"},
    "entrypoints": {"domain", "imaging", "synthesis", "store", "label_studio", "workflow", "queue", "settings"},
    "operations": {
        "domain",
        "imaging",
        "synthesis",
        "store",
        "label_studio",
        "workflow",
        "queue",
        "entrypoints",
        "settings",
    },
    "web": {"domain", "imaging", "store", "label_studio", "workflow", "queue", "entrypoints", "operations", "settings"},
    "cli": None,
    "__main__": None,
    "errors": set(),
    "settings": {"domain"},
}

#: Rooms that run with no GPU, no weights and without their packages installed; only these modules may import them.
HEAVY = {"torch", "diffusers", "transformers", "peft", "accelerate", "safetensors"}
MAY_BE_HEAVY = "datagen.synthesis.diffusion"


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(["datagen", *(part for part in parts if part != "__init__")]), path


def imported(path: Path, name: str) -> Iterator[tuple[int, str]]:
    """Every module that a file imports, wherever in it, with the line; relative imports made absolute."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            yield node.lineno, source
            # “from datagen import workflow” imports the room by a name
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names if source == "datagen")


def room_of(name: str) -> str:
    return name.split(".")[1] if name.count(".") else ""


def arrows() -> Iterator[tuple[str, int, str, str]]:
    """(module, line, its room, the imported room) of every import of ours."""
    rooms = {room_of(name) for name, _ in modules()} - {""}
    for name, path in modules():
        for line, target in imported(path, name):
            if target.split(".")[0] == "datagen" and room_of(target) in rooms:
                yield name, line, room_of(name), room_of(target)


def test_every_room_has_a_line_in_the_plan() -> None:
    rooms = {room_of(name) for name, _ in modules()} - {""}
    assert rooms <= set(MAY_IMPORT), f"new rooms need a line in the table: {rooms - set(MAY_IMPORT)}"


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_arrows_run_one_way(room: str) -> None:
    allowed = MAY_IMPORT[room]
    if allowed is None:
        return
    wrong = [
        f"{name}:{line} imports {target}"
        for name, line, source, target in arrows()
        if source == room and target not in allowed | {room, "errors"}
    ]
    assert not wrong, f"{room} may import {sorted(allowed) or 'nothing'} and errors:\n" + "\n".join(wrong)


def test_an_arrow_is_seen_however_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "seen.py"
    path.write_text(
        "import datagen.web.app\n"
        "from datagen import workflow\n"
        "from ..queue import queues\n"
        "def later():\n"
        "    from datagen.store.tables import SampleRow\n"
    )
    found = {room_of(target) for _, target in imported(path, "datagen.domain.seen")} - {""}
    assert found == {"web", "workflow", "queue", "store"}


def test_the_plan_has_no_circle() -> None:
    above = {room: allowed for room, allowed in MAY_IMPORT.items() if allowed is not None}
    while above:
        grounded = {room for room, allowed in above.items() if not allowed & set(above)}
        assert grounded, f"these rooms import each other in a circle: {sorted(above)}"
        above = {room: allowed for room, allowed in above.items() if room not in grounded}


def test_only_the_diffusion_engine_imports_torch() -> None:
    wrong = [
        f"{name}:{line} imports {target}"
        for name, path in modules()
        for line, target in imported(path, name)
        if target.split(".")[0] in HEAVY and not name.startswith(MAY_BE_HEAVY)
    ]
    assert not wrong, "torch and its kin are an extra:\n" + "\n".join(wrong)


def test_nothing_of_the_default_path_imports_the_diffusion_engine() -> None:
    """It is found by its entry point; who imports it directly pulls torch into the web process."""
    wrong = [
        f"{name}:{line} imports {target}"
        for name, path in modules()
        for line, target in imported(path, name)
        if target.startswith(MAY_BE_HEAVY) and not name.startswith(MAY_BE_HEAVY)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", ["domain", "imaging", "synthesis", "learning", "evaluation", "export"])
def test_pure_rooms_know_no_server_queue_or_database(room: str) -> None:
    outside = {"flask", "rq", "redis", "sqlalchemy", "label_studio_sdk", "httpx", "requests", "fsspec", "structlog"}
    wrong = [
        f"{name}:{line} imports {target}"
        for name, path in modules()
        if room_of(name) == room
        for line, target in imported(path, name)
        if target.split(".")[0] in outside
    ]
    assert not wrong, "\n".join(wrong)
