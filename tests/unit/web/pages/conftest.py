"""The pages on a studio without servers: ``fake_studio``, accounts in memory, and Flask's test client."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from datagen.domain.lifecycle import StudyState
from datagen.operations.readiness import ReadinessCache
from datagen.web.download_sending import DownloadSender
from datagen.web.pages.addresses import Addresses
from datagen.web.pages.background import BackgroundWork
from datagen.web.pages.blueprint import Studio, pages_blueprint
from datagen.web.pages.decision_views import FormLimits
from datagen.web.pages.forms import FormTokens
from datagen.web.pages.notices import Notices
from datagen.web.pages.pictures import Pictures
from datagen.web.pages.rendering import Renderer
from datagen.web.pages.reproductions import Reproductions, render_again
from datagen.web.pages.sessions import Sessions
from datagen.web.pages.static_files import StaticFiles
from datagen.web.pages.thumbnail_cache import ThumbnailCache
from datagen.web.pages.visitors import Visitors
from datagen.web.responses import bounded_bodies, plain_errors, quiet_headers
from datagen.workflow.studies.clone import Cloned, clone_study
from fake_accounts import Expiring, FakeAccounts
from fake_studio import ACCESS, FakeStudio
from fake_studio_fixtures import Prepared, _engines, copy_of_made, in_state  # noqa: F401 - fixtures
from studio import Study

KEYS = [b"a key of these tests"]
LABEL_STUDIO = "http://label-studio.test:8080"
ANN, BO = "ann@example.com", "bo@example.com"


@dataclass(kw_only=True)
class Browser:
    """A browser on the pages of a studio with one study."""

    client: FlaskClient
    studio: FakeStudio
    study: Study
    accounts: FakeAccounts
    store: Expiring

    def get(self, path: str) -> TestResponse:
        return self.client.get(path, buffered=True)  # a server closes a response that is sent

    def page(self, path: str) -> str:
        """The HTML of a page that is there."""
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def form_token(self, page: str) -> str:
        match = re.search(r'name="form_token" value="(\w+)"', page)
        assert match is not None, page
        return match[1]

    def act(self, path: str, page: str, **form: str) -> TestResponse:
        """Send the form with the action ``path`` of the page at ``page``."""
        return self.send(path, self.page(page), **form)

    def send(self, path: str, shown: str, **form: str) -> TestResponse:
        """Send the form with the action ``path`` of a page whose HTML is ``shown``, with its hidden fields."""
        hidden = dict(re.findall(r'name="(form_token|state_token)" value="([^"]+)"', shown))
        return self.client.post(path, data={**hidden, **form})

    def log_in(self, email: str = ANN, **form: str) -> TestResponse:
        """Fill in the log-in form and send it; ``form`` has other fields than e-mail address and password."""
        token = self.form_token(self.client.get("/studio/log-in").text)
        given = {"form_token": token, "email": email, "password": f"password of {email}", **form}
        return self.client.post("/studio/log-in", data=given)


@cache
def _renderer() -> tuple[Addresses, Renderer]:
    """The addresses and the templates, which no test changes: compiling a template takes longer than most tests."""
    addresses = Addresses(LABEL_STUDIO, StaticFiles())
    return addresses, Renderer(addresses)


def app_of(studio: FakeStudio, folder: Path, accounts: FakeAccounts, store: Expiring) -> Flask:
    """The application with the pages alone."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = 1_000_000
    app.config["PROPAGATE_EXCEPTIONS"] = False
    bounded_bodies(app)
    plain_errors(app)
    app.after_request(quiet_headers)
    addresses, renderer = _renderer()
    background = BackgroundWork()

    def clone(study_id: int, new_name: str, who: str, version: int | None) -> Cloned:
        return clone_study(studio.services, study_id, new_name, who, ACCESS, version=version)

    pages = pages_blueprint(
        Studio(
            database=studio.services.database,
            visitors=Visitors(
                sessions=Sessions(store, accounts, KEYS, store.clock),
                accounts=accounts,
                tokens=FormTokens(KEYS),
                notices=Notices(KEYS),
                is_https=True,
            ),
            pictures=Pictures(studio.services.images, studio.services.decoder, ThumbnailCache(folder / "thumbnails")),
            addresses=addresses,
            readiness=ReadinessCache(lambda: {}),
            renderer=renderer,
            downloads=DownloadSender(studio.services.database, studio.services.download_files),
            services=lambda: studio.services,
            clone_study=clone,
            limits=FormLimits(audit_size=3, most_images=100_000),
            background=background,
            reproductions=Reproductions(background, partial(render_again, studio.services)),
        )
    )
    app.register_blueprint(pages)
    return app


@pytest.fixture
def browser_in(
    in_state: Callable[[StudyState, Path], Prepared],  # noqa: F811
    tmp_path: Path,
) -> Iterator[Callable[[StudyState], Browser]]:
    """Returns a function that makes a browser without a log-in, on a studio whose study is in that state."""
    opened: list[FakeStudio] = []

    def browser_in(state: StudyState) -> Browser:
        studio, study = in_state(state, tmp_path)
        opened.append(studio)
        accounts, store = FakeAccounts(), Expiring()
        studio.client.people |= {id_: email for email, id_ in accounts.people.items()}
        client = app_of(studio, tmp_path, accounts, store).test_client()
        client.environ_base["wsgi.url_scheme"] = "https"  # the cookies are sent by https alone
        return Browser(client=client, studio=studio, study=study, accounts=accounts, store=store)

    yield browser_in
    for studio in opened:
        studio.services.database.close()


@pytest.fixture
def stranger(browser_in: Callable[[StudyState], Browser]) -> Browser:
    """A browser in which nobody has logged in; the study's first round waits for verdicts."""
    return browser_in(StudyState.REVIEWING)


@pytest.fixture
def browser(stranger: Browser) -> Browser:
    """A browser in which Ann has logged in."""
    assert stranger.log_in().status_code == 303
    return stranger
