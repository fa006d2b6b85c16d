"""Tests of the client alone against a real Label Studio: page sizes, portions, and the personal access token.

What the in-memory fake does too is in ``port_contract``.
"""

from __future__ import annotations

from contextlib import closing

import httpx
import pytest

from datagen.label_studio.api.client import LabelStudio
from datagen.label_studio.api.models import Project
from stage.label_studio_server import LabelStudio as Server

pytestmark = pytest.mark.integration


def drafts(count: int) -> list[dict[str, object]]:
    return [{"data": {"image": "/x.png", "datagen_key": f"b-{n}", "batch": "b"}} for n in range(count)]


def test_version_is_the_release_of_the_running_server(client: LabelStudio, label_studio: Server) -> None:
    packages = httpx.get(f"{label_studio.url}/api/version").json()
    assert client.version() == packages["label-studio-os-package"]["version"]


def test_imported_tasks_are_listed_once_each_in_order_whatever_the_page(client: LabelStudio, project: Project) -> None:
    ids = client.import_tasks(project.id, drafts(25))
    for page_size in (7, 25, 100):
        assert [task.id for task in client.tasks(project.id, page_size=page_size)] == ids


def test_more_ids_than_an_address_may_hold_are_asked_for_in_portions(client: LabelStudio, project: Project) -> None:
    """A web server refuses an address of more than 8 to 64 KB. A bulk action may name more ids than fit."""
    ids = client.import_tasks(project.id, drafts(3))
    gone = range(10**9, 10**9 + 7000)
    assert [task.id for task in client.tasks(project.id, ids=[*gone, *ids])] == ids


def test_uploads_beyond_one_request_come_back_in_order(client: LabelStudio, project: Project) -> None:
    files = [(f"file {n}.png", b"\x89PNG" + bytes([n])) for n in range(103)]
    paths = client.upload(project.id, files)
    assert len(set(paths)) == 103
    assert [client.fetch(paths[n], max_bytes=10) for n in (0, 57, 100, 102)] == [files[n][1] for n in (0, 57, 100, 102)]
    assert list(client.tasks(project.id)) == []


def test_everything_works_with_a_personal_access_token_too(label_studio: Server, study_name: str) -> None:
    with closing(LabelStudio(label_studio.url, label_studio.personal_token())) as client:
        project = client.create_project(f"{study_name} pat", {})
        (id_,) = client.import_tasks(project.id, drafts(1))
        (path,) = client.upload(project.id, [("a.png", b"bytes")])
        assert client.task(id_, project.id).data["batch"] == "b"
        assert client.fetch(path, max_bytes=10) == b"bytes"
