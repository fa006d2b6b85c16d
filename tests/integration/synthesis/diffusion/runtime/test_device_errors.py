"""Device errors by their messages: too little memory, a failed device, or a fault of Datagen."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from datagen.errors import DeviceFault, EngineError  # noqa: E402
from datagen.synthesis.diffusion.runtime.device_errors import device_faults, is_device_fault, is_out_of_memory  # noqa: E402

MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to"),
    torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
]
FAILED = [
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"),
    RuntimeError("CUDA driver error: unspecified launch failure"),
    RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
]


@pytest.mark.parametrize("fault", MEMORY, ids=str)
def test_memory_that_ran_out_is_no_failed_device(fault):
    """Other allocators word the error differently: workers died instead of halving the batch."""
    assert not is_device_fault(fault)


def test_a_kernel_that_is_not_there_is_no_failed_device():
    """An optimization that cuDNN does not know ended the worker, and every one after it."""
    assert not is_device_fault(RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"))


@pytest.mark.parametrize("fault", MEMORY, ids=str)
def test_memory_that_ran_out_is_said_with_what_to_change(fault):
    assert is_out_of_memory(fault)
    with pytest.raises(EngineError, match="choose smaller ones"), device_faults("loading", "choose smaller ones"):
        raise fault


@pytest.mark.parametrize("fault", FAILED, ids=str)
def test_a_device_that_failed_ends_the_process_that_used_it(fault):
    assert is_device_fault(fault)
    assert not is_out_of_memory(fault)
    with pytest.raises(DeviceFault, match="the device failed while loading"), device_faults("loading", ""):
        raise fault


def test_a_fault_of_ours_stays_one():
    with pytest.raises(RuntimeError, match="shapes"), device_faults("loading", ""):
        raise RuntimeError("shapes do not match")
