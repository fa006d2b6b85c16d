"""How a device fails, told apart: memory that ran out, the device itself, or a fault of ours. Imports torch."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from datagen.errors import DeviceFault, EngineError

#: torch's allocator has an error of its own for it; what allocates beside it (driver, cuBLAS, cuDNN) says it in words.
_OUT_OF_MEMORY = (
    "MPS backend out of memory",
    "DefaultCPUAllocator: can't allocate memory",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "STATUS_ALLOC_FAILED",
    "ALLOCATION_FAILED",
)
_DEVICE_FAILED = ("CUDA error", "CUDA driver error", "cuDNN error", "illegal memory access")
#: cuDNN has no kernel for what was asked: the device is well.
_NOT_SUPPORTED = "CUDNN_STATUS_NOT_SUPPORTED"


def is_out_of_memory(fault: BaseException) -> bool:
    """Whether less at once could work."""
    return isinstance(fault, torch.OutOfMemoryError) or any(said in str(fault) for said in _OUT_OF_MEMORY)


def is_device_fault(fault: BaseException) -> bool:
    """Whether the device itself failed, after which nothing in this process can use it."""
    if is_out_of_memory(fault) or _NOT_SUPPORTED in str(fault):
        return False
    return isinstance(fault, torch.AcceleratorError) or any(said in str(fault) for said in _DEVICE_FAILED)


@contextmanager
def device_faults(doing: str, too_large: str) -> Iterator[None]:
    """Have what the device does wrong said as an error of ours.

    Args:
        doing: what was done, as in "the device failed while …".
        too_large: the sentence for memory that ran out, with what to change.

    Raises:
        EngineError: the memory ran out, and there is nothing to halve.
        DeviceFault: the device failed; the process should end.
    """
    try:
        yield
    except RuntimeError as fault:
        if is_out_of_memory(fault):
            # the traceback holds every tensor of what failed, and the error is kept with the job
            fault.__traceback__ = None
            free_memory()
            raise EngineError(too_large) from None
        if is_device_fault(fault):
            raise DeviceFault(f"the device failed while {doing}: {fault}") from fault
        raise


def free_memory() -> None:
    """Give back what nobody holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
