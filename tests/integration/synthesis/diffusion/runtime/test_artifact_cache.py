"""Artifacts in the data folder: an unwritable folder is reported, and a check creates nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from datagen.errors import EngineError
from datagen.synthesis.diffusion.engine import DiffusionEngine
from datagen.synthesis.diffusion.runtime.artifact_cache import folder_problems, is_whole, kept_in, losses_of


def test_a_folder_that_is_not_there_yet_is_no_problem_and_is_not_made(tmp_path):
    assert folder_problems(tmp_path / "data" / "diffusion") == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "diffusion", "data/diffusion"])
def test_a_folder_that_is_a_file_or_lies_below_one_is_said(tmp_path, below):
    (tmp_path / "file").touch()
    [said] = folder_problems(tmp_path / "file" / below)
    assert "(Not a directory); set DATAGEN_DATA_DIR" in said


def test_a_folder_without_room_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.TemporaryFile", lambda dir: Path("/dev/full").open("wb"))  # noqa: SIM115
    [said] = folder_problems(tmp_path)
    assert f"{tmp_path} (No space left on device)" in said


def test_the_engine_is_asked_about_the_data_folder_too(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DATAGEN_DATA_DIR", str(tmp_path / "file"))
    assert any("set DATAGEN_DATA_DIR to a folder" in said for said in DiffusionEngine().check({}))
    monkeypatch.setenv("DATAGEN_DATA_DIR", str(tmp_path))
    assert not any("DATAGEN_DATA_DIR" in said for said in DiffusionEngine().check({}))


def test_what_cannot_be_written_is_an_error_of_ours(tmp_path):
    with pytest.raises(EngineError, match=r"\(No such file or directory\); set DATAGEN_DATA_DIR"), kept_in(tmp_path):
        (tmp_path / "nowhere" / "file").write_text("")


@pytest.mark.parametrize("text", ["", "[0.1, 0.", "{}", '["a"]', "[]", "null"])
def test_losses_that_are_cut_off_count_as_none(tmp_path, text):
    file = tmp_path / "losses.json"
    assert losses_of(file) == []
    file.write_text(text)
    assert losses_of(file) == []
    file.write_text("[0.1, 2]")
    assert losses_of(file) == [0.1, 2]


def test_a_lora_that_is_missing_or_cut_off_is_not_whole(tmp_path, safetensors_file):
    assert not is_whole(tmp_path / "lora.safetensors")
    assert not is_whole(safetensors_file(tmp_path / "lora.safetensors", {"w": ("F32", [4])}, missing=1))
    assert is_whole(safetensors_file(tmp_path / "lora.safetensors", {"w": ("F32", [4])}))
