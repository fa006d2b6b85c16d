"""A second user of Label Studio, besides the test suite's own."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from datagen.label_studio.api.client import LabelStudio
from stage.label_studio_server import LabelStudio as Server


@contextmanager
def second_person(server: Server) -> Iterator[LabelStudio]:
    """Sign up a new user in the suite's organization, and yield an API client of this user."""
    with httpx.Client(
        base_url=server.url, follow_redirects=True, timeout=60, headers={"Referer": server.url}
    ) as browser:
        browser.get("/user/signup/").raise_for_status()
        entry = {
            "email": f"{uuid.uuid4().hex[:12]}@example.com",
            "password": secrets.token_urlsafe(12),
            "csrfmiddlewaretoken": browser.cookies["csrftoken"],
        }
        browser.post("/user/signup/", data=entry).raise_for_status()
        token = browser.get("/api/current-user/token").raise_for_status().json()["token"]
    client = LabelStudio(server.url, token)
    yield client
    client.close()
