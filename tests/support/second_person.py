"""Other users of Label Studio, besides the test suite's own, and their memberships of organizations."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import httpx

from datagen.label_studio.api.client import LabelStudio
from stage.label_studio_server import LabelStudio as Server


def sign_up(server: Server) -> Server:
    """Sign up a new user in the suite's organization; return the server with this user's log-in and token."""
    email, password = f"{uuid.uuid4().hex[:12]}@example.com", secrets.token_urlsafe(12)
    with httpx.Client(
        base_url=server.url, follow_redirects=True, timeout=60, headers={"Referer": server.url}
    ) as browser:
        browser.get("/user/signup/").raise_for_status()
        entry = {"email": email, "password": password, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        browser.post("/user/signup/", data=entry).raise_for_status()
        token = browser.get("/api/current-user/token").raise_for_status().json()["token"]
    kept = server.kept_token.with_name(f"personal_token-{email}")
    return replace(server, email=email, password=password, token=token, kept_token=kept)


@contextmanager
def second_person(server: Server) -> Iterator[LabelStudio]:
    """Sign up a new user in the suite's organization, and yield an API client of this user."""
    client = LabelStudio(server.url, sign_up(server).token)
    yield client
    client.close()


def remove_member(server: Server, person: Server) -> None:
    """Remove a person from the suite's organization, as its owner does."""
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Token {server.token}"}, timeout=60) as owner:
        organization = owner.get("/api/current-user/whoami").raise_for_status().json()["active_organization"]
        owner.delete(f"/api/organizations/{organization}/memberships/{_id_of(person)}/").raise_for_status()


def work_elsewhere(server: Server, person: Server) -> None:
    """Make a person a member of a new organization first, and of the suite's own second.

    Label Studio shows this person the projects of the new organization from the next log-in on. Only Django's
    administration makes organizations.
    """
    person_id = _id_of(person)
    with closing(server.session()) as administrator:
        own = administrator.get("/api/current-user/whoami").raise_for_status().json()["active_organization"]
        _fill_in(administrator, "organization/add/", title=f"Elsewhere {person_id}", created_by=person_id)
        page = administrator.get("/admin/organizations/organization/").raise_for_status().text
        elsewhere = max(int(number) for number in re.findall(r"/organization/(\d+)/change/", page))
        members = administrator.get("/admin/organizations/organizationmember/", params={"q": person.email})
        (membership,) = {*re.findall(r"/organizationmember/(\d+)/change/", members.raise_for_status().text)}
        _fill_in(administrator, f"organizationmember/{membership}/change/", user=person_id, organization=elsewhere)
        _fill_in(administrator, "organizationmember/add/", user=person_id, organization=own)


def _id_of(person: Server) -> int:
    with closing(person.session()) as browser:
        return int(browser.get("/api/current-user/whoami").raise_for_status().json()["id"])


def _fill_in(administrator: httpx.Client, form: str, **fields: object) -> None:
    """Send a form of Django's administration of organizations; it answers with a redirect if it takes the values."""
    token = administrator.cookies["csrftoken"]
    answer = administrator.post(
        f"/admin/organizations/{form}", data={"csrfmiddlewaretoken": token, **fields}, follow_redirects=False
    )
    assert answer.is_redirect, answer.text[-2000:]
