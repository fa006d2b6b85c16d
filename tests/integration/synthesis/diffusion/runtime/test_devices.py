"""Detection of GPUs without torch: nvidia-smi's output, and CUDA_VISIBLE_DEVICES."""

from __future__ import annotations

import pytest

from datagen.synthesis.diffusion.runtime.devices import cuda_devices, find_device

TWO = "NVIDIA H200, 143771, 9.0, GPU-aaa\nTesla T4, 15360, 7.5, GPU-bbb"


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A program named nvidia-smi that prints a given text."""
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


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        ("1", ["Tesla T4"]),
        ("1,0", ["Tesla T4", "NVIDIA H200"]),
        ("GPU-aaa", ["NVIDIA H200"]),
        ("GPU-b", ["Tesla T4"]),
        ("MIG-ccc", ["a slice of a GPU (MIG)"]),
        ("", []),
        ("-1", []),
        ("7,0", []),
    ],
)
def test_only_visible_gpus_count(driver, monkeypatch, chosen, names):
    driver(TWO)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert [d.name for d in cuda_devices()] == names


def test_a_gpu_that_does_not_tell_its_figures_is_one_all_the_same(driver):
    """GPUs that share the host's memory answer [N/A]: workers found no GPU on them, or died of it."""
    driver("NVIDIA GB10, [N/A], [Insufficient Permissions], GPU-ccc")
    (device,) = cuda_devices()
    assert (device.name, device.memory, device.capability, device.id) == ("NVIDIA GB10", 0, 0.0, "GPU-ccc")


def test_workers_name_their_gpu_by_its_identifier(driver):
    """CUDA numbers the fastest GPU first, and nvidia-smi numbers by slot, so one number may mean two GPUs."""
    driver(TWO)
    assert [d.id for d in cuda_devices()] == ["GPU-aaa", "GPU-bbb"]


def test_a_driver_that_fails_is_no_gpu(driver):
    driver("Failed to initialize NVML: Driver/library version mismatch", code=18)
    assert cuda_devices() == ()


def test_auto_never_means_the_cpu(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("platform.system", lambda: "Linux")
    assert find_device("auto") is None
    assert find_device("cuda") is None
    assert find_device("cpu").kind == "cpu"
