"""The API on a studio without servers: ``fake_studio``, accounts in memory, and Flask's test client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from datagen.domain.lifecycle import StudyState
from datagen.operations.readiness import ReadinessCache
from datagen.web.api.app import ApiParts, create_api
from datagen.web.api.bearer import TokenAccounts
from datagen.web.api.studies import NewStudy
from datagen.web.download_sending import DownloadSender
from datagen.workflow.studies.clone import Cloned, clone_study
from datagen.workflow.studies.open import OpenedStudy, open_study
from datagen.workflow.study_pages.access import known_projects
from datagen.workflow.study_pages.next_step import LabelStudioTarget
from fake_accounts import FakeAccounts
from fake_studio import ACCESS, FakeStudio
from fake_studio_fixtures import Prepared, _engines, copy_of_made, in_state  # noqa: F401 - fixtures
from instant_engine import NAME as ENGINE
from studio import ROUND, Study

ROOT = "/api/v1"
ANN, BO = "ann@example.com", "bo@example.com"


@dataclass(kw_only=True)
class Clock:
    """A clock that a test moves."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(kw_only=True)
class Program:
    """A program that uses the API of a studio with one study, with Ann's token."""

    app: Flask
    client: FlaskClient
    studio: FakeStudio
    study: Study
    accounts: FakeAccounts
    clock: Clock
    token: str = f"token of {ANN}"
    parts: dict[str, bool] = field(default_factory=lambda: {"database": True})

    def send(self, method: str, path: str, *, key: str | None = None, **options: Any) -> TestResponse:
        """Send a request; a ``path`` that begins with “.” is below the study's."""
        if path.startswith("."):
            path = f"/studies/{self.study.id}{path[1:]}"
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        if key is not None:
            headers["Idempotency-Key"] = key
        return self.client.open(ROOT + path, method=method, headers=headers, **options)

    def read(self, path: str) -> Any:
        """The JSON of a response that is there."""
        answer = self.send("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json

    def decide(self, *, key: str | None = None, **body: Any) -> TestResponse:
        return self.send("POST", "./decisions", key=key, json=body)


def api_of(studio: FakeStudio, accounts: FakeAccounts, clock: Clock, parts: dict[str, bool]) -> Flask:
    """The application with the API alone."""
    database = studio.services.database

    def projects() -> list[int]:
        with database.read() as session:
            return known_projects(session)

    def create(study: NewStudy, who: str) -> OpenedStudy:
        size, engine = study.preview_size or ROUND, study.engine or ENGINE
        return open_study(
            studio.services, study.name, study.labels, ACCESS, engine=engine, preview_size=size, who=who, only_new=True
        )

    def clone(study_id: int, new_name: str, who: str, version: int | None) -> Cloned:
        return clone_study(studio.services, study_id, new_name, who, ACCESS, version=version)

    def address(target: LabelStudioTarget) -> str:
        return f"http://label-studio.test/projects/{target.project_id}/data?task={target.task_id}"

    app = create_api(
        ApiParts(
            database=database,
            images=studio.services.images,
            downloads=DownloadSender(database, studio.services.download_files),
            accounts=TokenAccounts(accounts, projects, clock),
            readiness=ReadinessCache(lambda: parts),
            address_of=address,
            services=lambda: studio.services,
            create_study=create,
            clone_study=clone,
        )
    )
    app.config["PROPAGATE_EXCEPTIONS"] = False
    return app


@pytest.fixture
def program_in(
    in_state: Callable[[StudyState, Path], Prepared],  # noqa: F811
    tmp_path: Path,
) -> Iterator[Callable[[StudyState], Program]]:
    """Returns a function that makes a program on a studio whose study is in that state."""
    opened: list[FakeStudio] = []

    def program_in(state: StudyState) -> Program:
        studio, study = in_state(state, tmp_path)
        opened.append(studio)
        accounts, clock, parts = FakeAccounts(), Clock(), {"database": True}
        studio.client.people |= {id_: email for email, id_ in accounts.people.items()}
        app = api_of(studio, accounts, clock, parts)
        return Program(
            app=app, client=app.test_client(), studio=studio, study=study, accounts=accounts, clock=clock, parts=parts
        )

    yield program_in
    for studio in opened:
        studio.services.database.close()


@pytest.fixture
def program(program_in: Callable[[StudyState], Program]) -> Program:
    """A program; the study's first round waits for verdicts."""
    return program_in(StudyState.REVIEWING)
