"""The commands of ``datagen notify``: what they print and return, and that no secret is printed twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from typer.testing import CliRunner, Result

from datagen.cli import console, notifying
from datagen.domain.lifecycle import StudyState
from datagen.errors import DeliveryFailed
from datagen.store.tables.notifications import RecipientRow
from fake_studio import FakeStudio
from fake_studio_fixtures import Prepared, _engines, copy_of_made, in_state  # noqa: F401 - fixtures
from recorded_channels import HOOK, RecordedChannels, Sent, record_notifications
from studio import Study


class _Settings:
    def check_database_exists(self) -> None:
        """Accept: the database exists."""


@pytest.fixture
def prepared(
    in_state: Callable[[StudyState, Path], Prepared],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Prepared]:
    studio, study = in_state(StudyState.COLLECTING, tmp_path)
    record_notifications(studio)
    monkeypatch.setattr(notifying, "services", lambda: studio.services)
    monkeypatch.setattr(console, "settings", _Settings)
    yield studio, study
    studio.close()


@pytest.fixture
def studio(prepared: Prepared) -> FakeStudio:
    return prepared[0]


@pytest.fixture
def study(prepared: Prepared) -> Study:
    return prepared[1]


def run(*words: str, given: str = "") -> Result:
    return CliRunner().invoke(notifying.app, [*words], input=given)


def as_json(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def channels_of(studio: FakeStudio) -> RecordedChannels:
    assert isinstance(studio.services.channels, RecordedChannels)
    return studio.services.channels


def test_recipient_is_added_listed_and_removed(studio: FakeStudio, study: Study) -> None:
    added = as_json(run("add", study.name, HOOK, "--person", "ann", "--event", "run.done", "--json"))
    assert added["secret"].startswith("whsec_")
    listed = as_json(run("list", study.name, "--json"))["recipients"]
    assert listed == [
        {
            "id": added["id"],
            "person": "ann",
            "channel": "webhook",
            "address": "https://hooks.example.org/…",
            "events": ["run.done"],
        }
    ]
    assert run("remove", study.name, str(added["id"])).exit_code == 0
    assert "nobody is notified" in run("list", study.name).stdout


def test_address_can_be_given_on_standard_input_and_is_not_repeated(studio: FakeStudio, study: Study) -> None:
    result = run("add", study.name, given=f"{HOOK}\n")
    assert result.exit_code == 0, result.output
    with studio.rows() as session:
        row = session.scalars(select(RecipientRow)).one()
    assert row.address == HOOK
    assert row.secret in result.stdout
    for printed in (result.stdout, run("list", study.name).stdout, run("deliveries", study.name).stdout):
        assert "secret-path" not in printed
        assert "secret-key" not in printed


def test_test_says_how_the_receiver_answered_and_fails_if_it_refused(studio: FakeStudio, study: Study) -> None:
    number = str(as_json(run("add", study.name, HOOK, "--json"))["id"])
    accepted = run("test", study.name, number)
    assert (accepted.exit_code, accepted.stdout) == (0, "https://hooks.example.org/…: answered with 204\n")

    def refuse(_sent: Sent) -> str:
        raise DeliveryFailed("the receiver answered with 500")

    channels_of(studio).answer = refuse
    refused = run("test", study.name, number)
    assert (refused.exit_code, "answered with 500" in refused.stdout) == (1, True)
    assert run("test", study.name, "99").exit_code == 1


def test_deliveries_are_listed_and_sent_again(studio: FakeStudio, study: Study) -> None:
    number = str(as_json(run("add", study.name, HOOK, "--json"))["id"])
    run("test", study.name, number)
    [delivery] = as_json(run("deliveries", study.name, "--json"))["deliveries"]
    assert (delivery["event"], delivery["state"], delivery["attempts"][0]["accepted"]) == ("test", "done", True)
    assert run("redeliver", str(delivery["id"])).exit_code == 0
    studio.settle()
    assert [sent.message.id for sent in channels_of(studio).sent] == [delivery["message"]] * 2
    assert "done after 2 attempts" in " ".join(run("deliveries", study.name).stdout.split())
    assert run("redeliver", "99").exit_code == 1


@pytest.mark.parametrize("command", [("add", "no such study", HOOK), ("list", "no such study"), ("test", "none", "1")])
def test_unknown_study_is_an_error_with_the_names(studio: FakeStudio, study: Study, command: tuple[str, ...]) -> None:
    result = run(*command)
    assert result.exit_code == 1
    assert "there is no study named" in result.output


def test_refused_address_is_an_error_with_its_reason(studio: FakeStudio, study: Study) -> None:
    result = run("add", study.name, "http://10.0.0.1/secret-path")
    assert result.exit_code == 1
    assert "is not on the internet" in result.output
    assert "secret-path" not in result.output
