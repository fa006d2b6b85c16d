"""Fits that processes share: what is read back, when a fit is made anew, and how much is kept."""

from __future__ import annotations

import os
import pickletools
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from datagen.synthesis.composite import engine as composite
from datagen.synthesis.composite import fit_store
from datagen.synthesis.composite.engine import CompositeEngine
from datagen.synthesis.composite.fit_store import FitStore
from datagen.synthesis.engine import EngineSettings, FittedEngine, Rendered
from synthesis_studies import make_study

STUDY = make_study(concepts=4, canvases=4, backgrounds=4)


def fit(folder: Path, *, shares_fits: bool = True, **parameters: object) -> FittedEngine:
    """Fit with a new engine object, as another process does."""
    spec, shelf = STUDY
    engine = CompositeEngine(EngineSettings(folder=folder, shares_fits=shares_fits))
    return engine.fit(replace(spec, parameters=parameters), shelf, lambda _share, _step: None)  # type: ignore[arg-type]


def pixels(fitted: FittedEngine) -> list[tuple[bytes, bytes]]:
    samples: list[Rendered] = list(fitted.render(range(3)))
    return [(sample.image.tobytes(), sample.mask.tobytes()) for sample in samples]


@pytest.fixture
def fits_made(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """An element for each fit that was made, not read."""
    fits: list[None] = []
    original = composite.fit_models

    def fit_models(*args: object) -> object:
        fits.append(None)
        return original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(composite, "fit_models", fit_models)
    return fits


def test_fit_of_another_process_gives_the_same_samples_and_report(tmp_path: Path, fits_made: list[None]) -> None:
    first = fit(tmp_path)
    second = fit(tmp_path)
    assert len(fits_made) == 1
    assert pixels(second) == pixels(first)
    assert second.report == first.report


def test_parameters_that_only_drawing_reads_share_a_fit(tmp_path: Path, fits_made: list[None]) -> None:
    fit(tmp_path)
    fit(tmp_path, size_spread=0.7)
    assert len(fits_made) == 1
    fit(tmp_path, place_strictness=0.9)
    assert len(fits_made) == 2


def test_without_sharing_nothing_is_read_or_written(tmp_path: Path, fits_made: list[None]) -> None:
    fit(tmp_path, shares_fits=False)
    assert not list(tmp_path.iterdir())
    fit(tmp_path)
    fit(tmp_path, shares_fits=False)
    assert len(fits_made) == 3


@pytest.mark.parametrize("content", [b"", b"no pickle", b"\x80\x05cno_such_module\nname\n."])
def test_damaged_file_is_replaced(tmp_path: Path, fits_made: list[None], content: bytes) -> None:
    before = pixels(fit(tmp_path))
    (file,) = (tmp_path / "fits").iterdir()
    file.write_bytes(content)
    assert pixels(fit(tmp_path)) == before
    assert len(fits_made) == 2
    fit(tmp_path)
    assert len(fits_made) == 2


def test_fit_of_other_code_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FitStore(tmp_path)
    store.save("key", "a fit")
    assert store.load("key") == "a fit"
    monkeypatch.setattr(fit_store, "_code_digest", lambda: "other")
    assert store.load("key") is None


def test_files_are_closed_to_other_users(tmp_path: Path) -> None:
    FitStore(tmp_path / "fits").save("key", "a fit")
    (file,) = (tmp_path / "fits").iterdir()
    assert (file.stat().st_mode & 0o077, file.parent.stat().st_mode & 0o077) == (0, 0)


def test_least_recently_used_fits_are_removed(tmp_path: Path) -> None:
    store = FitStore(tmp_path, largest_total=3000)
    for number, key in enumerate("abc"):
        store.save(key, bytes(900))
        (path,) = tmp_path.glob(f"{key}-*")
        os.utime(path, (number, number))
    assert store.load("a") is not None  # used now, and so kept longer than b
    store.save("d", bytes(900))
    assert [store.load(key) is not None for key in "abcd"] == [True, False, True, True]


def test_fit_larger_than_all_may_be_is_not_kept(tmp_path: Path) -> None:
    store = FitStore(tmp_path, largest_total=1000)
    store.save("small", b"")
    store.save("large", bytes(2000))
    assert (store.load("small"), store.load("large")) == (b"", None)


def test_folder_that_cannot_be_written_keeps_nothing_and_fails_nothing(tmp_path: Path, fits_made: list[None]) -> None:
    (tmp_path / "fits").write_bytes(b"a file where the folder should be")
    fit(tmp_path)
    fit(tmp_path)
    assert len(fits_made) == 2


def test_code_of_every_type_in_a_fit_is_part_of_its_name(tmp_path: Path) -> None:
    """A dataclass with other fields than when it was written is read without an error, with values in wrong fields."""
    fit(tmp_path)
    (file,) = (tmp_path / "fits").iterdir()
    texts = {text for _, text, _ in pickletools.genops(file.read_bytes()) if isinstance(text, str)}
    modules = {text for text in texts if re.fullmatch(r"datagen(\.[a-z_0-9]+)+", text)}
    assert any(name.startswith("datagen.domain") for name in modules)
    files = [Path(str(sys.modules[name].__file__)) for name in modules]
    assert [each for each in files if not any(each.is_relative_to(folder) for folder in fit_store.SOURCES)] == []


def test_drafts_of_killed_processes_are_removed_and_those_of_others_are_left(tmp_path: Path) -> None:
    store = FitStore(tmp_path)
    store.save("key", "a fit")
    left, written = tmp_path / ".left.part", tmp_path / ".written.part"
    for draft in (left, written):
        draft.write_bytes(b"half a fit")
    os.utime(left, (1, 1))
    store.save("other", "a fit")
    assert (left.exists(), written.exists()) == (False, True)
