"""Accounts of a real Label Studio: log-in by password and by both kinds of token, and removed members."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from datagen.errors import LabelStudioUnavailable, Refused
from datagen.label_studio.api.accounts import LOG_IN_REFUSED, NO_MEMBER, REFUSED_CREDENTIAL, Accounts
from datagen.label_studio.api.client import LabelStudio
from second_person import remove_member, sign_up, work_elsewhere
from stage.label_studio_server import LabelStudio as Server
from stage.ports import free_port

pytestmark = pytest.mark.integration


@pytest.fixture
def accounts(label_studio: Server) -> Iterator[Accounts]:
    accounts_of_server = Accounts(label_studio.url, lambda: label_studio.token)
    yield accounts_of_server
    accounts_of_server.close()


def test_password_and_both_kinds_of_token_give_the_same_account(accounts: Accounts, label_studio: Server) -> None:
    by_password = accounts.by_password(label_studio.email, label_studio.password, [1])
    assert by_password.email == label_studio.email
    assert by_password.project_ids is None  # a member of the organization, in the community edition
    assert accounts.by_token(label_studio.token, [1]) == by_password
    assert accounts.by_token(label_studio.personal_token(), [1]) == by_password


def test_another_member_of_the_organization_is_another_account(accounts: Accounts, label_studio: Server) -> None:
    other = sign_up(label_studio)
    account = accounts.by_password(other.email, other.password, [])
    assert (account.email, account.project_ids) == (other.email, None)
    assert accounts.by_token(other.token, []) == account
    assert accounts.is_member(account)


def test_a_removed_member_is_no_member(accounts: Accounts, label_studio: Server) -> None:
    other = sign_up(label_studio)
    account = accounts.by_token(other.token, [])
    remove_member(label_studio, other)
    assert not accounts.is_member(account)


def test_a_removed_member_is_not_let_in_again(accounts: Accounts, label_studio: Server) -> None:
    """Label Studio accepts such a password, and lists the projects of the organization for its account from then on."""
    other = sign_up(label_studio)
    remove_member(label_studio, other)
    for _ in range(2):
        with pytest.raises(Refused) as by_token:
            accounts.by_token(other.token, [1])
        with pytest.raises(Refused) as by_password:
            accounts.by_password(other.email, other.password, [1])
        assert str(by_token.value) == str(by_password.value) == NO_MEMBER


def test_a_member_who_works_in_another_organization_sees_none_of_the_projects(
    accounts: Accounts, label_studio: Server
) -> None:
    other = sign_up(label_studio)
    work_elsewhere(label_studio, other)
    with closing(LabelStudio(label_studio.url, label_studio.token)) as client:
        project = client.create_project("Not for everybody", {})
        assert accounts.by_password(other.email, other.password, [project.id]).project_ids == frozenset()
        client.delete_project(project.id)


@pytest.mark.parametrize(
    ("email", "password"), [(None, "wrong"), ("nobody@example.com", "x"), ("no address", ""), ("", "")]
)
def test_a_wrong_password_is_refused(
    accounts: Accounts, label_studio: Server, email: str | None, password: str
) -> None:
    with pytest.raises(Refused) as refusal:
        accounts.by_password(label_studio.email if email is None else email, password, [])
    assert str(refusal.value) == LOG_IN_REFUSED


@pytest.mark.parametrize("token", ["", "wrong", "é", "0" * 40, "a.b.c", "eyJhbGciOiJIUzI1NiJ9.e30.x"])
def test_a_wrong_token_is_refused_without_being_repeated(accounts: Accounts, token: str) -> None:
    with pytest.raises(Refused) as refusal:
        accounts.by_token(token, [])
    assert str(refusal.value) == REFUSED_CREDENTIAL


def test_no_label_studio_is_no_refusal(label_studio: Server) -> None:
    accounts = Accounts(f"http://127.0.0.1:{free_port()}", lambda: label_studio.token)
    with pytest.raises(LabelStudioUnavailable):
        accounts.by_password(label_studio.email, label_studio.password, [])
    with pytest.raises(LabelStudioUnavailable):
        accounts.by_token(label_studio.token, [])
