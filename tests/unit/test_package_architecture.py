"""Which package of a large room imports which, without circles; and every name is imported from where it is defined.

A unit is a package, or a module that lies beside packages. `tests/unit/test_architecture.py` has the table of rooms.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache

import pytest

from import_graph import Module, modules

#: Room → unit → the units of the same room that it may import; a unit stands below those that it imports.
MAY_IMPORT: dict[str, dict[str, set[str]]] = {
    "synthesis": {
        "diffusion.identity": set(),
        "diffusion.runtime": {"model_files"},
        "intensity": set(),
        "masks": set(),
        "model_files": set(),
        "parameter_models": set(),
        "parameter_words": set(),
        "learnable": set(),
        "preference": {"learnable"},
        "composite.parameters": {"parameter_models", "preference"},
        "composite.draws": {"learnable"},
        "composite.fit_store": set(),
        "engine": {"learnable", "parameter_models"},
        "composite.reduced_scale": set(),
        "crop_features": {"engine", "intensity", "learnable"},
        "segmentation": {"engine", "intensity", "model_files"},
        "composite.extraction": {"composite.reduced_scale", "engine", "intensity", "masks", "segmentation"},
        "composite.refinement": {"composite.appearance", "composite.parameters", "engine"},
        "diffusion.parameters": {"composite.parameters", "diffusion.identity", "parameter_models"},
        "composite.appearance": {"composite.extraction", "intensity"},
        "diffusion.weights": {
            "composite.parameters",
            "diffusion.parameters",
            "diffusion.runtime",
            "engine",
            "model_files",
            "segmentation",
        },
        "composite.findings": {"composite.appearance", "composite.parameters", "composite.placement"},
        "composite.placement": {"composite.appearance", "composite.extraction", "composite.reduced_scale", "intensity"},
        "diffusion.models": {"composite.extraction", "diffusion.weights", "engine", "intensity"},
        "composite.backgrounds": {"composite.extraction", "composite.placement", "engine", "intensity"},
        "composite.instance_plan": {
            "composite.appearance",
            "composite.extraction",
            "composite.parameters",
            "composite.placement",
            "engine",
            "intensity",
        },
        "composite.plan_choice": {"composite.instance_plan", "preference"},
        "composite.placement_attempt": {
            "composite.appearance",
            "composite.extraction",
            "composite.instance_plan",
            "composite.parameters",
            "composite.placement",
            "engine",
            "intensity",
        },
        "composite.box_matching": {"engine", "intensity"},
        "composite.suggestions": {
            "composite.box_matching",
            "composite.extraction",
            "composite.parameters",
            "composite.placement",
            "engine",
            "intensity",
            "masks",
            "segmentation",
        },
        "diffusion.settings_draws": {"composite.draws", "composite.plan_choice", "learnable", "preference"},
        "diffusion.inference": {
            "composite.appearance",
            "composite.draws",
            "composite.extraction",
            "composite.parameters",
            "diffusion.identity",
            "diffusion.models",
            "diffusion.parameters",
            "diffusion.runtime",
            "diffusion.settings_draws",
            "diffusion.weights",
            "engine",
            "intensity",
            "masks",
            "model_files",
        },
        "composite.compositor": {
            "composite.backgrounds",
            "composite.instance_plan",
            "composite.parameters",
            "composite.placement",
            "composite.placement_attempt",
            "composite.plan_choice",
            "engine",
            "intensity",
            "masks",
        },
        "composite.engine": {
            "composite.appearance",
            "composite.backgrounds",
            "composite.compositor",
            "composite.draws",
            "composite.extraction",
            "composite.findings",
            "composite.fit_store",
            "composite.instance_plan",
            "composite.parameters",
            "composite.placement",
            "composite.refinement",
            "composite.suggestions",
            "engine",
            "intensity",
            "parameter_models",
            "segmentation",
        },
        "diffusion.training": {
            "composite.engine",
            "composite.extraction",
            "composite.parameters",
            "diffusion.inference",
            "diffusion.models",
            "diffusion.parameters",
            "diffusion.runtime",
            "diffusion.weights",
            "engine",
            "intensity",
            "segmentation",
        },
        "diffusion.engine": {
            "composite.parameters",
            "composite.refinement",
            "composite.suggestions",
            "diffusion.identity",
            "diffusion.parameters",
            "diffusion.runtime",
            "diffusion.settings_draws",
            "diffusion.training",
            "diffusion.weights",
            "engine",
            "parameter_models",
        },
    },
    "workflow": {
        "backoff": set(),
        "inputs.input_changes": set(),
        "inputs.parsed_results": set(),
        "inputs.zip_import": set(),
        "outages": set(),
        "parameter_routing": set(),
        "rejection": set(),
        "sample_labels": set(),
        "sample_mapping": set(),
        "services": set(),
        "study_options": set(),
        "decision_points": {"services"},
        "inputs.importing": {"services"},
        "inputs.input_pictures": {"services"},
        "leased_work": {"backoff", "outages", "services"},
        "notifications": {"leased_work", "services"},
        "inputs.import_files": {"decision_points", "inputs.importing", "inputs.zip_import", "services"},
        "inputs.input_requests": {"services"},
        "inputs.unreadable_tasks": {"decision_points", "services"},
        "inputs.input_sync": {
            "decision_points",
            "inputs.input_pictures",
            "inputs.input_requests",
            "inputs.parsed_results",
            "inputs.unreadable_tasks",
            "leased_work",
            "services",
        },
        "reviews": {"decision_points", "inputs.unreadable_tasks", "sample_mapping", "services", "study_options"},
        "decisions": {
            "decision_points",
            "inputs.input_sync",
            "inputs.unreadable_tasks",
            "notifications",
            "outages",
            "parameter_routing",
            "rejection",
            "reviews",
            "services",
            "study_options",
        },
        "generation": {
            "decision_points",
            "decisions",
            "leased_work",
            "notifications",
            "outages",
            "parameter_routing",
            "rejection",
            "reviews",
            "sample_mapping",
            "services",
        },
        "events": {
            "decision_points",
            "decisions",
            "generation",
            "inputs.input_requests",
            "inputs.unreadable_tasks",
            "leased_work",
            "reviews",
            "services",
        },
        "decision_tasks": {
            "decision_points",
            "decisions",
            "generation",
            "inputs.input_changes",
            "inputs.input_requests",
            "inputs.input_sync",
            "inputs.unreadable_tasks",
            "rejection",
            "reviews",
            "sample_mapping",
            "services",
            "study_options",
        },
        "inputs.early_fit": {"decisions", "generation", "inputs.input_sync", "leased_work", "services"},
        "inputs.suggestions": {"generation", "inputs.input_sync", "leased_work", "parameter_routing", "services"},
        "inputs.input_jobs": {
            "decision_points",
            "generation",
            "inputs.input_requests",
            "inputs.early_fit",
            "inputs.input_sync",
            "inputs.suggestions",
            "leased_work",
            "outages",
            "services",
        },
        "studies": {
            "backoff",
            "decision_points",
            "decisions",
            "generation",
            "inputs.import_files",
            "inputs.input_requests",
            "inputs.input_sync",
            "inputs.unreadable_tasks",
            "notifications",
            "rejection",
            "reviews",
            "sample_mapping",
            "services",
            "study_options",
        },
        "study_pages": {
            "decision_points",
            "decision_tasks",
            "decisions",
            "generation",
            "inputs.input_sync",
            "inputs.parsed_results",
            "notifications",
            "rejection",
            "reviews",
            "sample_mapping",
            "studies",
            "study_options",
        },
        "handovers": {"generation", "leased_work", "services", "studies", "study_pages"},
        "outbox": {
            "decision_points",
            "decision_tasks",
            "decisions",
            "inputs.unreadable_tasks",
            "leased_work",
            "reviews",
            "sample_labels",
            "sample_mapping",
            "services",
            "study_options",
        },
    },
    "label_studio": {
        "api": set(),
        "mapping": {"api"},
        "projects": {"api", "mapping"},
    },
}


def unit_of(name: str, room: str) -> str:
    """The unit of a module: the module itself where its package has packages too, otherwise its package."""
    package = modules()[name].package
    beside_packages = any(other.is_package and other.name.startswith(f"{package}.") for other in modules().values())
    return (name if beside_packages else package).removeprefix(f"datagen.{room}").removeprefix(".")


def arrows(room: str) -> Iterator[tuple[str, str, str]]:
    """(unit, imported unit, module and line) of every import between two units of a room."""
    inside = f"datagen.{room}."
    for module in modules().values():
        if not module.name.startswith(inside):
            continue
        for imported in module.imports():
            if imported.module.startswith(inside) and imported.module in modules():
                source, target = unit_of(module.name, room), unit_of(imported.module, room)
                if source != target:
                    yield source, target, f"{module.name}:{imported.line}"


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_packages_import_only_what_the_table_permits(room: str) -> None:
    wrong = {
        f"{where}: {source} imports {target}"
        for source, target, where in arrows(room)
        if target not in MAY_IMPORT[room].get(source, set())
    }
    assert not wrong, f"move the name, or permit the arrow in the table of {room}/:\n" + "\n".join(sorted(wrong))


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_table_permits_nothing_that_is_not_used(room: str) -> None:
    used = {(source, target) for source, target, _ in arrows(room)}
    permitted = {(source, target) for source, targets in MAY_IMPORT[room].items() for target in targets}
    assert permitted - used == set(), "remove these arrows from the table"


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_packages_of_a_room_form_no_circle(room: str) -> None:
    left = dict(MAY_IMPORT[room])
    while left:
        without_imports = {unit for unit, targets in left.items() if not targets & left.keys()}
        assert without_imports, f"these packages of {room}/ import each other in a circle: {sorted(left)}"
        left = {unit: targets for unit, targets in left.items() if unit not in without_imports}


def names_from_a_third_module(module: Module) -> Iterator[str]:
    """Yield the names that a module takes from a module of Datagen that itself imported them."""
    aliases: dict[str, str] = {}
    for imported in module.imports():
        if imported.module not in modules():
            continue
        if imported.name is None:
            aliases[imported.alias] = imported.module
        elif imported.name in imported_names(imported.module):
            yield f"{module.name}:{imported.line} takes {imported.name} from {imported.module}"
    for node in ast.walk(module.tree()):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            target = aliases[node.value.id]
            if node.attr in imported_names(target):
                yield f"{module.name}:{node.lineno} takes {node.attr} from {target}"


@cache
def imported_names(name: str) -> set[str]:
    """The names under which a module imports from other modules of Datagen."""
    return {imported.alias for imported in modules()[name].imports() if imported.module in modules()}


@pytest.mark.parametrize("name", modules())
def test_names_are_imported_from_the_module_that_defines_them(name: str) -> None:
    """A name that is handed on through a third room gets round the table of rooms."""
    assert list(names_from_a_third_module(modules()[name])) == []
