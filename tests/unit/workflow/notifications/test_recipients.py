"""Recipients of notifications: which addresses are accepted, and that nothing secret of them is shown."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from datagen.errors import Refused
from datagen.store.tables.installation import AuditRow
from datagen.store.tables.notifications import RecipientRow
from datagen.workflow.notifications.recipients import MAX_RECIPIENTS, add_recipient, recipients_of, remove_recipient
from fake_studio import FakeStudio
from recorded_channels import HOOK, RecordedChannels, record_notifications
from studio import Study


@pytest.fixture(autouse=True)
def channels(studio: FakeStudio) -> RecordedChannels:
    return record_notifications(studio)


def add(study: Study, address: str, *events: str, person: str = "ann@example.org") -> RecipientRow:
    return add_recipient(study.studio.services, study.id, address, person=person, events=events, who="ann")


def test_recipients_of_a_study_are_its_own_and_masked(studio: FakeStudio, study: Study) -> None:
    hook, mail = add(study, HOOK), add(study, "ann@example.org", "run.done")
    with studio.rows() as session:
        assert [row.id for row in recipients_of(session, study.id)] == [hook.id, mail.id]
        assert recipients_of(session, study.id + 1) == []
    assert (hook.shown, mail.shown) == ("https://hooks.example.org/…", "a…@example.org")
    assert hook.secret.startswith("whsec_")
    assert mail.secret == ""
    assert mail.events == ["run.done"]
    assert len(hook.events) == 8


def test_audit_names_who_added_and_removed_without_a_secret(studio: FakeStudio, study: Study) -> None:
    hook = add(study, HOOK)
    remove_recipient(studio.services, study.id, hook.id, who="bo")
    with studio.rows() as session:
        lines = [(row.who, row.what) for row in session.scalars(select(AuditRow)) if "notifications" in row.what]
    assert [who for who, _ in lines] == ["ann", "bo"]
    assert all("secret" not in action and "hooks.example.org" in action for _, action in lines)


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("", "is empty"),
        ("ann", "no e-mail address"),
        ("ann@example.org,bo@example.org", "no e-mail address"),
        ("ann@example.org\nBcc: eve@example.org", "spaces or letters"),
        ("Ann <ann@example.org>", "spaces or letters"),
        (f"ann@{'a' * 60}.{'b' * 60}.{'c' * 60}.{'d' * 80}", "no e-mail address"),
        ("https://", "names no host"),
        ("https://[::1", "no complete address"),
        ("https://example.org:99999/", "no complete address"),
        ("https://" + "a" * 1000, "more than 1,000"),
        ("http://127.0.0.1:8080/admin", "not on the internet"),
        ("http://[::ffff:10.0.0.1]/", "not on the internet"),
        ("http://localhost/", "not on the internet"),
        ("http://169.254.169.254/latest/meta-data", "not on the internet"),
        ("ftp://example.org/", "no service"),
        ("file:///etc/passwd", "no service"),
        ("json://127.0.0.1/", "no service"),
        ("syslog://", "no service"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ?template=/etc/passwd", "option 'template'"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#a?t%65mplate=/etc/passwd", "option 'template'"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ?to=a;verify=no", "option 'verify'"),
        ("https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ?rto=9999", "option 'rto'"),
    ],
)
def test_address_that_is_not_safe_or_not_whole_is_refused(study: Study, address: str, problem: str) -> None:
    with pytest.raises(Refused, match=problem):
        add(study, address)


def test_refusal_does_not_repeat_a_secret(study: Study) -> None:
    for address in (
        "nothing://token-of-a-service/x",
        "slack://token-of-a-service",
        "https://u:token-of-a-service@::1/",
    ):
        with pytest.raises(Refused) as refusal:
            add(study, address)
        assert "token-of-a-service" not in str(refusal.value)


def test_same_address_twice_is_refused(study: Study) -> None:
    add(study, HOOK)
    with pytest.raises(Refused, match="recipient already"):
        add(study, HOOK, "run.done")


def test_number_of_recipients_is_bounded(study: Study) -> None:
    for number in range(MAX_RECIPIENTS):
        add(study, f"{HOOK}&n={number}")
    with pytest.raises(Refused, match="has 50 recipients"):
        add(study, HOOK)


def test_unknown_event_and_nobody_are_refused(study: Study) -> None:
    with pytest.raises(Refused, match=r"no event 'run.done '; there are: round\.ready"):
        add(study, HOOK, "run.done ")
    with pytest.raises(Refused, match="name of who is notified"):
        add(study, HOOK, person=" \u200b ")
    with pytest.raises(Refused, match="no event 'test'"):
        add(study, HOOK, "test")


def test_removing_twice_or_of_another_study_is_refused(studio: FakeStudio, study: Study) -> None:
    hook = add(study, HOOK)
    other = studio.open_study(inputs=False)
    with pytest.raises(Refused, match="no recipient"):
        remove_recipient(studio.services, other.id, hook.id, who="ann")
    remove_recipient(studio.services, study.id, hook.id, who="ann")
    with pytest.raises(Refused, match="may have been removed"):
        remove_recipient(studio.services, study.id, hook.id, who="ann")


def test_slack_addresses_of_both_kinds_are_services(study: Study) -> None:
    tokens = "T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
    for address in (f"slack://{tokens}/#alerts", f"https://hooks.slack.com/services/{tokens}"):
        row = add(study, address)
        assert (str(row.channel), row.shown, row.secret) == ("service", "Slack", "")
