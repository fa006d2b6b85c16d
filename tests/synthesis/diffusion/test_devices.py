"""Seeing GPUs without torch: what nvidia-smi says, and CUDA_VISIBLE_DEVICES."""

from __future__ import annotations

import pytest

from datagen.synthesis.diffusion.devices import cuda_devices, find_device

TWO = "NVIDIA H200, 143771, 9.0, GPU-aaa\nTesla T4, 15360, 7.5, GPU-bbb"


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A program named nvidia-smi that prints what it is told."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(output, code=0):
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{output}\nEND\nexit {code}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return install


def test_gpus_are_seen_with_name_memory_and_capability(driver):
    driver(TWO)
    assert [(d.name, d.memory, d.capability) for d in cuda_devices()] == [
        ("NVIDIA H200", 143771 * 2**20, 9.0),
        ("Tesla T4", 15360 * 2**20, 7.5),
    ]


@pytest.mark.parametrize(("chosen", "names"), [("1", ["Tesla T4"]), ("GPU-aaa", ["NVIDIA H200"]), ("", []), ("-1", [])])
def test_only_visible_gpus_count(driver, monkeypatch, chosen, names):
    driver(TWO)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert [d.name for d in cuda_devices()] == names


def test_a_driver_that_fails_is_no_gpu(driver):
    driver("Failed to initialize NVML: Driver/library version mismatch", code=18)
    assert cuda_devices() == ()


def test_auto_never_means_the_cpu(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("platform.system", lambda: "Linux")
    assert find_device("auto") is None
    assert find_device("cuda") is None
    assert find_device("cpu").kind == "cpu"
