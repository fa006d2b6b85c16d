"""Files of models that anyone may have written are read within limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from datagen.synthesis.model_files import json_files
from datagen.synthesis.model_files.json_files import json_object
from datagen.synthesis.model_files.safetensors_header import Broken, read_contents


def safetensors(path: Path, header: bytes) -> Path:
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    return path


def with_shape(path: Path, shape: Any) -> Path:
    return safetensors(path, json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 8]}}).encode())


def test_numbers_of_a_header_are_counted(tmp_path: Path) -> None:
    assert read_contents(with_shape(tmp_path / "a", [2, 1])).numbers == 2
    assert read_contents(with_shape(tmp_path / "a", [])).numbers == 1


@pytest.mark.parametrize("shape", [[-1, 2], [10**300], [2] * 17, [1.5], "22", 7], ids=str)
def test_header_with_a_shape_of_no_tensor_is_broken(tmp_path: Path, shape: Any) -> None:
    with pytest.raises(Broken, match="has a header that cannot be read; download it again"):
        read_contents(with_shape(tmp_path / "a", shape))


def test_endlessly_nested_header_is_broken(tmp_path: Path) -> None:
    with pytest.raises(Broken, match="has a header that cannot be read"):
        read_contents(safetensors(tmp_path / "a", b"[" * 100_000))


def test_configuration_that_is_nested_endlessly_or_too_large_is_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.json"
    file.write_text("[" * 100_000)
    assert json_object(file) is None
    file.write_text('{"a": 1}')
    assert json_object(file) == {"a": 1}
    monkeypatch.setattr(json_files, "_MAX_BYTES", 7)
    assert json_object(file) is None
