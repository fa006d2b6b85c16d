"""The third-party files of the pages: by hashes, without addresses, and fetched only if they are missing."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from datagen.web.pages.static_files import VIEWER, StaticFiles
from stage.layout import ROOT

HERE = ROOT / "scripts" / "third_party"
LOCK = (HERE / "package-lock.json").read_text()


@pytest.fixture
def fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with folders of this test to put files into."""
    spec = importlib.util.spec_from_file_location("third_party_fetch", HERE / "fetch.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "FOLDERS", {"pages": tmp_path / "static" / "third_party", "tests": tmp_path / "tests"})
    return module


@pytest.fixture
def registry(fetch: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Path]]:
    """Returns a function that lets npm install files with that content, and returns the list of its calls."""

    def registry(content: bytes = b"content", listed: bytes | None = None) -> list[Path]:
        calls: list[Path] = []
        digest = hashlib.sha256(content if listed is None else listed).hexdigest()
        entries = json.loads((HERE / "files.json").read_text())
        groups = {name: [{**entry, "sha256": digest} for entry in group] for name, group in entries.items()}
        (fetch.FOLDERS["tests"].parent / "files.json").write_text(json.dumps(groups))
        for name in ("package.json", "package-lock.json"):
            (fetch.FOLDERS["tests"].parent / name).write_text((HERE / name).read_text())
        monkeypatch.setattr(fetch, "HERE", fetch.FOLDERS["tests"].parent)

        def install(folder: Path, *, with_tests: bool) -> None:
            calls.append(folder)
            for file in fetch.files(["pages", "tests"] if with_tests else ["pages"]):
                path = folder / "node_modules" / file.package / file.path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)

        monkeypatch.setattr(fetch, "_install", install)
        return calls

    return registry


def test_the_lock_has_an_integrity_hash_for_each_package_and_no_address() -> None:
    packages = {name: entry for name, entry in json.loads(LOCK)["packages"].items() if name}
    assert packages
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
    assert not re.search(r"://|resolved", LOCK)
    wanted = json.loads((HERE / "package.json").read_text())
    versions = wanted["dependencies"] | wanted["devDependencies"]
    assert versions == {name.removeprefix("node_modules/"): entry["version"] for name, entry in packages.items()}


def test_nothing_is_fetched_if_every_file_is_there(fetch: ModuleType, registry: Callable[..., list[Path]]) -> None:
    calls = registry()
    assert fetch.ensure(["pages", "tests"])
    assert not fetch.ensure(["pages", "tests"])
    assert len(calls) == 1
    changed = fetch.files(["pages"])[0].target
    changed.write_bytes(b"something else")
    assert fetch.ensure(["pages"])
    assert changed.read_bytes() == b"content"


def test_files_of_the_tests_are_fetched_for_tests_alone(fetch: ModuleType, registry: Callable[..., list[Path]]) -> None:
    registry()
    fetch.ensure()
    assert {path.name for path in fetch.FOLDERS["pages"].iterdir()} >= {*VIEWER, fetch.PACKAGES}
    assert not fetch.FOLDERS["tests"].exists()


def test_a_file_that_is_not_the_listed_one_is_refused_by_name(
    fetch: ModuleType, registry: Callable[..., list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    registry(b"tampered", listed=b"as it was looked at")
    assert fetch.main([]) == 1
    assert re.search(r"dist/photoswipe\.esm\.min\.js of photoswipe has the SHA-256", capsys.readouterr().err)
    assert not any(path.name in VIEWER for path in fetch.FOLDERS["pages"].glob("*"))


def test_pages_know_the_viewer_and_its_licence_once_they_are_fetched(
    fetch: ModuleType, registry: Callable[..., list[Path]]
) -> None:
    static = fetch.FOLDERS["pages"].parent
    static.mkdir()
    before = StaticFiles(static)
    assert (before.has_viewer, before.packages) == (False, ())
    registry(b"licence")
    fetch.ensure()
    after = StaticFiles(static)
    assert after.has_viewer
    assert [(package.name, package.licence, package.text) for package in after.packages] == [
        ("photoswipe", "MIT", "licence")
    ]
