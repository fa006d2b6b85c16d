"""Restrictions of a process before it decodes untrusted bytes: no files, no network, no other processes, fixed limits.

The kernel enforces every restriction, and none needs privileges. They are hard resource limits, ``no_new_privs``,
Landlock and a seccomp filter. With Landlock the process cannot open files, connect to TCP ports or signal processes
outside. The filter allows the system calls that computing needs, and refuses all others with EPERM. A process of root
also changes to an unused user id. The restrictions cannot be undone. They require Linux on x86-64 or ARM64. On other
systems only the resource limits apply, and ``contain`` returns a sentence about it.

docs/decisions/0011 says why this module uses ctypes and no package."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import secrets
import struct
import sys
from collections.abc import Callable
from pathlib import Path

#: User ids that are assigned to no users, containers or services: https://systemd.io/UIDS-GIDS
_UNUSED_IDS = range(1_879_048_192, 2_147_483_647)
#: User id that is used if the process's user namespace contains none of those.
_UNPRIVILEGED_ID = 65_534
_CAP_KILL = 5
#: Number of descriptors that the process may have: standard input, output and error.
_DESCRIPTORS = 3

_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 4, 22, 38
_SECCOMP_MODE_FILTER = 2

#: Numbers of the two system calls of Landlock that are needed; they are the same on every architecture.
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446
_LANDLOCK_VERSION = 1
#: Rights that Landlock can deny: for each kind (files, TCP, scopes outside the process), the ABI version that
#: introduced it and the bits.
_FILE_RIGHTS = ((1, 0x1FFF), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
_TCP_RIGHTS = ((4, 0b11),)
_SCOPES = ((6, 0b11),)  # abstract sockets, signals

#: AUDIT_ARCH and the numbers of the allowed system calls, by machine. ``sigaction`` and ``sigprocmask`` are not
#: allowed, because SIGXCPU must end the process.
_ALLOWED = {
    "x86_64": (
        0xC000003E,
        {"read": 0, "write": 1, "lseek": 8, "munmap": 11, "brk": 12, "rt_sigreturn": 15, "sched_yield": 24}
        | {"mremap": 25, "madvise": 28, "nanosleep": 35, "sendto": 44, "recvfrom": 45, "exit": 60, "futex": 202}
        | {"gettimeofday": 96, "time": 201, "restart_syscall": 219, "clock_gettime": 228, "clock_nanosleep": 230}
        | {"exit_group": 231, "getrandom": 318},
        {"mmap": 9, "mprotect": 10},
    ),
    "aarch64": (
        0xC00000B7,
        {"read": 63, "write": 64, "lseek": 62, "munmap": 215, "brk": 214, "rt_sigreturn": 139, "sched_yield": 124}
        | {"mremap": 216, "madvise": 233, "nanosleep": 101, "sendto": 206, "recvfrom": 207, "exit": 93, "futex": 98}
        | {"gettimeofday": 169, "restart_syscall": 128, "clock_gettime": 113, "clock_nanosleep": 115}
        | {"exit_group": 94, "getrandom": 278},
        {"mmap": 222, "mprotect": 226},
    ),
}

# classic BPF: load a word of struct seccomp_data, jump if equal, jump if a bit is set, return
_LOAD, _IF_EQUAL, _IF_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_AT_NUMBER, _AT_ARCHITECTURE, _AT_PROTECTION = 0, 4, 16 + 2 * 8
_PROT_EXEC = 4
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000


def contain(*, memory_bytes: int, cpu_seconds: int) -> list[str]:
    """Restrict the process to computing, its open descriptors and a limited amount of memory.

    The process must have one thread and must have finished all imports.

    Args:
        memory_bytes: address space that the process may map in addition to the current mappings, in bytes.
        cpu_seconds: processor time that the process may use in addition to the time used so far, in seconds.

    Returns:
        A sentence for each restriction that this machine does not support; empty if the process is contained.
    """
    missing = [*_limit(memory_bytes, cpu_seconds), *_change_user()]
    if sys.platform != "linux":
        return [*missing, f"{platform.system()} has neither seccomp nor Landlock; run the workers on Linux"]
    if (threads := len(list(Path("/proc/self/task").iterdir()))) != 1:
        return [*missing, f"the process has {threads} threads, and a filter holds the one that sets it"]
    libc = ctypes.CDLL(None, use_errno=True)
    _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)
    _prctl(libc, _PR_SET_DUMPABLE, 0)
    for name, restrict in (
        ("Landlock", restrict_by_landlock),
        ("a limit of open files", _limit_descriptors),
        ("seccomp", filter_system_calls),
    ):
        try:
            restrict(libc)
        except OSError as refusal:
            missing.append(f"{name} is not available on this machine: {refusal.strerror}")
    return missing


def restrict_by_landlock(libc: ctypes.CDLL) -> None:
    """Deny the process all rights that the kernel's Landlock can deny.

    Raises:
        OSError: the kernel has no Landlock, or Landlock is disabled.
    """
    version = _syscall(libc, _LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_VERSION)

    def supported(rights: tuple[tuple[int, int], ...]) -> int:
        return sum(bits for since, bits in rights if since <= version)

    # an older kernel accepts the longer struct if the fields unknown to it are zero
    attributes = struct.pack("=QQQ", supported(_FILE_RIGHTS), supported(_TCP_RIGHTS), supported(_SCOPES))
    ruleset = _syscall(libc, _LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    try:
        _syscall(libc, _LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def filter_system_calls(libc: ctypes.CDLL) -> None:
    """Refuse every system call that computing does not need, and memory that is executable.

    Raises:
        OSError: the kernel has no seccomp filters, or the architecture is not supported.
    """
    program = _filter(platform.machine())
    code = ctypes.create_string_buffer(program, len(program))
    program_header = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    _prctl(libc, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program_header)


def _filter(machine: str) -> bytes:
    """Return the seccomp filter for a machine, as BPF instructions of 8 bytes each."""
    if machine not in _ALLOWED or struct.calcsize("P") != 8:
        raise OSError(errno.ENOSYS, f"no filter is written for {machine}")
    architecture, plain, without_exec = _ALLOWED[machine]
    numbers = [*plain.values(), *without_exec.values()]
    program = [
        *((_LOAD, 0, 0, _AT_ARCHITECTURE), (_IF_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _KILL)),
        (_LOAD, 0, 0, _AT_NUMBER),
    ]
    for at, number in enumerate(numbers):
        left = len(numbers) - at - 1
        to_allow, to_check = left + 3, left + 1  # the instructions that follow: refuse, check (2), allow, refuse
        program.append((_IF_EQUAL, to_allow if number in plain.values() else to_check, 0, number))
    program += [(_RETURN, 0, 0, _REFUSE), (_LOAD, 0, 0, _AT_PROTECTION), (_IF_SET, 1, 0, _PROT_EXEC)]
    program += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _limit(memory_bytes: int, cpu_seconds: int) -> list[str]:
    """Set hard limits on files, processes, core dumps, memory and time; return a sentence for each that cannot be set.

    Only root could raise a hard limit again. The limits allow no new files, no new processes and no core dumps.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    limits = {
        "RLIMIT_AS": _mapped_bytes() + memory_bytes,
        "RLIMIT_CPU": int(usage.ru_utime + usage.ru_stime) + 1 + cpu_seconds,
        **dict.fromkeys(("RLIMIT_FSIZE", "RLIMIT_CORE", "RLIMIT_NPROC", "RLIMIT_MEMLOCK", "RLIMIT_MSGQUEUE"), 0),
    }
    missing = []
    for name, value in limits.items():
        if (limit := getattr(resource, name, None)) is None:
            continue
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(limit, (value, value))
        except (OSError, ValueError) as refusal:
            missing.append(f"{name} cannot be set ({refusal})")
    return missing


def _limit_descriptors(_libc: ctypes.CDLL) -> None:
    """Forbid descriptors other than standard input, output and error."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, _DESCRIPTORS))


def _change_user() -> list[str]:
    """Change to an unused user id without groups if the process runs as root; return a sentence if this fails."""
    if os.geteuid() != 0 or sys.platform != "linux":
        return []
    try:
        status = Path("/proc/self/status").read_text()
        if not int(status.split("CapEff:")[1].split()[0], 16) >> _CAP_KILL & 1:
            return ["the decoder stays root's: this root may not end processes of others (CAP_KILL)"]
        os.setgroups([])
        _set_unused_id(os.setresgid)
        _set_unused_id(os.setresuid)
    except OSError as refusal:
        return [f"the decoder stays root's: {refusal.strerror}; use a user of its own"]
    return []


def _set_unused_id(change: Callable[[int, int, int], None]) -> None:
    chosen = secrets.choice(_UNUSED_IDS)
    try:
        change(chosen, chosen, chosen)
    except OSError as refusal:
        if refusal.errno != errno.EINVAL:  # the user namespace does not map such an id
            raise
        change(_UNPRIVILEGED_ID, _UNPRIVILEGED_ID, _UNPRIVILEGED_ID)


def _mapped_bytes() -> int:
    """Return the size in bytes of the current address space, which Python and the decoders occupy."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except FileNotFoundError:  # no /proc (macOS), where the limit has no effect anyway
        return 2**32


def _prctl(libc: ctypes.CDLL, option: int, value: int, pointer: bytes | None = None) -> None:
    nothing = ctypes.c_ulong(0)
    if libc.prctl(option, ctypes.c_ulong(value), pointer, nothing, nothing) != 0:
        raise _failure()


def _syscall(libc: ctypes.CDLL, *arguments: object) -> int:
    libc.syscall.restype = ctypes.c_long
    result = int(libc.syscall(*arguments))
    if result < 0:
        raise _failure()
    return result


def _failure() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
