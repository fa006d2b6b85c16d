"""Templates of the Label Studio projects of a study: instructions, options, tabs and ML-backend connections."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from datagen.domain.inputs import MINIMUM_PER_ROLE, RECOMMENDED_BACKGROUNDS, ProjectKind

#: Maximum number of characters of a project's title in Label Studio.
LONGEST_TITLE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Tab:
    """A saved tab of the Data Manager."""

    title: str
    filters: tuple[dict[str, Any], ...] = ()
    ordering: str = "tasks:id"
    grid: bool = True
    #: columns shown besides the default ones: fields of the task's data, or built-in columns (``tasks:…``)
    columns: tuple[str, ...] = ()

    def data(self) -> dict[str, Any]:
        """The tab in the API's form."""
        shown = {name if name.startswith("tasks:") else f"tasks:data.{name}" for name in self.columns}
        hidden = [name for name in _HIDDEN if name not in shown]
        return {
            "title": self.title,
            "type": "grid" if self.grid else "list",
            "target": "tasks",
            "gridWidth": 4,
            "gridFitImagesToWidth": False,
            # columns that cost a query each and have no use here
            "hiddenColumns": {"explore": hidden, "labeling": hidden},
            "filters": {"conjunction": "and", "items": [dict(item) for item in self.filters]},
            "ordering": [self.ordering],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectTemplate:
    """Settings that a project of a study has when it is created."""

    #: text shown above an open task; ``former_settings`` has the digests of all its versions
    instruction: str
    #: summary of the work in this project, shown in the list of projects; ``former_settings`` has the digests of all
    #: versions
    task: str
    colour: str
    tabs: tuple[Tab, ...]
    #: whether the project has an ML-backend connection, which serves “Start Training” and predictions
    connected: bool = False
    #: whether the ML backend predicts when a task is opened; if not, predictions are imported with the task
    live: bool = False
    empty_allowed: bool = False
    skip_allowed: bool = True

    def options(self) -> dict[str, Any]:
        """The options of a new project in the API's form, except label config and title."""
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


#: Options that provisioning always restores. Without this one, the labels of a preview are not shown.
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
    # the grid shows values without names, so these columns would be bare numbers under each image
    "tasks:data.study",
    "tasks:data.version",
    "tasks:data.round",
    "tasks:data.run",
    "tasks:data.index",
    "tasks:data.round_size",
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
    """A filter for tasks that have an annotation with this choice.

    Label Studio searches the JSON text. The filter includes the key, so that a comment with the same word does not
    match.
    """
    return _filter("annotations_results", "contains", "String", f'"choices": ["{choice}"]')


#: The field of a task by which the tabs of the Previews project are filtered.
_ROUND_FIELD = "data.round"
ROUND_FILTER = f"filter:tasks:{_ROUND_FIELD}"

#: Columns of the tab with all review tasks.
_REVIEW_COLUMNS = ("round", "version", "status", "verdict", "reasons", "comment", "background")
#: Columns of the tab with the images of the dataset.
_DATASET_COLUMNS = ("file", "run", "run_name", "version", "index", "background")

#: Columns of a tab with inputs: the uploaded file.
_INPUT_COLUMNS = ("tasks:file_upload",)

_NOT_SUBMITTED = _filter("total_annotations", "equal", "Number", 0)
_UNTOUCHED = (_NOT_SUBMITTED, _filter("cancelled_annotations", "equal", "Number", 0))


def preview_tabs(round_number: int | None = None) -> tuple[Tab, ...]:
    """The tabs of the Previews project, filtered by a round, which is the newest one.

    Their number does not grow with the rounds. A skipped task has no verdict, so it stays in the tab of tasks to
    review.
    """
    of_round = () if round_number is None else (_filter(_ROUND_FIELD, "equal", "String", str(round_number)),)
    return (
        Tab(title="To review now", filters=(*of_round, _NOT_SUBMITTED)),
        Tab(title="This round: good", filters=(*of_round, _answered("good")), columns=("verdict", "comment")),
        Tab(title="This round: bad", filters=(*of_round, _answered("bad")), columns=("reasons", "comment")),
        Tab(title="All rounds", ordering="-tasks:id", grid=False, columns=_REVIEW_COLUMNS),
    )


#: Titles of the tabs that versions before 0.2 created: three for all rounds, and three for each round.
_FORMER_TAB = re.compile(r"(To review|Good|Bad|Round \d{1,9} · (to review|good|bad))")


def is_former_tab(title: str) -> bool:
    """Whether a tab of the Previews project has the title of a tab that only earlier versions of Datagen used."""
    return _FORMER_TAB.fullmatch(title) is not None


def title(study: str, project_kind: ProjectKind) -> str:
    """The title of a study's project of this kind."""
    return f"{study} · {project_kind}"


def description(project_kind: ProjectKind) -> str:
    """The description of a project: the number of its step in the order of work, and a summary of the work."""
    order = list(ProjectKind)
    return f"Step {order.index(project_kind) + 1} of {len(order)}. {TEMPLATES[project_kind].task}"


def longest_name() -> int:
    """Maximum number of characters of a study's name."""
    return LONGEST_TITLE - max(len(title("", project_kind)) for project_kind in ProjectKind)


_INPUT_TABS = (
    Tab(title="All", columns=_INPUT_COLUMNS),
    Tab(title="To draw", filters=_UNTOUCHED, columns=_INPUT_COLUMNS),
)

TEMPLATES: dict[ProjectKind, ProjectTemplate] = {
    ProjectKind.CONCEPTS: ProjectTemplate(
        task="Upload photos that show the concept, and draw a box round each example. Next: Canvases.",
        instruction=(
            "<h3>Concepts: photos that show the concept</h3>"
            f"<p>Upload at least {MINIMUM_PER_ROLE} photos. Draw a <b>box</b> round every example, with a little of "
            "its surroundings inside the box: the automatic cut-out needs them. Draw all that a photo shows: the "
            "generated images show as many.</p>"
            "<p>Where the concept is not what stands out in its box, also draw its <b>outline</b> or paint it with the "
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
        task="Upload photos, and draw polygons round the areas where the concept may appear. Next: Backgrounds.",
        instruction=(
            "<h3>Canvases: where the concept may appear</h3>"
            f"<p>Upload at least {MINIMUM_PER_ROLE} photos and draw <b>polygons</b> round every area where the concept "
            "may appear. Leave out what must stay clean, such as the table round a part.</p>"
            "<p>From the second picture on an area is proposed: correct it or delete it, and submit.</p>"
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
        task="Upload photos without the concept, which is synthesized onto them. They need no labels. Next: Decisions.",
        instruction=(
            "<h3>Backgrounds: photos without the concept</h3>"
            f"<p>Upload {RECOMMENDED_BACKGROUNDS} or more (at least {MINIMUM_PER_ROLE}). Every photo is used without "
            "being labelled. Choose <b>exclude</b> (key B) and submit for a photo that shows the concept after all, or "
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
            "<p><b>If the outline is off</b>, delete it and draw a better one, or move its corners; choose <b>bad</b> "
            "and <b>label is off</b> as well. The next version is cut out along your outline, or the decision task "
            "names the example whose outline to draw in the project that ends in “Concepts”.</p>"
            "<p>Several people may judge the same preview: open it, press <b>+</b> beside the annotations, and submit. "
            "The decision task says whose verdict counts, and lists the previews on which you disagree.</p>"
            "<p>You can change a verdict until the round is decided in the project that ends in “Decisions”; a later "
            "verdict is kept and does not count, and the heading of such a preview says that it is closed. A skipped "
            "preview stays in the tab: open it, press <b>Cancel skip</b>, and judge it.</p>"
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
            "<li><b>refine</b>: turn the verdicts into changed settings, and synthesize the next round</li>"
            "<li><b>audit</b>: synthesize further samples of this version; their verdicts change nothing, and state "
            "what share is acceptable. Judge all of them in the project that ends in “Previews”; not needed for "
            "approving</li>"
            "<li><b>approve</b>: accept this version, and generate as many images as the number says</li>"
            "<li><b>pause</b>: begin no further images of the run that is under way; those that are being rendered are "
            "finished</li>"
            "<li><b>go on</b>: resume a paused run</li>"
            "<li><b>cancel</b>: end the round, audit or run that is under way, and keep the study</li>"
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
            "<p>Each object is one polygon. <b>Export</b> here gives COCO, YOLO and JSON. Exact masks, Pascal VOC and "
            "the origin of each image come from the command <code>datagen export</code>.</p>"
        ),
        colour="#5C6B73",
        tabs=(Tab(title="All"), Tab(title="List", grid=False, columns=_DATASET_COLUMNS)),
        empty_allowed=True,
    ),
}
