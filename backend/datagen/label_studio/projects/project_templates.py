"""What each desk is in Label Studio: its instruction, its options, its tabs, whether it asks us for predictions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datagen.domain.inputs import MINIMUM_PER_ROLE, RECOMMENDED_BACKGROUNDS, ProjectKind

#: Label Studio's longest title of a project.
LONGEST_TITLE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Tab:
    """A saved tab of the Data Manager."""

    title: str
    filters: tuple[dict[str, Any], ...] = ()
    ordering: str = "tasks:id"
    grid: bool = True
    #: columns shown beside the default ones: fields of the task's data, or Label Studio's own (``tasks:…``)
    columns: tuple[str, ...] = ()

    def data(self) -> dict[str, Any]:
        """The API's form."""
        shown = {name if name.startswith("tasks:") else f"tasks:data.{name}" for name in self.columns}
        hidden = [name for name in _HIDDEN if name not in shown]
        return {
            "title": self.title,
            "type": "grid" if self.grid else "list",
            "target": "tasks",
            "gridWidth": 4,
            "gridFitImagesToWidth": False,
            # columns that cost a query each and say nothing here
            "hiddenColumns": {"explore": hidden, "labeling": hidden},
            "filters": {"conjunction": "and", "items": [dict(one) for one in self.filters]},
            "ordering": [self.ordering],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectTemplate:
    """One project of a study, as it is made."""

    #: shown above a task that is opened
    instruction: str
    #: shown in the list of projects: what to do there
    task: str
    colour: str
    tabs: tuple[Tab, ...]
    #: Label Studio asks our ML backend: “Start Training” works there, and its predictions are shown
    connected: bool = False
    #: predictions come from the backend when a task is opened, instead of with the task
    live: bool = False
    empty_allowed: bool = False
    skip_allowed: bool = True

    def options(self) -> dict[str, Any]:
        """The API's options of a new project, label config and title apart."""
        return {
            "expert_instruction": self.instruction,
            "show_instruction": True,
            "show_skip_button": self.skip_allowed,
            "enable_empty_annotation": self.empty_allowed,
            "maximum_annotations": 1,
            "sampling": "Sequential sampling",
            "color": self.colour,
            **MUST_BE,
        }


#: Without this nobody sees the label of a preview; mended when somebody switched it off.
MUST_BE = {"show_collab_predictions": True}

_HIDDEN = (
    "tasks:inner_id",
    "tasks:annotations_results",
    "tasks:annotations_ids",
    "tasks:predictions_score",
    "tasks:predictions_model_versions",
    "tasks:predictions_results",
    "tasks:file_upload",
    "tasks:storage_filename",
    "tasks:created_at",
    "tasks:updated_at",
    "tasks:updated_by",
    "tasks:avg_lead_time",
    "tasks:draft_exists",
    "tasks:data.datagen_key",
    "tasks:data.datagen_drawn",
    "tasks:data.batch",
    # the grid shows values without their names: these would be bare numbers under each picture
    "tasks:data.study",
    "tasks:data.version",
    "tasks:data.round",
    "tasks:data.run",
    "tasks:data.index",
    "tasks:data.html",
    "tasks:data.sheet",
    "tasks:data.status",
    "tasks:data.verdict",
    "tasks:data.reasons",
    "tasks:data.comment",
    "tasks:data.run_name",
    "tasks:data.file",
    "tasks:data.background",
)


def _filter(field: str, operator: str, kind: str, value: object) -> dict[str, Any]:
    return {"filter": f"filter:tasks:{field}", "operator": operator, "type": kind, "value": value}


def _answered(choice: str) -> dict[str, Any]:
    """Annotations are searched as JSON text: with the key, so that a comment that holds the word is not found."""
    return _filter("annotations_results", "contains", "String", f'"choices": ["{choice}"]')


#: What the list of all review tasks shows of each.
_REVIEW_COLUMNS = ("round", "version", "index", "status", "verdict", "reasons", "comment", "background")
#: What the list of the dataset shows of each image.
_DATASET_COLUMNS = ("file", "run", "run_name", "version", "index", "background")

#: The file that an input was uploaded as.
_INPUT_COLUMNS = ("tasks:file_upload",)

_NOT_SUBMITTED = _filter("total_annotations", "equal", "Number", 0)
_UNTOUCHED = (_NOT_SUBMITTED, _filter("cancelled_annotations", "equal", "Number", 0))


def preview_tabs(round_number: int | None = None) -> tuple[Tab, ...]:
    """The tabs of the Previews project, the same few whatever the number of rounds; the newest round is shown.

    A skipped task has no verdict: it stays in the first tab, as it stays among those still to review.
    """
    of_round = () if round_number is None else (_filter("data.round", "equal", "String", str(round_number)),)
    return (
        Tab(title="To review now", filters=(*of_round, _NOT_SUBMITTED)),
        Tab(title="This round: good", filters=(*of_round, _answered("good")), columns=("verdict", "comment")),
        Tab(title="This round: bad", filters=(*of_round, _answered("bad")), columns=("reasons", "comment")),
        Tab(title="All rounds", ordering="-tasks:id", grid=False, columns=_REVIEW_COLUMNS),
    )


#: Tabs that versions before 0.2 made: three in all, and three for each round.
_FORMER_TAB = re.compile(r"(To review|Good|Bad|Round \d{1,9} · (to review|good|bad))")


def is_former_tab(title: str) -> bool:
    """Whether a tab of the Previews project was made by an earlier version of Datagen and is replaced by now."""
    return _FORMER_TAB.fullmatch(title) is not None


def title(study: str, project_kind: ProjectKind) -> str:
    """The title of a desk's project."""
    return f"{study} · {project_kind}"


def description(project_kind: ProjectKind) -> str:
    """The description of a desk's project: its place in the order of work, and what to do there."""
    order = list(ProjectKind)
    return f"Step {order.index(project_kind) + 1} of {len(order)}. {TEMPLATES[project_kind].task}"


def longest_name(kinds: Sequence[ProjectKind] = tuple(ProjectKind)) -> int:
    """How many characters a study's name may have."""
    return LONGEST_TITLE - max(len(title("", project_kind)) for project_kind in kinds)


_INPUT_TABS = (
    Tab(title="All", columns=_INPUT_COLUMNS),
    Tab(title="To draw", filters=_UNTOUCHED, columns=_INPUT_COLUMNS),
)

TEMPLATES: dict[ProjectKind, ProjectTemplate] = {
    ProjectKind.CONCEPTS: ProjectTemplate(
        task="Upload photos that show the thing, and draw a box round each example. Next: Canvases.",
        instruction=(
            "<h3>Concepts: photos that show the thing</h3>"
            f"<p>Upload at least {MINIMUM_PER_ROLE} photos. Draw a <b>box</b> round every example, with a little of "
            "its surroundings inside the box: the automatic cut-out needs them.</p>"
            "<p>Where the thing is not what stands out in its box, also draw its <b>outline</b> or paint it with the "
            "<b>brush</b>. The outline or brush then replaces the automatic cut-out.</p>"
            "<p>The labels that are shown when you open a task are proposals by Datagen (the “datagen” tab). Correct "
            "and submit them, or draw your own.</p>"
            "<p><b>Next:</b> the project that ends in “Canvases”.</p>"
        ),
        colour="#E6804D",
        tabs=(
            Tab(title="All", columns=_INPUT_COLUMNS),
            Tab(title="To draw", filters=_UNTOUCHED, columns=_INPUT_COLUMNS),
        ),
        connected=True,
        live=True,
    ),
    ProjectKind.CANVASES: ProjectTemplate(
        task="Upload photos, and draw polygons round the areas where the thing may appear. Next: Backgrounds.",
        instruction=(
            "<h3>Canvases: where the thing may appear</h3>"
            f"<p>Upload at least {MINIMUM_PER_ROLE} photos and draw <b>polygons</b> round every area where the thing "
            "may appear. Leave out what must stay clean, such as the table round a part.</p>"
            "<p><b>Next:</b> the project that ends in “Backgrounds”.</p>"
        ),
        colour="#4D96E6",
        tabs=(
            Tab(title="All", columns=_INPUT_COLUMNS),
            Tab(title="To draw", filters=_UNTOUCHED, columns=_INPUT_COLUMNS),
        ),
        connected=True,
        live=True,
    ),
    ProjectKind.BACKGROUNDS: ProjectTemplate(
        task="Upload photos without the thing: it is synthesized onto them, and they need no labels. Next: Decisions.",
        instruction=(
            "<h3>Backgrounds: photos without the thing</h3>"
            f"<p>Upload {RECOMMENDED_BACKGROUNDS} or more (at least {MINIMUM_PER_ROLE}). Every photo is used without "
            "being labelled. Choose <b>exclude</b> (key B) and submit for a photo that shows the thing after all, or "
            "that is no good.</p>"
            "<p><b>Next:</b> the project that ends in “Decisions”.</p>"
        ),
        colour="#7AA874",
        tabs=(Tab(title="All", columns=_INPUT_COLUMNS), Tab(title="Excluded", filters=(_answered("exclude"),))),
        empty_allowed=True,
    ),
    ProjectKind.PREVIEWS: ProjectTemplate(
        task="Judge each round of synthesized previews: tab To review now, then Label Tasks As Displayed.",
        instruction=(
            "<h3>Previews: is it real enough?</h3>"
            "<p><b>Start in the tab To review now</b>: in the menu of the button <b>Label All Tasks</b> choose "
            "<b>Label Tasks As Displayed</b>. The previews of the newest round then come one after the other.</p>"
            "<p>The outline shows what was synthesized; <b>Ctrl+H</b> hides it and shows it again. Choose <b>good</b> "
            "(key G) or <b>bad</b> (key B), say what is wrong, and submit (Ctrl+Enter; press Tab to leave the "
            "comment).</p>"
            "<p>You can change a verdict until the round is decided in the project that ends in “Decisions”; a later "
            "verdict is kept and does not count. A skipped preview stays in the tab: open it, press "
            "<b>Cancel skip</b>, and judge it.</p>"
        ),
        colour="#B57EDC",
        tabs=preview_tabs(),
        connected=True,
    ),
    ProjectKind.DECISIONS: ProjectTemplate(
        task="Open the newest task, see how the study stands, and decide what happens next.",
        instruction=(
            "<h3>Decisions: what happens next?</h3>"
            "<p>Open the newest task. It shows what is there and what is missing. Choose what happens next and submit; "
            "the result appears in the same task (reload the page).</p>"
            "<ul><li><b>build preview</b>: synthesize a round of previews from the inputs as they are now</li>"
            "<li><b>refine</b>: turn the verdicts into changed parameters, and synthesize the next round</li>"
            "<li><b>approve</b>: accept this version, and generate as many images as the number says</li>"
            "<li><b>cancel</b>: end the round or run that is under way, and keep the study</li>"
            "<li><b>stop</b>: end the study here; <b>build preview</b> opens it again</li></ul>"
        ),
        colour="#D9A441",
        tabs=(Tab(title="Newest first", ordering="-tasks:id", grid=False),),
        skip_allowed=False,
    ),
    ProjectKind.DATASET: ProjectTemplate(
        task="The generated images with their labels, as soon as a version is approved in Decisions.",
        instruction=(
            "<h3>Dataset: the result</h3>"
            "<p>The generated images with their labels. Do not import anything here. Before a version is approved in "
            "the project that ends in “Decisions”, this project is empty.</p>"
        ),
        colour="#5C6B73",
        tabs=(Tab(title="All"), Tab(title="List", grid=False, columns=_DATASET_COLUMNS)),
        empty_allowed=True,
    ),
}
