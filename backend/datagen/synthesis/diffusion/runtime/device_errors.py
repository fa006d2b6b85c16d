"""Classification of device errors: out of memory, a failed device, or another error. Imports torch."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from datagen.errors import DeviceFault, EngineError

#: torch's allocator has its own exception; other allocators (driver, cuBLAS, cuDNN) are recognised by their messages.
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
#: cuDNN has no kernel for the operation; the device has not failed.
_NOT_SUPPORTED = "CUDNN_STATUS_NOT_SUPPORTED"


def is_out_of_memory(fault: BaseException) -> bool:
    """Return whether the memory ran out, so that a smaller batch could succeed."""
    return isinstance(fault, torch.OutOfMemoryError) or any(message in str(fault) for message in _OUT_OF_MEMORY)


def is_device_fault(fault: BaseException) -> bool:
    """Return whether the device itself failed, after which this process cannot use it."""
    if is_out_of_memory(fault) or _NOT_SUPPORTED in str(fault):
        return False
    return isinstance(fault, torch.AcceleratorError) or any(message in str(fault) for message in _DEVICE_FAILED)


@contextmanager
def device_faults(doing: str, too_large: str) -> Iterator[None]:
    """Context manager that raises device errors as Datagen's own errors.

    Args:
        doing: The activity, as in "the device failed while …".
        too_large: The sentence for an exhausted memory, with its fix.

    Raises:
        EngineError: the memory ran out, and there is no batch to halve.
        DeviceFault: the device failed; the process should end.
    """
    try:
        yield
    except RuntimeError as fault:
        if is_out_of_memory(fault):
            # the traceback references every tensor of the failed call, and the error outlives the call
            fault.__traceback__ = None
            free_memory()
            raise EngineError(too_large) from None
        if is_device_fault(fault):
            raise DeviceFault(f"the device failed while {doing}: {fault}") from fault
        raise


def free_memory() -> None:
    """Release memory that is no longer referenced."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
