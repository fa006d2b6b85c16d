"""The table of rooms, as a test: which room may import which. An import against it fails here, by name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from import_graph import Module, modules, room_of
from rooms import MAY_IMPORT

#: Packages of an extra: all rooms run without them; only these modules may import them.
HEAVY = {"torch", "diffusers", "transformers", "peft", "accelerate", "safetensors"}
DIFFUSION = "datagen.synthesis.diffusion"
MAY_BE_HEAVY = (DIFFUSION, "datagen.synthesis.segmentation.sam")


def arrows() -> Iterator[tuple[str, int, str, str]]:
    """(module, line, its room, the imported room) of every import of Datagen's modules."""
    for name, module in modules().items():
        for imported in module.imports():
            if imported.module in modules() and room_of(imported.module):
                yield name, imported.line, room_of(name), room_of(imported.module)


def imports_of(packages: set[str], importers: Iterator[Module]) -> list[str]:
    """A line for each import of one of these top-level packages."""
    return [
        f"{module.name}:{imported.line} imports {imported.module}"
        for module in importers
        for imported in module.imports()
        if imported.module.split(".")[0] in packages
    ]


def test_every_room_has_a_line_in_the_table() -> None:
    rooms = {room_of(name) for name in modules()} - {""}
    assert rooms <= set(MAY_IMPORT), f"new rooms need a line in the table: {rooms - set(MAY_IMPORT)}"


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_rooms_import_only_what_the_table_permits(room: str) -> None:
    allowed = MAY_IMPORT[room]
    if allowed is None:
        return
    wrong = [
        f"{name}:{line} imports {target}"
        for name, line, source, target in arrows()
        if source == room and target not in allowed | {room, "errors"}
    ]
    assert not wrong, f"{room} may import {sorted(allowed) or 'nothing'} and errors:\n" + "\n".join(wrong)


def test_import_is_found_however_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "seen.py"
    path.write_text(
        "import datagen.web.app\n"
        "from datagen import workflow\n"
        "from ..queue import queues\n"
        "def later():\n"
        "    from datagen.store.tables.batches import SampleRow\n"
    )
    imports = Module("datagen.domain.seen", path).imports()
    assert {room_of(imported.module) for imported in imports} == {"web", "workflow", "queue", "store"}


def test_rooms_form_no_circle() -> None:
    left = {room: allowed for room, allowed in MAY_IMPORT.items() if allowed is not None}
    while left:
        without_imports = {room for room, allowed in left.items() if not allowed & set(left)}
        assert without_imports, f"these rooms import each other in a circle: {sorted(left)}"
        left = {room: allowed for room, allowed in left.items() if room not in without_imports}


def test_only_the_diffusion_engine_and_the_segmentation_model_import_torch() -> None:
    importers = (module for name, module in modules().items() if not name.startswith(MAY_BE_HEAVY))
    wrong = imports_of(HEAVY, importers)
    assert not wrong, "torch and the packages around it are an extra:\n" + "\n".join(wrong)


def test_nothing_outside_the_diffusion_engine_imports_it() -> None:
    """It is loaded by its entry point; a direct import would pull torch into the web process."""
    wrong = [
        f"{name}:{imported.line} imports {imported.module}"
        for name, module in modules().items()
        for imported in module.imports()
        if imported.module.startswith(DIFFUSION) and not name.startswith(DIFFUSION)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", ["domain", "imaging", "synthesis", "learning", "evaluation", "export"])
def test_pure_rooms_import_no_server_queue_or_database(room: str) -> None:
    outside = {"flask", "rq", "redis", "sqlalchemy", "label_studio_sdk", "httpx", "requests", "fsspec", "structlog"}
    wrong = imports_of(outside, (module for name, module in modules().items() if room_of(name) == room))
    assert not wrong, "\n".join(wrong)


def test_engines_name_no_setting_or_command_of_the_product() -> None:
    """They run in a notebook too; the caller adds the names of the settings."""
    names = re.compile(r"DATAGEN_[A-Z]|\bdatagen (?:add|approve|doctor|preview|provision|refine|up|web|worker)\b")
    wrong = [
        f"{name}:{number}: {line.strip()}"
        for name, module in modules().items()
        if room_of(name) == "synthesis"
        for number, line in enumerate(module.path.read_text(encoding="utf-8").splitlines(), start=1)
        if names.search(line)
    ]
    assert not wrong, "\n".join(wrong)


#: Modules outside an engine's package that may name one: the default of a setting, the migration that renames a
#: parameter, and a term of IPTC's that is the same word.
MAY_NAME_AN_ENGINE = {
    "datagen.domain.source_type",
    "datagen.settings",
    "datagen.store.migrations.versions.0015_lease_input_jobs_and_rename_columns",
}


def test_no_engine_is_named_outside_its_own_package() -> None:
    """The product calls the study's engine and never compares its name, so engines of other packages work alike."""
    packages = ("datagen.synthesis.composite", "datagen.synthesis.diffusion")
    wrong = []
    for name, module in modules().items():
        if name in MAY_NAME_AN_ENGINE or name.startswith(packages):
            continue
        wrong += [
            f"{name}:{imported.line} imports {imported.module}"
            for imported in module.imports()
            if imported.module.startswith(packages)
        ]
        wrong += [
            f"{name}:{node.lineno} names the engine {node.value!r}"
            for node in ast.walk(ast.parse(module.path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and node.value in ("composite", "diffusion")
        ]
    assert not wrong, "\n".join(wrong)
