"""Which accelerator this machine has, asked without torch: for processes that only need to know of it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

#: nvidia-smi answers in well under a second, or its driver hangs.
_ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device: its kind ("cuda", "mps", "cpu"), name and memory in bytes.

    For CUDA also its compute capability, and its number as CUDA_VISIBLE_DEVICES counts.
    """

    kind: str
    name: str
    memory: int
    capability: float = 0.0
    number: str = ""


def cuda_devices() -> tuple[Device, ...]:
    """The NVIDIA GPUs that this process may use; none where there is no driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    fields = "--query-gpu=name,memory.total,compute_cap,uuid"
    try:
        answer = subprocess.run(  # noqa: S603 - found on the PATH, fixed arguments
            [program, fields, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=_ANSWER_SECONDS,
            check=True,
        )
    except (subprocess.SubprocessError, OSError):
        return ()
    lines = [
        [str(number), *(cell.strip() for cell in line.split(","))]
        for number, line in enumerate(answer.stdout.splitlines())
        if line.count(",") == 3
    ]
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        names = [name.strip() for name in chosen.split(",")]
        lines = [cells for cells in lines if cells[0] in names or cells[4] in names]
    return tuple(
        Device(kind="cuda", name=name, memory=int(float(memory)) * 2**20, capability=float(capability), number=number)
        for number, name, memory, capability, _ in lines
        if memory.replace(".", "").isdigit()
    )


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


def _installed_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
