"""A second user of Label Studio, besides the test suite's own."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
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
