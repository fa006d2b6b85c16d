"""The locks: every package by version and SHA-256, in step with the constraints, and pip refuses everything else."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from stage.layout import LABEL_STUDIO_VERSION, ROOT

LOCKS = ROOT / "scripts" / "locks"
FILES = sorted(path.name for path in LOCKS.glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
#: Installed by version alone: the CPU's and the GPU's build are different files from different places.
BY_VERSION_ALONE = {"torch"}


def entries(name: str) -> dict[str, tuple[Version, list[str]]]:
    """Package → its version and hashes in a lock."""
    text = re.sub(r"\\\n\s+", "", (LOCKS / name).read_text())
    pins = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            requirement, *hashes = line.split("--hash=sha256:")
            parsed = Requirement(requirement)
            [pin] = parsed.specifier
            assert pin.operator == "==", line
            pins[canonicalize_name(parsed.name)] = (Version(pin.version), [digest.strip() for digest in hashes])
    return pins


def constraints(name: str) -> dict[str, Version]:
    lines = (ROOT / "scripts" / name).read_text().splitlines()
    pins = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(package): Version(version) for package, version in pins}


@pytest.mark.parametrize("name", FILES)
def test_every_package_has_hashes_and_no_line_names_a_place(name: str) -> None:
    assert all(
        hashes and all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in hashes)
        for _, hashes in entries(name).values()
    )
    assert not re.search(r"://|--index-url|--find-links|--trusted-host", (LOCKS / name).read_text())


@pytest.mark.parametrize(
    ("lock", "constraint"),
    [
        ("run.txt", "constraints.txt"),
        ("develop.txt", "constraints.txt"),
        ("label-studio-ml.txt", "constraints.txt"),
        ("label-studio.txt", "constraints-label-studio.txt"),
        ("label-studio-sources.txt", "constraints-label-studio.txt"),
    ],
)
def test_a_lock_has_the_versions_of_the_constraints(lock: str, constraint: str) -> None:
    """If this fails, a constraint was changed: run scripts/lock."""
    pins = constraints(constraint)
    locked = {package: version for package, (version, _) in entries(lock).items()}
    assert {
        package: (version, pins.get(package)) for package, version in locked.items() if pins.get(package) != version
    } == {}


@pytest.mark.parametrize(
    ("lock", "extras"), [("run.txt", ["s3"]), ("develop.txt", ["s3", "dev", "diffusion", "evaluation"])]
)
def test_a_lock_has_everything_that_the_project_asks_for(lock: str, extras: list[str]) -> None:
    """If this fails, a dependency was added: run scripts/lock."""
    locked = entries(lock)
    asked = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    for extra in extras:
        asked += PROJECT["project"]["optional-dependencies"][extra]
    for requirement in map(Requirement, asked):
        package = canonicalize_name(requirement.name)
        if package not in BY_VERSION_ALONE:
            assert package in locked, f"{package} is not in {lock}; run scripts/lock"
            assert locked[package][0] in requirement.specifier


def test_all_constraints_are_locked_but_what_torch_brings() -> None:
    locked = {*entries("develop.txt"), *entries("label-studio-ml.txt")}
    assert {*constraints("constraints.txt")} - locked <= {*BY_VERSION_ALONE, "tzdata"}
    theirs = {*entries("label-studio.txt"), *entries("label-studio-sources.txt")}
    assert {*constraints("constraints-label-studio.txt")} - theirs <= {"tzdata"}
    assert entries("label-studio.txt")["label-studio"][0] == Version(LABEL_STUDIO_VERSION)


def test_the_setup_and_the_image_install_packages_from_the_locks_alone() -> None:
    setup = (ROOT / "scripts" / "setup.sh").read_text()
    image = (ROOT / "docker" / "Dockerfile").read_text()
    third_party = (ROOT / "scripts" / "third_party" / "fetch.py").read_text()
    for name in FILES:
        assert f"$LOCKS/{name}" in setup or name in ("run.txt", "develop.txt") or f'"{name}"' in third_party, name
    assert "--require-hashes" in third_party
    for line in re.findall(r"^\s*(?:&& |RUN )?(?:/opt/datagen/bin/)?pip3? install.*(?:\\\n.*)*", image, re.M):
        assert "--require-hashes" in line or "--no-deps --no-build-isolation ." in line, line
