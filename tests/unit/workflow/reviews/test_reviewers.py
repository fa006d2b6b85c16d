"""Several people judge the same previews: whose verdict counts, how far they agree, and what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.domain.verdict import VerdictRule
from datagen.errors import NotConfirmed
from datagen.learning.agreement import MIN_COMMON
from datagen.store.tables.studies import StudyRow
from datagen.workflow.studies.open import open_study
from datagen.workflow.studies.queries import describe
from datagen.workflow.study_options import StudyOptions
from datagen.workflow.study_pages.study_view import study_of
from fake_studio import ACCESS, FakeStudio
from studio import ROUND, Study, text_of, verdict_result

ANN, BOB = (2, "ann@example.com"), (3, "bob@example.com")
GOOD, BAD = verdict_result("good"), verdict_result("bad", "too small")


def use_rule(study: Study, rule: VerdictRule) -> None:
    with study.studio.services.database.write() as session:
        session.get_one(StudyRow, study.id).verdict_rule = rule


def judge_as(study: Study, person: tuple[int, str], *forms: list[dict[str, Any]] | None) -> list[int]:
    """Submit these forms for the round's previews, in order, as a person; None leaves a preview out."""
    with study.studio.client.acting_as(*person):
        return [
            study.studio.client.annotate(task.id, form)
            for task, form in zip(study.round_tasks(), forms, strict=False)
            if form is not None
        ]


@pytest.mark.parametrize(
    ("rule", "page", "status", "sentence"),
    [
        (VerdictRule.EACH, (2, 2), (2, 2), "each verdict counts"),
        (VerdictRule.NEWEST, (1, 1), (1, 1), "of several on one image, the newest counts"),
        (VerdictRule.FIRST, (2, 0), (2, 0), "of several on one image, the first counts"),
        (VerdictRule.ALL_AGREE, (0, 0), (0, 0), "none counts, and the image counts as not judged"),
    ],
)
def test_study_says_whose_verdict_counts(
    studio: FakeStudio,
    study: Study,
    rule: VerdictRule,
    page: tuple[int, int],
    status: tuple[int, int],
    sentence: str,
) -> None:
    """Ann says good twice, then Bob says bad twice, and Ann changes nothing but submits one of hers again."""
    use_rule(study, rule)
    [first, _] = judge_as(study, ANN, GOOD, GOOD)
    judge_as(study, BOB, BAD, BAD)
    with studio.client.acting_as(*ANN):
        studio.client.update_annotation(first, GOOD)
    studio.settle()
    assert study.counts() == {"good": page[0], "bad": page[1], "still to review": ROUND - 2}
    [described] = describe(studio.services.database, study.name)
    assert described["version_verdicts"] == {"good": status[0], "bad": status[1]}
    shown = text_of(study.page())
    assert "4 verdicts on 2 images: " in shown
    assert f"{sentence}. Good and bad at once: images 1, 2." in shown
    study.act(StudyEvent.REFINE)
    notes = " ".join(study.specs()[-1].notes)
    expected = {(2, 2): "2 of 4 verdicts say", (1, 1): "1 of 2 verdicts says", (2, 0): "All 2 verdicts are good"}
    assert expected.get(page, "No preview was judged") in notes


def test_verdicts_that_agree_all_count_and_one_persons_verdict_agrees_with_itself(
    studio: FakeStudio, study: Study
) -> None:
    use_rule(study, VerdictRule.ALL_AGREE)
    judge_as(study, ANN, GOOD, GOOD, BAD)
    judge_as(study, BOB, GOOD, BAD)
    studio.settle()
    assert study.counts() == {"good": 2, "bad": 1, "still to review": 0}
    second = study.round_tasks()[1].data
    assert (second["verdict"], second["status"]) == ("good, bad", "reviewed; good and bad, so none counts")


def test_disputed_previews_count_as_not_judged_when_someone_approves(studio: FakeStudio, study: Study) -> None:
    use_rule(study, VerdictRule.ALL_AGREE)
    judge_as(study, ANN, GOOD, GOOD, GOOD)
    judge_as(study, BOB, BAD, BAD)
    studio.settle()
    with pytest.raises(NotConfirmed, match=rf"1 of {ROUND} previews judged \(2 more are disputed, so that none counts"):
        study.act(StudyEvent.APPROVE, count=1, confirmed=False)
    judge_as(study, BOB, None, None, BAD)
    studio.settle()
    with pytest.raises(NotConfirmed, match="On every judged image of preview round 1 the verdicts disagree"):
        study.act(StudyEvent.REFINE, confirmed=False)


def test_disputed_audit_samples_are_named_so_and_not_as_missing(studio: FakeStudio, study: Study) -> None:
    use_rule(study, VerdictRule.ALL_AGREE)
    study.act(StudyEvent.AUDIT, audit_count=4)
    studio.settle()
    in_audit = [task for task in study.tasks(ProjectKind.PREVIEWS) if str(task.data["batch"]).startswith("audit-")]
    for person, form in ((ANN, GOOD), (BOB, BAD)):
        with studio.client.acting_as(*person):
            for task in in_audit[:2]:
                studio.client.annotate(task.id, form)
    studio.settle()
    shown = text_of(study.page())
    assert "0 of 4 audit verdicts, 0 bad, 2 missing and 2 disputed and counted as bad" in shown
    with studio.services.database.read() as session:
        [version] = study_of(session, study.id, None).versions
    assert "2 missing and 2 disputed and counted as bad" in version.promise
    with pytest.raises(NotConfirmed, match="On 2 samples of it the verdicts disagree, and they count as bad"):
        study.act(StudyEvent.AUDIT, audit_count=4, confirmed=False)


def test_verdict_that_is_changed_after_the_decision_is_not_the_newest(studio: FakeStudio, study: Study) -> None:
    """The time of a late change is stored, too, and must not change what the decision was based on."""
    use_rule(study, VerdictRule.NEWEST)
    [early] = judge_as(study, ANN, GOOD)
    judge_as(study, BOB, BAD)
    studio.settle()
    study.act(StudyEvent.REFINE)
    with studio.client.acting_as(*ANN):
        studio.client.update_annotation(early, verdict_result("good", comment="after all"))
    studio.settle()
    [of_ann, of_bob] = study.verdicts_of(study.batches()[0])
    assert (of_ann.changed_late, of_ann.given_at < of_bob.given_at < of_ann.updated_at) == (True, True)
    assert "0</b> good, <b>1</b> bad" in study.page(1)


def test_page_lists_disputed_previews_with_links_people_and_comments(studio: FakeStudio, study: Study) -> None:
    judge_as(study, ANN, GOOD, GOOD)
    judge_as(study, BOB, verdict_result("bad", "edges show", comment="a halo"), GOOD)
    studio.settle()
    page, task = study.page(), study.round_tasks()[0]
    assert f'data?task={task.id}" target="_blank">Image 1</a>' in page
    shown = text_of(page)
    assert "Disputed: 1 image Image 1: good (ann@example.com); bad (bob@example.com, edges show, “a halo”)" in shown
    assert "Image 1: a halo (bob@example.com)" in shown


def test_comment_of_a_verdict_that_does_not_count_is_shown_as_such(studio: FakeStudio, study: Study) -> None:
    use_rule(study, VerdictRule.FIRST)
    judge_as(study, ANN, GOOD)
    judge_as(study, BOB, verdict_result("good", comment="look at the rim"))
    studio.settle()
    assert "Image 1: look at the rim (bob@example.com, whose verdict does not count)" in text_of(study.page())
    assert study.round_tasks()[0].data["comment"] == "look at the rim"


def test_comment_of_a_megabyte_is_kept_and_shown_bounded(studio: FakeStudio, study: Study) -> None:
    judge_as(study, ANN, *[verdict_result("bad", comment="x" * 2**20)] * ROUND)
    judge_as(study, BOB, *[GOOD] * ROUND)
    studio.settle()
    assert max(len(verdict.comment) for verdict in study.verdicts()) == 4000
    assert len(study.page()) < 30_000
    assert max(len(str(task.data["comment"])) for task in study.round_tasks()) == 200


@pytest.fixture
def large_study(in_state: Callable[[StudyState, Path], tuple[FakeStudio, Study]], tmp_path: Path) -> Study:
    """A study whose round has enough previews for figures about its reviewers."""
    studio, _ = in_state(StudyState.COLLECTING, tmp_path)
    study = studio.open_study(preview_size=MIN_COMMON)
    studio.settle()
    study.act(StudyEvent.BUILD_PREVIEW)
    studio.settle()
    return study


def test_agreement_of_each_two_people_is_shown(large_study: Study) -> None:
    judge_as(large_study, ANN, GOOD, GOOD, GOOD, BAD, BAD)
    judge_as(large_study, BOB, GOOD, GOOD, BAD, BAD, BAD)
    judge_as(large_study, (4, "cleo@example.com"), GOOD)
    large_study.studio.settle()
    shown = text_of(large_study.page())
    assert "ann@example.com and bob@example.com: the same opinion on 4 of 5 images (80%), Cohen's kappa 0.62" in shown
    assert "2 pairs of reviewers judged fewer than 5 images both, too few for a figure." in shown


def test_kappa_is_undefined_where_both_say_one_thing_only(large_study: Study) -> None:
    for person in (ANN, BOB):
        judge_as(large_study, person, *[GOOD] * MIN_COMMON)
    large_study.studio.settle()
    assert "5 of 5 images (100%), Cohen's kappa undefined: both gave one opinion only" in text_of(large_study.page())


def test_reviewer_who_always_says_good_is_named_with_what_to_do(large_study: Study) -> None:
    judge_as(large_study, ANN, *[GOOD] * MIN_COMMON)
    judge_as(large_study, BOB, GOOD, GOOD, BAD, BAD, GOOD)
    large_study.studio.settle()
    shown = text_of(large_study.page())
    assert "ann@example.com said good to all of 5 images; on 2 of them somebody else did not." in shown
    assert "bob@example.com said" not in shown
    assert "--verdict-rule all-agree" in shown
    use_rule(large_study, VerdictRule.ALL_AGREE)
    large_study.act(StudyEvent.REFINE)
    large_study.studio.settle()
    notes = large_study.specs()[-1].notes
    assert "All 3 verdicts are good" not in " ".join(notes), "both people's verdicts on what they agree on count"
    assert "All 6 verdicts are good: the look stays as it was, and the new round shows new samples." in notes


def test_rule_is_an_option_of_the_study_and_its_change_is_in_the_audit(studio: FakeStudio, study: Study) -> None:
    judge_as(study, ANN, GOOD)
    judge_as(study, BOB, BAD)
    studio.settle()
    for rule in (VerdictRule.NEWEST, None):  # None leaves it as it is
        open_study(
            studio.services,
            study.name,
            [],
            ACCESS,
            engine=None,
            preview_size=ROUND,
            options=StudyOptions(verdict_rule=rule),
        )
    studio.settle()
    assert study.row().verdict_rule is VerdictRule.NEWEST
    assert study.counts() == {"good": 0, "bad": 1, "still to review": ROUND - 1}
    changes = [line for line in study.audit() if "by the rule" in line]
    assert changes == ["datagen provision: verdicts count by the rule “newest”, before “each”"]
