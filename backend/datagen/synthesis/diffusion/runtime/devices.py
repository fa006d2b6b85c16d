"""Detection of this machine's accelerators without importing torch, for processes that do not compute on them."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from datagen.synthesis.model_files.memory import installed_memory

#: Timeouts of nvidia-smi in seconds: the default, and a longer one for the start of the workers. It answers in well
#: under a second unless its driver hangs. It may take longer with many GPUs and a driver that was just loaded.
_ANSWER_SECONDS, PATIENT_SECONDS = 10.0, 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device: its kind ("cuda", "mps", "cpu"), name and memory in bytes.

    A CUDA device also has its compute capability, and its identifier for CUDA_VISIBLE_DEVICES. The identifier is not a
    number, because CUDA numbers the fastest device first, and nvidia-smi numbers by slot. Memory and capability are 0
    if the driver does not report them.
    """

    kind: str
    name: str
    memory: int
    capability: float = 0.0
    id: str = ""


def cuda_devices(within: float = _ANSWER_SECONDS) -> tuple[Device, ...]:
    """Return the NVIDIA GPUs that this process may use.

    Return none if there is no driver, or if nvidia-smi takes longer than ``within`` seconds.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    fields = "--query-gpu=name,memory.total,compute_cap,uuid"
    try:
        result = subprocess.run(  # noqa: S603 - found on the PATH, fixed arguments
            [program, fields, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=within,
            check=True,
        )
    except (subprocess.SubprocessError, OSError):
        return ()
    numbered = [
        (
            str(number),
            Device(kind="cuda", name=name, memory=_mebibytes(memory), capability=_figure(capability), id=uuid),
        )
        for number, line in enumerate(result.stdout.splitlines())
        if line.count(",") == 3
        for name, memory, capability, uuid in [[cell.strip() for cell in line.split(",")]]
    ]
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return tuple(device for _, device in numbered)
    visible: list[Device] = []
    for name in filter(None, (name.strip() for name in chosen.split(","))):
        if name.startswith("MIG-"):  # a MIG slice of a GPU, which nvidia-smi lists without figures
            visible.append(Device(kind="cuda", name="a slice of a GPU (MIG)", memory=0, id=name))
        # CUDA also accepts a prefix of an identifier, and stops at the first unknown name
        elif match := [device for number, device in numbered if name == number or _begins(device.id, name)]:
            visible.append(match[0])
        else:
            break
    return tuple(visible)


def find_device(wanted: str) -> Device | None:
    """Return the device for ``wanted`` ("auto", "cuda", "mps", "cpu"); None if this machine has no such device.

    "auto" never selects the CPU. Inpainting on a CPU is so slow that it must be requested explicitly.
    """
    if wanted in ("auto", "cuda") and (gpus := cuda_devices()):
        return gpus[0]
    if wanted in ("auto", "mps") and platform.system() == "Darwin" and platform.machine() == "arm64":
        return Device(kind="mps", name="Apple GPU", memory=installed_memory())
    if wanted == "cpu":
        return Device(kind="cpu", name=platform.processor() or platform.machine(), memory=installed_memory())
    return None


def torch_version() -> str | None:
    """Return the version of the installed torch, without importing it; None if torch is not installed."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return None


def _begins(uuid: str, name: str) -> bool:
    return name.startswith("GPU-") and uuid.startswith(name)


def _figure(cell: str) -> float:
    """Return the number in a cell of nvidia-smi's table; 0 for “[N/A]” and similar values."""
    try:
        return float(cell)
    except ValueError:
        return 0.0


def _mebibytes(cell: str) -> int:
    return int(_figure(cell)) * 2**20
