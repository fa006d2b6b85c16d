"""A second person disagrees and corrects a region: the page says so, and the next version is cut out along it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import shapely

from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.domain.verdict import VerdictRule
from datagen.label_studio.api.client import LabelStudio
from datagen.store.tables.base import BatchKind
from datagen.store.tables.studies import StudyRow
from datagen.workflow.sample_mapping import sample_of
from second_person import second_person
from studio import Studio, Study, text_of, verdict_result

pytestmark = pytest.mark.integration
pytest_plugins = ["studio_fixtures"]


@pytest.fixture
def colleague(studio: Studio) -> Iterator[LabelStudio]:
    with second_person(studio.server) as client:
        yield client


def test_region_that_a_colleague_corrects_becomes_the_outline_of_its_concept(
    studio: Studio, study: Study, colleague: LabelStudio
) -> None:
    study.use_engine("composite")
    study.review()
    with studio.services.database.write() as session:
        session.get_one(StudyRow, study.id).verdict_rule = VerdictRule.NEWEST
    before = study.batches(BatchKind.ROUND)[-1]
    corrected = next(  # made from a concept in the shape that its photo shows
        number
        for number, row in enumerate(study.samples_of(before))
        if sample_of(row).provenance.trace.instances[0].details["shape"] == "as photographed"
    )
    study.judge(*[verdict_result("good")] * (corrected + 1))
    task = study.round_tasks()[corrected]
    drawn = next(
        entry
        for prediction in studio.client.predictions(task.id)
        for entry in prediction["result"]
        if entry["type"] == "polygonlabels"
    )
    points = drawn["value"]["points"]
    middle = [sum(corner[axis] for corner in points) / len(points) for axis in (0, 1)]
    smaller = [[(x + middle[0]) / 2, (y + middle[1]) / 2] for x, y in points]
    region = {**drawn, "origin": "manual", "value": {**drawn["value"], "points": smaller}}
    colleague.annotate(task.id, [*verdict_result("bad", "label is off", comment="only the core"), region])
    studio.settle()

    page = text_of(study.page())
    assert f"Good and bad at once: image {corrected + 1}." in page
    assert "of several on one image, the newest counts" in page
    assert f"good ({studio.server.email}); bad ({colleague.whoami()}, label is off, “only the core”)" in page
    assert f"1 outline was corrected (image {corrected + 1}). refine cuts out the example" in page
    assert study.counts()["bad"] == 1

    sample = sample_of(study.samples_of(before)[corrected])
    trace = sample.provenance.trace.instances[0]
    study.act(StudyEvent.REFINE)
    studio.settle()
    assert study.row().state == StudyState.REVIEWING, study.shown()
    version = study.specs()[-1]
    assert trace.concept is not None
    assert trace.scale is not None
    [outline] = version.body["parameters"]["corrected_outlines"][trace.concept.key]
    expected = sample.instances[0].outlines[0].area / 4 / trace.scale**2
    assert shapely.Polygon(outline).area == pytest.approx(expected, rel=0.2)
    assert any("is cut out along the outline that was corrected on 1 preview." in note for note in version.notes)
    again = [
        (instance_trace.matte, instance)
        for row in study.samples_of(study.batches(BatchKind.ROUND)[-1])
        for instance_trace, instance in zip(
            sample_of(row).provenance.trace.instances, sample_of(row).instances, strict=True
        )
        if instance_trace.concept == trace.concept
    ]
    assert all(matte == "corrected outline" for matte, _ in again)
