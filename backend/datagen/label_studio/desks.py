"""What each desk is in Label Studio: its instruction, its options, its tabs, whether it asks us for predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datagen.domain.inputs import MINIMUM_PER_ROLE, RECOMMENDED_BACKGROUNDS, Desk

#: Label Studio's longest title of a project.
LONGEST_TITLE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Tab:
    """A saved tab of the Data Manager."""

    title: str
    filters: tuple[dict[str, Any], ...] = ()
    ordering: str = "tasks:id"
    grid: bool = True

    def data(self) -> dict[str, Any]:
        """The API's form."""
        return {
            "title": self.title,
            "type": "grid" if self.grid else "list",
            "target": "tasks",
            "gridWidth": 4,
            "gridFitImagesToWidth": False,
            # columns that cost a query each and say nothing here
            "hiddenColumns": {"explore": list(_HIDDEN), "labeling": list(_HIDDEN)},
            "filters": {"conjunction": "and", "items": [dict(one) for one in self.filters]},
            "ordering": [self.ordering],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskPlan:
    """One project of a study, as it is made."""

    instruction: str
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
)


def _filter(field: str, operator: str, kind: str, value: object) -> dict[str, Any]:
    return {"filter": f"filter:tasks:{field}", "operator": operator, "type": kind, "value": value}


def _answered(choice: str) -> dict[str, Any]:
    """Annotations are searched as JSON text: with the key, so that a comment that holds the word is not found."""
    return _filter("annotations_results", "contains", "String", f'"choices": ["{choice}"]')


_UNTOUCHED = (
    _filter("total_annotations", "equal", "Number", 0),
    _filter("cancelled_annotations", "equal", "Number", 0),
)


def round_tabs(number: int) -> tuple[Tab, ...]:
    """The tabs of one preview round."""
    of_round = _filter("data.round", "equal", "String", str(number))
    return (
        Tab(title=f"Round {number} · to review", filters=(of_round, *_UNTOUCHED)),
        Tab(title=f"Round {number} · good", filters=(of_round, _answered("good"))),
        Tab(title=f"Round {number} · bad", filters=(of_round, _answered("bad"))),
    )


def title(study: str, desk: Desk) -> str:
    """The title of a desk's project."""
    return f"{study} · {desk}"


def longest_name(desks: Sequence[Desk] = tuple(Desk)) -> int:
    """How many characters a study's name may have."""
    return LONGEST_TITLE - max(len(title("", desk)) for desk in desks)


PLANS: dict[Desk, DeskPlan] = {
    Desk.CONCEPTS: DeskPlan(
        instruction=(
            "<h3>Concepts: photos that show the thing</h3>"
            f"<p>Upload at least {MINIMUM_PER_ROLE} photos and draw a <b>box</b> tightly round each example.</p>"
            "<p>If the thing is not what stands out in its box, also draw its <b>outline</b> or paint it with the "
            "<b>brush</b>: that counts instead of the automatic cut-out.</p>"
            "<p>Then go to the project that ends in “Decisions”, or choose “Start Training” in the settings' Model "
            "page here, to build a preview.</p>"
        ),
        colour="#E6804D",
        tabs=(Tab(title="All"), Tab(title="To draw", filters=_UNTOUCHED)),
        connected=True,
        live=True,
    ),
    Desk.CANVASES: DeskPlan(
        instruction=(
            "<h3>Canvases: where the thing may appear</h3>"
            f"<p>Upload at least {MINIMUM_PER_ROLE} photos and draw <b>polygons</b> round every area where the thing "
            "may appear. Leave out what must stay clean, such as the table round a part.</p>"
        ),
        colour="#4D96E6",
        tabs=(Tab(title="All"), Tab(title="To draw", filters=_UNTOUCHED)),
        connected=True,
        live=True,
    ),
    Desk.BACKGROUNDS: DeskPlan(
        instruction=(
            "<h3>Backgrounds: photos without the thing</h3>"
            f"<p>Upload {RECOMMENDED_BACKGROUNDS} or more (at least {MINIMUM_PER_ROLE}). They are used as they are; "
            "choose <b>exclude</b> (key B) for one that shows the thing after all, or is no good.</p>"
        ),
        colour="#7AA874",
        tabs=(Tab(title="All"), Tab(title="Excluded", filters=(_answered("exclude"),))),
        empty_allowed=True,
    ),
    Desk.PREVIEWS: DeskPlan(
        instruction=(
            "<h3>Previews: is it real enough?</h3>"
            "<p>The outline shows what was synthesized. Choose <b>good</b> (key G) or <b>bad</b> (key B), say what is "
            "wrong, and submit (Ctrl+Enter; press Tab to leave the comment). You may change your mind until the round "
            "is decided in the project that ends in “Decisions”.</p>"
        ),
        colour="#B57EDC",
        tabs=(
            Tab(title="To review", filters=_UNTOUCHED),
            Tab(title="Good", filters=(_answered("good"),)),
            Tab(title="Bad", filters=(_answered("bad"),)),
        ),
        connected=True,
    ),
    Desk.DECISIONS: DeskPlan(
        instruction=(
            "<h3>Decisions: what happens next?</h3>"
            "<p>Open the newest task. It says what is there and what is missing; choose what happens next and submit. "
            "<b>approve</b> makes as many images as the number says. What came of it is shown in the same task.</p>"
        ),
        colour="#D9A441",
        tabs=(Tab(title="Newest first", ordering="-tasks:id", grid=False),),
        skip_allowed=False,
    ),
    Desk.DATASET: DeskPlan(
        instruction=(
            "<h3>Dataset: the result</h3>"
            "<p>The generated images with their labels as predictions. Export them with “datagen export”, or here.</p>"
        ),
        colour="#5C6B73",
        tabs=(Tab(title="All"),),
        empty_allowed=True,
    ),
}
