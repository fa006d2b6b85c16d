"""The status of a study as plain values."""

from __future__ import annotations

from datagen.domain.lifecycle import StudyEvent
from datagen.workflow.studies.queries import describe
from fake_studio import FakeStudio
from studio import Study, verdict_result


def test_verdicts_are_counted_on_the_version_and_on_all(studio: FakeStudio, study: Study) -> None:
    """“version: 5 … verdicts: 16 good, 21 bad” was read as the verdicts on version 5."""
    study.judge(verdict_result("good"), verdict_result("bad", "too small"))
    study.act(StudyEvent.REFINE)
    studio.settle()
    [status] = describe(studio.services.database, study.name)
    version = study.specs()[-1].version
    assert status["verdicts_text"] == f"0 on version {version}, 2 on all versions"
    study.judge(verdict_result("bad", "too small"))
    studio.settle()
    [status] = describe(studio.services.database, study.name)
    assert status["verdicts_text"] == f"1 on version {version} (0 good, 1 bad), 3 on all versions"
    assert (status["version_verdicts"], status["verdicts"]) == ({"good": 0, "bad": 1}, {"good": 1, "bad": 2})
