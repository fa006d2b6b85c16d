"""Which accelerator this machine has, asked without torch: for processes that only need to know of it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

#: nvidia-smi answers in well under a second, or its driver hangs; with many GPUs and a driver just loaded it may take
#: longer, and who starts a worker for each waits for that.
_ANSWER_SECONDS, PATIENT_SECONDS = 10.0, 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device: its kind ("cuda", "mps", "cpu"), name and memory in bytes.

    For CUDA also its compute capability, and what CUDA_VISIBLE_DEVICES may call it: its identifier, since CUDA counts
    the fastest first and nvidia-smi by slot. Memory and capability are 0 where the driver does not tell them.
    """

    kind: str
    name: str
    memory: int
    capability: float = 0.0
    id: str = ""


def cuda_devices(within: float = _ANSWER_SECONDS) -> tuple[Device, ...]:
    """The NVIDIA GPUs that this process may use; none where there is no driver, or it does not answer in so long."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    fields = "--query-gpu=name,memory.total,compute_cap,uuid"
    try:
        answer = subprocess.run(  # noqa: S603 - found on the PATH, fixed arguments
            [program, fields, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=within,
            check=True,
        )
    except (subprocess.SubprocessError, OSError):
        return ()
    found = [
        (str(number), Device(kind="cuda", name=name, memory=_mebibytes(memory), capability=_figure(able), id=uuid))
        for number, line in enumerate(answer.stdout.splitlines())
        if line.count(",") == 3
        for name, memory, able, uuid in [[cell.strip() for cell in line.split(",")]]
    ]
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return tuple(device for _, device in found)
    visible: list[Device] = []
    for name in filter(None, (name.strip() for name in chosen.split(","))):
        if name.startswith("MIG-"):  # a slice of a GPU, which nvidia-smi lists with no figures of its own
            visible.append(Device(kind="cuda", name="a slice of a GPU (MIG)", memory=0, id=name))
        # CUDA takes an identifier's beginning too, and reads no further than the first name it does not know
        elif match := [one for number, one in found if name == number or _begins(one.id, name)]:
            visible.append(match[0])
        else:
            break
    return tuple(visible)


def find_device(wanted: str) -> Device | None:
    """The device that ``wanted`` ("auto", "cuda", "mps", "cpu") means here; None where there is none.

    "auto" never means the CPU: painting on one is so slow that somebody has to ask for it.
    """
    if wanted in ("auto", "cuda") and (gpus := cuda_devices()):
        return gpus[0]
    if wanted in ("auto", "mps") and platform.system() == "Darwin" and platform.machine() == "arm64":
        return Device(kind="mps", name="Apple GPU", memory=_installed_memory())
    if wanted == "cpu":
        return Device(kind="cpu", name=platform.processor() or platform.machine(), memory=_installed_memory())
    return None


def torch_version() -> str | None:
    """The installed torch's version, without importing it; None where it is not installed."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return None


def _begins(uuid: str, name: str) -> bool:
    return name.startswith("GPU-") and uuid.startswith(name)


def _figure(cell: str) -> float:
    """A cell's number; 0 for “[N/A]” and its like."""
    try:
        return float(cell)
    except ValueError:
        return 0.0


def _mebibytes(cell: str) -> int:
    return int(_figure(cell)) * 2**20


def _installed_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
