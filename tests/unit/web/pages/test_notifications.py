"""The page of notifications: recipients without their secrets, forms that add, test and remove them, and the log."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from sqlalchemy import select

from datagen.errors import DeliveryFailed
from datagen.queue.jobs import NOTIFICATIONS
from datagen.store.tables.notifications import DeliveryRow, RecipientRow
from datagen.store.tables.studies import StudyRow
from recorded_channels import HOOK, RecordedChannels, Sent, record_notifications


@pytest.fixture
def channels(browser: Any) -> RecordedChannels:
    return record_notifications(browser.studio)


def page_of(browser: Any) -> str:
    return f"/studio/studies/{browser.study.id}/notifications"


def add(browser: Any, address: str = HOOK, **form: Any) -> None:
    browser.act(f"{page_of(browser)}/add", page_of(browser), address=address, **form)


def only(browser: Any, table: Any) -> Any:
    with browser.studio.rows() as session:
        return session.scalars(select(table)).one()


def test_added_recipient_is_the_persons_own_and_its_secret_is_shown_once(
    browser: Any, channels: RecordedChannels
) -> None:
    assert "There is no recipient yet" in browser.page(page_of(browser))
    add(browser, event=["run.done", "run.failed"])
    row = only(browser, RecipientRow)
    assert (row.person, row.added_by, row.events) == ("ann@example.com", "ann@example.com", ["run.done", "run.failed"])
    first, second = browser.page(page_of(browser)), browser.page(page_of(browser))
    assert row.secret in unescape(first)
    assert row.secret not in unescape(second)
    assert "https://hooks.example.org/…" in second
    assert "secret-path" not in first + second
    assert "a run is finished<br>a run failed" in second


def test_refused_address_is_answered_with_its_reason(browser: Any, channels: RecordedChannels) -> None:
    add(browser, "http://127.0.0.1/")
    assert "is not on the internet" in browser.page(page_of(browser))
    with browser.studio.rows() as session:
        assert session.scalars(select(RecipientRow)).all() == []


def test_test_button_sends_and_the_log_shows_outcome_and_redelivery(browser: Any, channels: RecordedChannels) -> None:
    add(browser)
    recipient = only(browser, RecipientRow)

    def refuse(_sent: Sent) -> str:
        raise DeliveryFailed("the receiver answered with 503")

    channels.answer = refuse
    browser.act(f"{page_of(browser)}/{recipient.id}/test", page_of(browser))
    assert "none yet" in browser.page(page_of(browser))
    browser.studio.settle()
    page = browser.page(page_of(browser))
    assert "the receiver answered with 503" in page
    assert "given up" in page
    channels.answer = lambda _sent: "answered with 204"
    [again] = re.findall(r'action="([^"]+/redeliver)"', page)
    browser.act(again, page_of(browser))
    browser.studio.settle()
    assert "delivered" in browser.page(page_of(browser))
    assert len({sent.message.id for sent in channels.sent}) == 1


def test_removed_recipient_is_gone_and_its_deliveries_remain(browser: Any, channels: RecordedChannels) -> None:
    add(browser, "bo@example.org", person="Bo 🦠")
    recipient = only(browser, RecipientRow)
    browser.act(f"{page_of(browser)}/{recipient.id}/test", page_of(browser))
    browser.studio.settle()
    browser.act(f"{page_of(browser)}/{recipient.id}/remove", page_of(browser))
    page = browser.page(page_of(browser))
    assert "There is no recipient yet" in page
    assert "Bo 🦠" in page
    assert "/redeliver" not in page
    browser.act(f"{page_of(browser)}/{recipient.id}/test", page_of(browser))
    assert "may have been removed" in browser.page(page_of(browser))


def test_delivery_of_another_study_is_not_sent_again(browser: Any, channels: RecordedChannels) -> None:
    add(browser)
    recipient = only(browser, RecipientRow)
    browser.act(f"{page_of(browser)}/{recipient.id}/test", page_of(browser))
    browser.studio.settle()
    other = browser.studio.open_study(inputs=False)
    delivery = only(browser, DeliveryRow)
    elsewhere = f"/studio/studies/{other.id}/notifications"
    browser.act(f"{elsewhere}/deliveries/{delivery.id}/redeliver", elsewhere)
    browser.act(f"{elsewhere}/{recipient.id}/remove", elsewhere)
    browser.studio.settle()
    assert len(channels.sent) == 1
    assert only(browser, RecipientRow).removed_at is None


def test_page_of_a_study_of_hidden_projects_is_not_there(browser: Any, channels: RecordedChannels) -> None:
    add(browser)
    browser.accounts.restricted["bo@example.com"] = frozenset()
    browser.client.delete_cookie("datagen_session", path="/studio")
    browser.log_in("bo@example.com")
    assert browser.get(page_of(browser)).status_code == 404


def test_names_of_any_letters_are_shown_escaped(browser: Any, channels: RecordedChannels) -> None:
    with browser.studio.services.database.write() as session:
        session.get_one(StudyRow, browser.study.id).name = "خدش <b>🦠</b>"
    add(browser, person="<i>עומר</i>")
    page = browser.page(page_of(browser))
    assert "خدش &lt;b&gt;🦠" in page
    assert "&lt;i&gt;עומר" in page


def test_long_log_has_pages(browser: Any, channels: RecordedChannels) -> None:
    add(browser)
    recipient = only(browser, RecipientRow)
    for _ in range(31):
        browser.act(f"{page_of(browser)}/{recipient.id}/test", page_of(browser))
        browser.studio.work(NOTIFICATIONS)
    page = browser.page(page_of(browser))
    assert page.count("/redeliver") == 30
    [older] = re.findall(r'rel="next" href="([^"]+)"', page)
    assert browser.page(unescape(older)).count("/redeliver") == 1
