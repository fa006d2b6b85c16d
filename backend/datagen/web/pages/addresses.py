"""The addresses of pages and pictures, and of Label Studio's projects and tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from datagen.domain.inputs import Role
from datagen.store.tables.base import BatchKind
from datagen.web.pages.forms import ROOT
from datagen.web.pages.static_files import StaticFiles
from datagen.workflow.study_pages.next_step import LabelStudioTarget

#: First path segment below ``ROOT`` of all pictures, which have threads of their own.
PICTURES = "pictures"
#: First path segments below ``ROOT`` of responses that take long: files, and streams of events.
DOWNLOADS, STREAMS = "downloads", "streams"
#: First path segment below ``ROOT`` of the addresses that verdicts are sent to, which wait for Label Studio.
VERDICTS = "verdicts"
#: Number of digits of a picture's digest in its address. They change with the picture, so that it may be kept for good.
VERSION_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Addresses:
    """Makes addresses.

    Args:
        label_studio_url: Label Studio's address as browsers reach it, without a trailing slash.
        files: The style sheet and the other files of the pages.
    """

    label_studio_url: str
    files: StaticFiles

    def home(self, search: str = "", before: int | None = None, *, archived: bool = False) -> str:
        """Return the address of the home page."""
        return _with_query(f"{ROOT}/", {"search": search, "before": before, "archived": "yes" if archived else None})

    def log_in(self, target: str = "") -> str:
        """Return the address of the log-in page; ``target`` is the page to go on to."""
        return _with_query(f"{ROOT}/log-in", {"next": target})

    def log_out(self) -> str:
        """Return the address that log-outs are sent to."""
        return f"{ROOT}/log-out"

    def study(self, study_id: int) -> str:
        """Return the address of a study's page."""
        return f"{ROOT}/studies/{study_id}"

    def history(self, study_id: int, before: int | None = None) -> str:
        """Return the address of a page of a study's history."""
        return _with_query(f"{ROOT}/studies/{study_id}/history", {"before": before})

    def settings(self, study_id: int) -> str:
        """Return the address of the page with a study's name, description, archive and deletion."""
        return f"{ROOT}/studies/{study_id}/settings"

    def action(self, study_id: int, name: str) -> str:
        """Return the address that the form of an action is sent to, such as “archive”."""
        return f"{ROOT}/studies/{study_id}/{name}"

    def decide(self, study_id: int) -> str:
        """Return the address that decisions about a study are sent to."""
        return f"{ROOT}/studies/{study_id}/decide"

    def notifications(self, study_id: int, before: int | None = None) -> str:
        """Return the address of the page of a study's notifications."""
        return _with_query(f"{ROOT}/studies/{study_id}/notifications", {"before": before})

    def notification_add(self, study_id: int) -> str:
        """Return the address that new recipients of notifications are sent to."""
        return f"{self.notifications(study_id)}/add"

    def notification_action(self, study_id: int, recipient_id: int, action: str) -> str:
        """Return the address of an action with a recipient of notifications: ``test`` or ``remove``."""
        return f"{self.notifications(study_id)}/{recipient_id}/{action}"

    def notification_redeliver(self, study_id: int, delivery_id: int) -> str:
        """Return the address that asks for a notification to be sent again."""
        return f"{self.notifications(study_id)}/deliveries/{delivery_id}/redeliver"

    def compare(self, study_id: int, left: int | None = None, right: int | None = None) -> str:
        """Return the address of two versions beside each other."""
        return _with_query(f"{ROOT}/studies/{study_id}/compare", {"left": left, "right": right})

    def inputs(
        self, study_id: int, role: Role = Role.CONCEPT, after: int | None = None, *, learned: bool = False
    ) -> str:
        """Return the address of a page of a study's inputs of one role, perhaps with what the engine learned."""
        query = {"after": after, "learned": "yes" if learned else None}
        return _with_query(f"{ROOT}/studies/{study_id}/inputs/{role}", query)

    def batch(self, study_id: int, kind: BatchKind, number: int, **query: str | int | None) -> str:
        """Return the address of a gallery, or of a run's page; ``query`` has its filters."""
        return _with_query(f"{ROOT}/studies/{study_id}/{kind}/{number}", query)

    def runs(self, **query: str | int | None) -> str:
        """Return the address of the list of runs; ``query`` has its filters."""
        return _with_query(f"{ROOT}/runs", query)

    def run(self, study_id: int, number: int, below: str = "") -> str:
        """Return the address of a run's page, or of what is ``below`` it, such as “/push”."""
        return f"{ROOT}/studies/{study_id}/run/{number}{below}"

    def turn(self, study_id: int, number: int, **query: str | int | None) -> str:
        """Return the address of a page of a run's table to which ticks are sent; ``query`` has its filters."""
        return _with_query(self.run(study_id, number, "/turn"), query)

    def handovers(self, study_id: int, number: int) -> str:
        """Return the address of the handovers on a run's page."""
        return self.run(study_id, number, "#handovers")

    def download(self, study_id: int, handover_id: int) -> str:
        """Return the address of a download's file."""
        return f"{ROOT}/{DOWNLOADS}/{study_id}/{handover_id}"

    def table(self, study_id: int, number: int, **query: str | int | None) -> str:
        """Return the address of a run's table as CSV; ``query`` has its filters."""
        return _with_query(f"{ROOT}/{DOWNLOADS}/{study_id}/run/{number}/images.csv", query)

    def stream(self, study_id: int, number: int) -> str:
        """Return the address of the stream of a run's live parts."""
        return f"{ROOT}/{STREAMS}/{study_id}/run/{number}"

    def review(
        self, study_id: int, kind: BatchKind, number: int, after: int = 0, sample_id: int | None = None, show: str = ""
    ) -> str:
        """Return the address of a review sheet: its page that begins after a place, at a sample."""
        page = _with_query(f"{ROOT}/studies/{study_id}/{kind}/{number}/review", {"after": after or None, "show": show})
        return page if sample_id is None else f"{page}#image-{sample_id}"

    def verdict(self, study_id: int, sample_id: int) -> str:
        """Return the address that verdicts on a sample are sent to."""
        return f"{ROOT}/{VERDICTS}/{study_id}/{sample_id}"

    def sample(self, study_id: int, sample_id: int, **query: str | None) -> str:
        """Return the address of a sample's page."""
        return _with_query(f"{ROOT}/studies/{study_id}/samples/{sample_id}", query)

    def reproduce(self, study_id: int, sample_id: int) -> str:
        """Return the address that requests to render a sample again are sent to."""
        return f"{ROOT}/studies/{study_id}/samples/{sample_id}/reproduce"

    def sample_picture(self, study_id: int, sample_id: int, digest: str, variant: str) -> str:
        """Return the address of a picture of a sample; see ``pictures`` for the variants."""
        return f"{ROOT}/{PICTURES}/{study_id}/sample/{sample_id}/{variant}?v={digest[:VERSION_DIGITS]}"

    def input_picture(self, study_id: int, task_id: int, digest: str, variant: str) -> str:
        """Return the address of a picture of an input; see ``pictures`` for the variants."""
        return f"{ROOT}/{PICTURES}/{study_id}/input/{task_id}/{variant}?v={digest[:VERSION_DIGITS]}"

    def learned_picture(self, study_id: int, picture_id: int, digest: str) -> str:
        """Return the address of a picture of what a fit learned about an input."""
        return f"{ROOT}/{PICTURES}/{study_id}/learned/{picture_id}?v={digest[:VERSION_DIGITS]}"

    def licences(self) -> str:
        """Return the address of the page with the licences of the third-party files."""
        return f"{ROOT}/licences"

    def static(self, name: str) -> str:
        """Return the address of one of the pages' files."""
        return f"{ROOT}/static/{name}?v={self.files.version(name)}"

    def label_studio(self, target: LabelStudioTarget) -> str:
        """Return the address of a project of Label Studio, or of one of its tasks."""
        task = f"?task={target.task_id}" if target.task_id is not None else ""
        return f"{self.label_studio_url}/projects/{target.project_id}/data{task}"


def _with_query(path: str, query: Mapping[str, str | int | None]) -> str:
    given = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path
