"""Classification of device errors: out of memory, a failed device, or another error. Imports torch."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from datagen.errors import DeviceFault, EngineError

#: Parts of the messages by which exhausted memory is recognized. They are needed for other allocators than torch's
#: (driver, cuBLAS, cuDNN). torch's allocator raises an exception of its own.
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
#: Part of the message of cuDNN if it has no kernel for an operation; the device has not failed then.
_NOT_SUPPORTED = "CUDNN_STATUS_NOT_SUPPORTED"


def is_out_of_memory(fault: BaseException) -> bool:
    """Return whether the device's memory ran out, so that a smaller batch may succeed."""
    return isinstance(fault, torch.OutOfMemoryError) or any(message in str(fault) for message in _OUT_OF_MEMORY)


def is_device_fault(fault: BaseException) -> bool:
    """Return whether the device itself failed, so that this process cannot use it any more."""
    if is_out_of_memory(fault) or _NOT_SUPPORTED in str(fault):
        return False
    return isinstance(fault, torch.AcceleratorError) or any(message in str(fault) for message in _DEVICE_FAILED)


@contextmanager
def device_faults(doing: str, too_large: str) -> Iterator[None]:
    """Context manager that converts device errors to Datagen's own errors.

    Args:
        doing: The activity, as in "the device failed while …".
        too_large: The sentence for exhausted memory, with its fix.

    Raises:
        EngineError: the memory ran out; there is no batch to halve here.
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
    """Free unreferenced memory, also that which torch keeps on the GPU for later use."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
