"""Finds the settings of a project that differ from this version's, and those of them that a person may have changed.

Label configs and ``MUST_BE`` always belong to Datagen. An instruction, a description or a tab belongs to Datagen if it
equals one that any version of Datagen wrote (``former_settings``). Otherwise a person changed it, and it is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datagen.domain.inputs import ProjectKind
from datagen.label_studio.api.models import View
from datagen.label_studio.projects import former_settings, label_configs, project_templates
from datagen.label_studio.projects.project_templates import MUST_BE, ROUND_FILTER, TEMPLATES, preview_tabs

#: Words in sentences for a project's options, by the options' names.
_WORDS = {
    "label_config": "form",
    "expert_instruction": "instructions",
    "description": "description",
    "show_collab_predictions": "display of labels",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outdated:
    """Outdated settings of a project, and the settings that a person changed."""

    #: new values of options, by their names in the API
    options: Mapping[str, Any]
    #: new data of tabs, by the ids of their views
    tabs: Mapping[int, Mapping[str, Any]]
    #: titles of those tabs
    tab_titles: Sequence[str]
    #: names in words of the settings that a person changed
    changed_by_people: Sequence[str]

    def in_words(self) -> str:
        """Return the outdated settings in words, such as "instructions, tab “All”"; empty if there are none."""
        return ", ".join([*sorted(_WORDS[name] for name in self.options), *map(_tab, self.tab_titles)])


def outdated(
    kind: ProjectKind, study: str, labels: Sequence[str], options: Mapping[str, Any], views: Iterable[View]
) -> Outdated:
    """Return the settings of a project that differ from its template.

    Args:
        kind: The project's kind.
        study: The study's name.
        labels: The study's labels.
        options: The project's options, in the API's form.
        views: The project's tabs.
    """
    wrong: dict[str, Any] = {name: value for name, value in MUST_BE.items() if options.get(name) != value}
    existing_config = str(options.get("label_config"))
    if kind is ProjectKind.DATASET and options.get("task_number"):
        # the images of earlier versions have boxes too, which Label Studio shows only with the control for them
        existing_config = label_configs.without_boxes(existing_config)
    if not label_configs.same(existing_config, config := label_configs.render(kind, labels)):
        wrong["label_config"] = config
    changed_by_people = []
    texts = {"expert_instruction": TEMPLATES[kind].instruction, "description": project_templates.description(kind)}
    for name, text in texts.items():
        existing = str(options.get(name) or "")
        if existing == text:
            continue
        if digest(existing) in former_settings.TEXTS or existing == f"{kind} of the study {study}":  # of version 0.1
            wrong[name] = text
        else:
            changed_by_people.append(_WORDS[name])
    tabs: dict[int, Mapping[str, Any]] = {}
    titles = []
    for view in views:
        wanted = _template_of(kind, view)
        if wanted is None or tab_digest(view.data) == tab_digest(wanted):
            continue
        if tab_digest(view.data) in former_settings.TABS:
            tabs[view.id] = wanted
            titles.append(view.title)
        else:
            changed_by_people.append(_tab(view.title))
    return Outdated(options=wrong, tabs=tabs, tab_titles=titles, changed_by_people=changed_by_people)


def digest(text: str) -> str:
    """Return a short digest of a text: the first 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def tab_digest(data: Mapping[str, Any]) -> str:
    """Return a digest of what a tab shows.

    Neither the round in a filter of Previews nor the widths of columns change the digest.
    """
    items = (data.get("filters") or {}).get("items") or []
    filters = [
        [item.get("filter"), item.get("operator"), item.get("value")]
        for item in items
        if item.get("filter") != ROUND_FILTER
    ]
    hidden = sorted((data.get("hiddenColumns") or {}).get("explore") or [])
    return digest(json.dumps([data.get("title"), data.get("type"), data.get("ordering"), hidden, filters]))


def _template_of(kind: ProjectKind, view: View) -> Mapping[str, Any] | None:
    """Return the data that a tab should have, for the round that it shows; None for a tab that a person created."""
    if kind is ProjectKind.PREVIEWS:
        items = (view.data.get("filters") or {}).get("items") or []
        rounds = [str(item.get("value")) for item in items if item.get("filter") == ROUND_FILTER]
        tabs = preview_tabs(int(rounds[0]) if rounds and rounds[0].isdecimal() else None)
    else:
        tabs = TEMPLATES[kind].tabs
    return next((tab.data() for tab in tabs if tab.title == view.title), None)


def _tab(title: str) -> str:
    return f"tab “{title}”"
