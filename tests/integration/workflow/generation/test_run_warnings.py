"""A run's warnings: those of its engine, and what it was rendered with."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import select

from datagen.domain.lifecycle import StudyEvent
from datagen.domain.spec import Json, Spec
from datagen.domain.trace import Trace
from datagen.export.selection import Selection
from datagen.store.tables.batches import BatchRow, ShardRow, SpecRow
from datagen.store.tables.reviews import DecisionRow
from datagen.synthesis.engine import FitReport, FittedEngine, Progress, Rendered
from datagen.workflow.decision_tasks.decision_page import decision_data
from datagen.workflow.generation import run_warnings
from datagen.workflow.generation.shard_rendering import FittedEngineCache, render_shard
from datagen.workflow.studies.export import export_study
from studio import SHARD, Studio, Study

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration

OLD, NEW, LORA = "a1" * 32, "b2" * 32, "c3" * 32


@dataclass
class Painting(FittedEngine):
    """An engine that used model files, and fell back to composite pixels in some places."""

    inner: FittedEngine
    files: dict[str, Json]
    fallen: int

    @property
    def report(self) -> FitReport:
        always = "one concept image is small"
        return FitReport(warnings=(always, f"in {self.fallen} of 50 places composite pixels were used"))

    def render(self, indices: Sequence[int]) -> Iterator[Rendered]:
        for sample in self.inner.render(indices):
            yield replace(
                sample,
                provenance=replace(
                    sample.provenance, trace=Trace.from_json(sample.provenance.trace.to_json() | self.files)
                ),
            )


class Inpainter(FittedEngineCache):
    """A worker with that engine."""

    def __init__(self, studio: Studio, weights: str, fallen: int) -> None:
        super().__init__(studio.services)
        self._files: dict[str, Json] = {"weights_sha256": weights, "lora_sha256": LORA, "device": "cpu"}
        self._fallen = fallen

    def fitted(self, spec: Spec, progress: Progress) -> FittedEngine:
        return Painting(super().fitted(spec, progress), self._files, self._fallen)


def shards(studio: Studio, batch: BatchRow) -> list[int]:
    with studio.rows() as session:
        return list(session.scalars(select(ShardRow.id).where(ShardRow.batch_id == batch.id).order_by(ShardRow.start)))


def run_after_previews(study: Study, *painters: Inpainter) -> BatchRow:
    """Render a round with the first painter, approve it, and render a shard of the run with each other painter."""
    studio, (first, *others) = study.studio, painters
    study.review()
    study.act(StudyEvent.BUILD_PREVIEW)
    render_shard(studio.services, first, shards(studio, study.batches()[-1])[0])
    studio.settle()
    study.act(StudyEvent.APPROVE, count=SHARD * len(others))
    run = study.batches()[-1]
    for painter, shard_id in zip(others, shards(studio, run), strict=True):
        render_shard(studio.services, painter, shard_id)
    studio.settle()
    return study.batches()[-1]


def test_warning_of_a_run_is_in_its_report_once(studio: Studio, study: Study, tmp_path: Path) -> None:
    run = run_after_previews(study, Inpainter(studio, OLD, 0), Inpainter(studio, OLD, 2), Inpainter(studio, OLD, 5))
    message = "Note: in 5 of 50 places composite pixels were used"
    assert run.warnings == [message]  # and not again what the version's findings have
    assert message in study.page()
    export_study(studio.services, study.name, tmp_path / "run.zip", selection=Selection(runs=(run.number,)))
    with zipfile.ZipFile(tmp_path / "run.zip") as archive:
        assert message in archive.read("README.txt").decode()


def test_a_run_with_other_weights_than_its_previews_says_so(studio: Studio, study: Study) -> None:
    run = run_after_previews(study, Inpainter(studio, OLD, 0), Inpainter(studio, OLD, 0), Inpainter(studio, NEW, 0))
    [message] = run.warnings
    assert message.startswith("Note: not made with the weights of its previews (SHA-256 b2b2b2b2b2b2… in place of a1a1")
    assert message in study.page()


def test_a_run_like_its_previews_has_no_warning(studio: Studio, study: Study) -> None:
    run = run_after_previews(study, Inpainter(studio, OLD, 0), Inpainter(studio, OLD, 0))
    assert run.warnings == []


def test_decision_page_shows_warnings_first_and_numbers_behind_a_fold(studio: Studio, study: Study) -> None:
    """A warning that asks for another drawing was hidden among slopes and IoUs."""
    study.review()
    study.act(StudyEvent.BUILD_PREVIEW)
    render_shard(studio.services, Inpainter(studio, OLD, 2), shards(studio, study.batches()[-1])[0])
    studio.settle()
    page = study.page()
    assert "<details open><summary" in page
    warnings = page.index("Inputs to look at: 2</summary>")
    assert warnings < page.index("One concept image is small")
    assert "Note: one concept" not in page
    study.review()
    page = study.page()
    learned, numbers = page.index("What was learned from the inputs"), page.index("Methods and numbers")
    assert learned < page.index("Choose “wrong place” for previews", learned) < numbers
    assert numbers < page.index("IoU")
    assert "Details: " not in page


def test_first_warnings_and_changes_are_shown_and_the_rest_behind_a_fold(studio: Studio, study: Study) -> None:
    study.review()
    study.decide("refine")
    with studio.services.database.write() as session:
        spec = session.scalars(select(SpecRow).order_by(SpecRow.id.desc())).first()
        assert spec is not None
        spec.findings = [f"Note: photo {number}: it is small" for number in range(5)]
        spec.notes = [f"parameter {number} is lowered" for number in range(8)]
        point = session.get_one(DecisionRow, study.points()[-1].id)
        page = decision_data(session, studio.services, point)["html"]
    warnings = page.index("Inputs to look at: 5</summary>")
    assert page[:warnings].rindex("<details") == page[:warnings].rindex("<details open")
    assert warnings < page.index("Photo 2") < page.index("2 more</summary>", warnings) < page.index("Photo 3")
    assert page.index("Parameter 5") < page.index("2 more</summary>") < page.index("Parameter 6")


def test_findings_are_sorted_by_their_purpose() -> None:
    by_purpose = run_warnings.by_purpose(
        ["pit: 6 examples are used.", "Details: IoU 0.80", "Note: photo a: it is small"]
    )
    assert by_purpose == run_warnings.Sorted(
        warnings=["photo a: it is small"], findings=["pit: 6 examples are used."], details=["IoU 0.80"]
    )


def test_lines_that_differ_in_more_than_numbers_are_all_kept() -> None:
    batch = BatchRow(warnings=["in 1 of 20 places", "SHA-256 a1b2…"])
    run_warnings.add(batch, ["in 1,200 of 2,000 places", "SHA-256 a1b3…"])
    assert batch.warnings == ["in 1,200 of 2,000 places", "SHA-256 a1b2…", "SHA-256 a1b3…"]


def test_warnings_beyond_the_limit_are_said_to_be_left_out_and_an_alarm_is_shown_first() -> None:
    batch = BatchRow(warnings=[])
    kinds = [f"kind {'x' * number} of warning" for number in range(run_warnings.MAX_REMARKS + 5)]
    run_warnings.add(batch, kinds)
    assert batch.warnings[:-1] == kinds[: run_warnings.MAX_REMARKS]
    assert batch.warnings[-1] == "Note: there are warnings of other kinds; only the first 50 kinds are shown."
    run_warnings.add_first(batch, "the checks contradict the promise")
    assert batch.warnings[0] == "Note: the checks contradict the promise"
    assert batch.warnings[1:-1] == kinds[: run_warnings.MAX_REMARKS]


def test_origin_of_a_sample_lists_the_digests_of_its_engine() -> None:
    steps: dict[str, Json] = {"weights": "tiny", "weights_sha256": OLD, "lora_sha256": None, "batch": 4}
    assert Trace.from_json(steps).files == {"weights": OLD, "lora": None}
