"""Which studies a person sees."""

from __future__ import annotations

from typing import Any

import pytest

BO = "bo@example.com"


@pytest.fixture
def projects(stranger: Any) -> list[int]:
    """The projects of the study."""
    return [row.project_id for row in stranger.study.project_rows()]


def of_study(browser: Any) -> list[str]:
    """An address of each kind of page and picture of the study."""
    study = browser.study
    sample = study.samples_of(study.batches()[0])[0]
    task = browser.study.round_tasks()[0].id
    root = f"/studio/studies/{study.id}"
    return [
        root,
        f"{root}/inputs/concept",
        f"{root}/round/1",
        f"{root}/samples/{sample.id}",
        f"/studio/pictures/{study.id}/sample/{sample.id}/small",
        f"/studio/pictures/{study.id}/sample/{sample.id}/full",
        f"/studio/pictures/{study.id}/input/{task}/small",
    ]


def test_a_person_who_sees_every_project_sees_the_study(stranger: Any, projects: list[int]) -> None:
    stranger.accounts.restricted[BO] = frozenset(projects)
    stranger.log_in(BO)
    assert stranger.study.name in stranger.page("/studio/")
    assert stranger.page(f"/studio/studies/{stranger.study.id}")


def test_a_person_who_lacks_a_project_sees_nothing_of_the_study(stranger: Any, projects: list[int]) -> None:
    stranger.accounts.restricted[BO] = frozenset(projects[1:])
    stranger.log_in(BO)
    home = stranger.page("/studio/")
    assert stranger.study.name not in home
    assert "No study is shown to you" in home
    assert "datagen provision" not in home
    for path in of_study(stranger):
        answer = stranger.get(path)
        assert answer.status_code == 404, path
        assert stranger.study.name not in answer.text


def test_a_picture_of_another_study_is_not_found(browser: Any) -> None:
    other = browser.studio.open_study(inputs=False)
    sample = browser.study.samples_of(browser.study.batches()[0])[0]
    assert browser.get(f"/studio/pictures/{other.id}/sample/{sample.id}/small").status_code == 404
    assert browser.get(f"/studio/studies/{other.id}/samples/{sample.id}").status_code == 404
