"""The command ``push``: one target, and what it says at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from datagen.cli import exporting, pushing
from datagen.workflow.studies import push


@pytest.fixture(autouse=True)
def _no_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushing, "services", lambda: None)
    monkeypatch.setattr(
        pushing, "settings", lambda: SimpleNamespace(label_studio_url="http://ls.test", image_link_days=30)
    )


@pytest.mark.parametrize("targets", [{}, {"project": 1, "new": "mine"}, {"new": "mine", "storage": "s3://tasks"}])
def test_push_has_exactly_one_target(targets: dict[str, Any]) -> None:
    with pytest.raises(typer.BadParameter, match="give one of --project, --new and --storage"):
        pushing.push("a study", **targets)


def pushed(samples: int, new: int) -> Callable[..., push.Pushed]:
    return lambda _services, _name, target, *_: push.Pushed(
        samples=samples, new=new, project_id=target if isinstance(target, int) else None
    )


def test_project_is_named_by_its_address(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(push, "create_target", lambda *_: 12)
    monkeypatch.setattr(push, "push_to_project", pushed(1_500, 3))
    pushing.push("a study", new="mine", images_at="s3://b/set")
    assert capsys.readouterr().out == "http://ls.test/projects/12/data: 1,500 images, 3 new\n"


def test_links_that_expire_are_named_with_the_command_that_renews_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(push, "push_to_project", pushed(1_500, 3))
    pushing.push("a study", project=12)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == (
        "Its image links expire after 30 days; to renew them, run: datagen mend-links 'a study' --project 12"
    )


def test_storage_is_named_with_its_new_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(push, "push_to_storage", pushed(1_500, 3))
    pushing.push("a study", storage="s3://tasks")
    assert capsys.readouterr().out == "s3://tasks: 1,500 images, 3 new files\n"


@pytest.mark.parametrize("files", [{"c2pa_cert": Path("a.pem")}, {"c2pa_key": Path("a.pem")}])
def test_certificate_and_key_belong_together(files: dict[str, Path]) -> None:
    with pytest.raises(typer.BadParameter, match="--c2pa-cert and --c2pa-key belong together"):
        exporting.export("a study", "set", **files)
