"""Artifacts in the data folder: an unwritable folder is reported, and a check creates nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from datagen.errors import EngineError
from datagen.synthesis.diffusion.runtime.artifact_cache import folder_problems, is_whole, kept_in, losses_of
from datagen.synthesis.engine import EngineSettings, check_engine


def test_a_folder_that_is_not_there_yet_is_no_problem_and_is_not_made(tmp_path):
    assert folder_problems(tmp_path / "data" / "diffusion") == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "diffusion", "data/diffusion"])
def test_a_folder_that_is_a_file_or_lies_below_one_is_said(tmp_path, below):
    (tmp_path / "file").touch()
    [message] = folder_problems(tmp_path / "file" / below)
    assert "(Not a directory); name another data folder" in message


def test_a_folder_without_room_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.TemporaryFile", lambda dir: Path("/dev/full").open("wb"))  # noqa: SIM115
    [message] = folder_problems(tmp_path)
    assert f"{tmp_path} (No space left on device)" in message


def test_the_engine_is_asked_about_its_folder_in_the_data_folder_too(tmp_path):
    (tmp_path / "file").touch()
    message = check_engine("diffusion", {}, EngineSettings(folder=tmp_path / "file"))
    assert any(
        f"{tmp_path / 'file' / 'diffusion'} (Not a directory); name another data folder" in sentence
        for sentence in message
    )
    message = check_engine("diffusion", {}, EngineSettings(folder=tmp_path))
    assert not any("data folder" in sentence for sentence in message)


def test_what_cannot_be_written_is_an_error_of_ours(tmp_path):
    with pytest.raises(EngineError, match=r"\(No such file or directory\); name another"), kept_in(tmp_path):
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
