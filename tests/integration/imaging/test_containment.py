"""Code that a picture brings is refused everything but computing: as root, as another user, and by each layer alone."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from datagen.errors import BadPicture
from datagen.imaging import containment
from datagen.imaging.codec import decode
from datagen.imaging.decoder_sandbox import DecoderSandbox
from datagen.operations.diagnostics.parts import check_decoder
from datagen.settings import Settings

if sys.platform != "linux" or DecoderSandbox(max_bytes=10, max_pixels=10).missing_containment():
    pytest.skip("this kernel has no seccomp or no Landlock", allow_module_level=True)

#: A decoder that carries out the action named in a picture's text, and reports its result.
ATTACKS = """
import ctypes, json, mmap, os, resource, signal, socket, subprocess, threading
from datagen.errors import BadPicture

libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(4096)

def call(result):
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

def connect(kind, address):
    with socket.socket(kind, socket.SOCK_STREAM) as line:
        line.connect(address)

def protect():
    region = mmap.mmap(-1, 4096)
    start = ctypes.addressof(ctypes.c_char.from_buffer(region))
    call(libc.mprotect(ctypes.c_void_p(start), 4096, 7))

ACTIONS = {
    "read": lambda path: os.open(path, os.O_RDONLY),
    "list": lambda path: os.listdir(path),
    "look": lambda path: os.stat(path),
    "write": lambda path: os.open(path, os.O_WRONLY),
    "create": lambda path: os.open(path, os.O_WRONLY | os.O_CREAT),
    "delete": os.unlink,
    "truncate": lambda path: os.truncate(path, 0),
    "rename": lambda path: os.rename(path, path + "x"),
    "chmod": lambda path: os.chmod(path, 0o777),
    "mkdir": lambda path: os.mkdir(path + "x"),
    "symlink": lambda path: os.symlink(path, path + "x"),
    "limit": lambda name: resource.setrlimit(getattr(resource, name), (resource.RLIM_INFINITY,) * 2),
    "limit parent": lambda pid: resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, 3)),
    "outlive": lambda: signal.signal(signal.SIGXCPU, signal.SIG_IGN),
    "block": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGXCPU}),
    "tcp": lambda port: connect(socket.AF_INET, ("127.0.0.1", port)),
    "unix": lambda path: connect(socket.AF_UNIX, path),
    "abstract": lambda name: connect(socket.AF_UNIX, "\\0" + name),
    "fork": os.fork,
    "thread": lambda: threading.Thread(target=print).start(),
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "kill": lambda pid: os.kill(pid, 0),
    "end": lambda pid: os.kill(pid, signal.SIGKILL),
    "ptrace": lambda pid: call(libc.ptrace(16, pid, None, None)),
    "memory": lambda pid: call(libc.process_vm_readv(pid, buffer, 1, buffer, 1, 0)),
    "pidfd": lambda pid: os.pidfd_open(pid),
    "memfd": lambda: os.memfd_create("x"),
    "setuid": lambda: os.setresuid(0, 0, 0),
    "dumpable": lambda: call(libc.prctl(4, 1, 0, 0, 0)),
    "namespace": lambda: call(libc.unshare(0x10000000)),
    "io_uring": lambda: call(libc.syscall(425, 1, buffer)),
    "run memory": lambda: mmap.mmap(-1, 4096, prot=7),
    "run changed memory": protect,
    "another descriptor": lambda: os.dup(0),
}

def decode(data, *, max_bytes, max_pixels):
    name, arguments = json.loads(data)
    try:
        ACTIONS[name](*arguments)
    except (OSError, RuntimeError, ValueError) as refusal:
        raise BadPicture(f"refused: {refusal}") from None
    raise BadPicture("done")
"""


@pytest.fixture(scope="module")
def planted() -> Iterator[Path]:
    """A folder that every user can read, with the planted decoder in it."""
    folder = Path(tempfile.mkdtemp(prefix="planted-"))
    folder.chmod(0o755)
    (folder / "attacks.py").write_text(ATTACKS)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def victims() -> Iterator[dict[str, Any]]:
    """The targets of the attacks: files, a listening server, a process, and this process."""
    folder = Path(tempfile.mkdtemp(prefix="victims-"))
    (folder / "signing_key").write_text("a secret\n")
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        unix.bind(str(folder / "socket"))
        unix.listen()
        abstract.bind(f"\0{folder.name}")
        abstract.listen()
        process = subprocess.Popen(["sleep", "600"])
        yield {
            "folder": folder,
            "file": str(folder / "signing_key"),
            "port": server.getsockname()[1],
            "socket": str(folder / "socket"),
            "name": folder.name,
            "process": process.pid,
            "parent": os.getpid(),
        }
        assert process.poll() is None, "the process was ended"
        process.kill()
        process.wait()
    assert {path.name: path.read_text() for path in folder.iterdir() if path.is_file()} == {"signing_key": "a secret\n"}
    shutil.rmtree(folder)


#: name of the action, its argument: a victim, or a value as it is
CASES = [
    *(("read", path) for path in ("file", "/proc/{parent}/environ", "/proc/{parent}/mem", "/proc/self/environ")),
    *(("read", path) for path in ("/etc/passwd", "/dev/null")),
    *(("list", path) for path in ("/", "/proc", "/proc/self/fd")),
    *((action, "file") for action in ("look", "write", "create", "delete", "truncate", "rename", "chmod")),
    *((action, "file") for action in ("mkdir", "symlink")),
    *(("limit", name) for name in ("RLIMIT_CPU", "RLIMIT_AS", "RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_NPROC")),
    ("limit parent", "parent"),
    *((action, None) for action in ("outlive", "block", "fork", "thread", "exec", "memfd", "setuid", "dumpable")),
    *((action, None) for action in ("namespace", "io_uring", "run memory", "run changed memory", "another descriptor")),
    *(("tcp", "port"), ("unix", "socket"), ("abstract", "name")),
    *((action, "parent") for action in ("kill", "ptrace", "memory", "pidfd")),
    ("end", "process"),
]


def orders(victims: dict[str, Any]) -> list[bytes]:
    """The picture of each case."""
    arguments = [[] if victim is None else [victims.get(victim, victim)] for _, victim in CASES]
    filled = [
        [argument.format(**victims) if isinstance(argument, str) else argument for argument in some]
        for some in arguments
    ]
    return [json.dumps([name, some]).encode() for (name, _), some in zip(CASES, filled, strict=True)]


#: Runs the attacks in a process of another user; prints how each went.
AS_ANOTHER = """
    import json, sys
    from datagen.errors import BadPicture
    from datagen.imaging.decoder_sandbox import DecoderSandbox
    decoder = DecoderSandbox(max_bytes=10**6, max_pixels=10**6, decoder="attacks:decode")
    outcomes = []
    for order in json.load(sys.stdin):
        try:
            decoder.size_of(order.encode())
        except BadPicture as problem:
            outcomes.append(str(problem))
    print(json.dumps([decoder.missing_containment(), outcomes]))
"""


def python_of_everybody() -> str:
    """This Python if other users may run it, else the system's of the same version; skips where there is neither."""
    same = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, shutil.which(same, path="/usr/local/bin:/usr/bin")):
        try:
            subprocess.run([candidate or "none", "-c", ""], user=54_321, group=54_321, extra_groups=[], check=True)
        except OSError:
            continue
        return str(candidate)
    pytest.skip(f"no {same} that another user may run")


def unrefused(outcomes: list[str]) -> list[str]:
    caught = zip(CASES, outcomes, strict=True)
    return [
        f"{name} {argument}: {outcome}" for (name, argument), outcome in caught if not outcome.startswith("refused")
    ]


def test_code_in_a_picture_is_refused_everything(
    planted: Path, victims: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{planted}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    decoder = DecoderSandbox(max_bytes=10**6, max_pixels=10**6, decoder="attacks:decode")
    outcomes = []
    for order in orders(victims):
        with pytest.raises(BadPicture) as caught:
            decoder.size_of(order)
        outcomes.append(str(caught.value))
    decoder.close()
    assert unrefused(outcomes) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts a process of another user")
def test_code_in_a_picture_is_refused_everything_where_the_worker_is_not_root(
    planted: Path, victims: dict[str, Any]
) -> None:
    path = os.pathsep.join([str(planted), *filter(None, sys.path)])
    run = subprocess.run(
        [python_of_everybody(), "-c", textwrap.dedent(AS_ANOTHER)],
        input=json.dumps([order.decode() for order in orders(victims)]),
        env={"PYTHONPATH": path},
        cwd=planted,
        user=54_321,
        group=54_321,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    missing, outcomes = json.loads(run.stdout)
    assert missing == []
    assert unrefused(outcomes) == []


def test_the_process_has_a_user_of_its_own_no_capabilities_and_three_descriptors() -> None:
    decoder = DecoderSandbox(max_bytes=10, max_pixels=10)
    assert decoder.missing_containment() == []
    assert decoder._process is not None
    proc = Path("/proc") / str(decoder._process.pid)
    caught = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines())
    assert caught["NoNewPrivs"] == "1"
    assert caught["Seccomp"] == "2"
    assert int(caught["CapEff"], 16) == 0
    if os.geteuid() == 0:
        assert set(caught["Uid"].split()).isdisjoint({"0", "65534"})
        assert caught["Groups"].strip() == ""
        assert {path.name for path in (proc / "fd").iterdir()} == {"0", "1", "2"}
    limits = (proc / "limits").read_text().splitlines()
    values = {line[:25].strip(): line[25:].split()[:2] for line in limits[1:]}
    for name in ("file size", "core file size", "processes", "locked memory"):
        assert values[f"Max {name}"] == ["0", "0"]
    assert values["Max open files"] == ["3", "3"]
    for name in ("cpu time", "address space"):
        soft, hard = values[f"Max {name}"]
        assert soft == hard != "unlimited"
    decoder.close()


#: What each layer refuses without the other.
FILES_PROCESSES_NETWORK = (
    "os.open('/etc/hostname', os.O_RDONLY)",
    "os.open(sys.argv[1], os.O_WRONLY)",
    "os.unlink(sys.argv[1])",
    "os.kill(int(sys.argv[2]), 0)",
    "socket.socket().connect(('127.0.0.1', int(sys.argv[3])))",
)
LAYERS = {
    "restrict_by_landlock": FILES_PROCESSES_NETWORK,
    "filter_system_calls": (*FILES_PROCESSES_NETWORK, "os.fork()", "os.stat(sys.argv[1])"),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_each_layer_refuses_without_the_other(layer: str, victims: dict[str, Any]) -> None:
    program = f"""
        import ctypes, os, socket, sys
        from datagen.imaging import containment
        libc = ctypes.CDLL(None, use_errno=True)
        containment._prctl(libc, 38, 1)
        containment.{layer}(libc)
        for action in {LAYERS[layer]!r}:
            try:
                eval(action)
            except PermissionError:
                continue
            os.write(1, action.encode())
    """
    caught = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(program),
            victims["file"],
            str(victims["process"]),
            str(victims["port"]),
        ],
        capture_output=True,
        check=False,
    )
    assert (caught.stdout, caught.stderr) == (b"", b"")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_filter_allows_exactly_what_is_listed(machine: str) -> None:
    """The filter's instructions are executed by an interpreter in the test."""
    architecture, plain, without_exec = containment._ALLOWED[machine]
    program = containment._filter(machine)

    def verdict(number: int, protection: int = 0, arch: int = architecture) -> int:
        words = {0: number, 4: arch, 32: protection}
        at, loaded = 0, 0
        while True:
            code, if_true, if_false, value = containment.struct.unpack_from("=HBBI", program, at * 8)
            at += 1
            match code:
                case containment._LOAD:
                    loaded = words[value]
                case containment._IF_EQUAL:
                    at += if_true if loaded == value else if_false
                case containment._IF_SET:
                    at += if_true if loaded & value else if_false
                case containment._RETURN:
                    return value

    allowed = set(plain.values()) | set(without_exec.values())
    assert {number for number in range(600) if verdict(number) == containment._ALLOW} == allowed
    assert {number for number in range(600) if verdict(number, 7) == containment._ALLOW} == set(plain.values())
    assert {verdict(number | 0x40000000) for number in range(600)} == {containment._REFUSE}  # x32
    assert verdict(0, arch=0x40000003) == containment._KILL


def test_another_machine_is_named_as_not_contained() -> None:
    with pytest.raises(OSError, match="no filter is written for riscv64"):
        containment._filter("riscv64")


#: A filter of the test's own, inherited by what it starts: a kernel without Landlock, that takes no further filter.
POORER_KERNEL = """
    import ctypes, platform, struct, sys
    libc = ctypes.CDLL(None, use_errno=True)
    prctl = {"x86_64": 157, "aarch64": 167}[platform.machine()]
    program = b"".join(struct.pack("=HBBI", *instruction) for instruction in [
        (0x20, 0, 0, 0), (0x15, 0, 1, 444), (0x06, 0, 0, 0x00050000 | 38),
        (0x15, 0, 3, prctl), (0x20, 0, 0, 16), (0x15, 0, 1, 22), (0x06, 0, 0, 0x00050000 | 22),
        (0x06, 0, 0, 0x7FFF0000),
    ])
    code = ctypes.create_string_buffer(program, len(program))
    zero = ctypes.c_ulong(0)
    assert libc.prctl(38, ctypes.c_ulong(1), zero, zero, zero) == 0
    described = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    assert libc.prctl(22, ctypes.c_ulong(2), described, zero, zero) == 0
"""


def test_doctor_names_what_a_machine_cannot_contain_and_pictures_are_decoded_all_the_same() -> None:
    program = """
        from datagen.operations.diagnostics.parts import check_decoder
        from datagen.settings import Settings
        from datagen.imaging.decoder_sandbox import DecoderSandbox
        print(check_decoder(Settings(_env_file=None)))
        print(DecoderSandbox(max_bytes=10**6, max_pixels=10**6).size_of(bytes.fromhex(sys.argv[1])))
    """
    png = cv2.imencode(".png", np.zeros((7, 9), np.uint8))[1].tobytes()
    caught = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(POORER_KERNEL) + textwrap.dedent(program), png.hex()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert caught.returncode == 0, caught.stderr
    note, size = caught.stdout.splitlines()
    assert note.startswith("limited, but not fully contained on this machine: ")
    assert "Landlock is not available on this machine: Function not implemented" in note
    assert "seccomp is not available on this machine: Invalid argument" in note
    assert size == "(9, 7)"


def test_doctor_says_that_the_decoder_is_contained() -> None:
    assert check_decoder(Settings(_env_file=None)).startswith("contained: ")


def samples() -> Iterator[tuple[str, bytes]]:
    """Pictures of every kind and form, whole and with some of their bytes changed."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (120, 160, 4), np.uint8)
    noise[30:, 40:] = 200
    image = Image.fromarray(noise)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    forms: list[tuple[str, str, dict[str, Any]]] = [
        *(("RGB", "JPEG", options) for options in ({"exif": exif}, {"progressive": True}, {"subsampling": 0})),
        *((mode, "JPEG", {}) for mode in ("L", "CMYK")),
        *((mode, "PNG", {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
        ("P", "PNG", {"transparency": 3}),
        *((mode, "BMP", {}) for mode in ("1", "L", "P", "RGB", "RGBA")),
        *((mode, "WebP", {"lossless": lossless}) for mode in ("RGB", "RGBA") for lossless in (False, True)),
        *((mode, "TIFF", {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK")),
        *(("RGB", "TIFF", {"compression": f"tiff_{packing}"}) for packing in ("lzw", "adobe_deflate", "deflate")),
        *(("RGB", "TIFF", {"compression": packing}) for packing in ("jpeg", "packbits", "zstd", "lzma")),
        *(("1", "TIFF", {"compression": packing}) for packing in ("group3", "group4", "tiff_ccitt")),
        *((mode, "GIF", {}) for mode in ("L", "RGB", "P")),
    ]
    whole = []
    for mode, kind, options in forms:
        file = io.BytesIO()
        image.convert("RGB").convert(mode).save(file, kind, **options) if mode != "RGBA" else image.save(
            file, kind, **options
        )
        whole.append((f"{kind} {mode} {options}", file.getvalue()))
    deep = noise.astype(np.uint16) * 257
    for channels in (deep[..., 0], deep[..., :3], deep):
        for suffix in (".png", ".tiff"):
            whole.append((f"{suffix} of 16 bits, {channels.shape}", cv2.imencode(suffix, channels)[1].tobytes()))
    for name, data in whole:
        yield name, data
        for number in range(6):
            changed = np.frombuffer(data, np.uint8).copy()
            # the first changes are in the header, where they lead to other ways through the decoders
            where = random.integers(12, 200 if number < 3 else len(changed), 4) % len(changed)
            changed[where] = random.integers(0, 256, 4)
            yield f"{name}, changed at {where}", changed.tobytes()


def _told(pixels: npt.NDArray[Any]) -> str:
    return f"{pixels.shape} of {pixels.dtype}: {hashlib.sha256(pixels.tobytes()).hexdigest()}"


def test_contained_decoder_answers_as_decoding_here_does() -> None:
    """Nothing that a decoder needs is missing behind the filter: no late import, thread, file or system call."""
    limits = {"max_bytes": 10**6, "max_pixels": 10**6}
    decoder = DecoderSandbox(**limits)
    different, good = [], 0
    for name, data in samples():
        here = contained = ""
        with warnings.catch_warnings(action="ignore"):
            try:
                here = _told(decode(data, **limits))
                good += 1
            except BadPicture as problem:
                here = str(problem)
        try:
            contained = _told(decoder.decode(data))
        except BadPicture as problem:
            contained = str(problem)
        if here != contained:
            different.append((name, here, contained))
    decoder.close()
    assert different == []
    assert good > 60
