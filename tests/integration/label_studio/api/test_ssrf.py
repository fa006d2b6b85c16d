"""Label Studio's defaults refuse private addresses: this is found before anything is created, and the fix is named."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from datagen.errors import AddressRefused
from datagen.label_studio.api.client import LabelStudio
from datagen.label_studio.projects.provisioning import ServerAccess, provision
from stage.label_studio_server import LabelStudio as Server

pytestmark = pytest.mark.integration

LOOPBACK = "http://127.0.0.1:9090"
UNKNOWN = "http://no-such-machine.invalid:9090"
#: Never connected to: Label Studio checks the address alone.
PUBLIC = "http://8.8.8.8:9090"


@pytest.fixture
def strict(guarded: Server) -> Iterator[LabelStudio]:
    client = LabelStudio(guarded.url, guarded.token)
    yield client
    client.close()


def test_a_private_address_is_found_to_be_refused_before_anything_is_made(strict: LabelStudio) -> None:
    with pytest.raises(AddressRefused) as refused:
        strict.check_addresses(LOOPBACK)
    sentence = str(refused.value)
    assert "SSRF protection refuses" in sentence
    assert "SSRF_PROTECTION_ENABLED=false and ML_BLOCK_LOCAL_IP=false" in sentence
    assert "USE_DEFAULT_BANNED_SUBNETS=false" in sentence
    assert "127.0.0.0/8" in sentence
    assert "token" not in sentence  # the user may: it is the address that may not


def test_a_name_that_label_studio_does_not_know_is_another_fault(strict: LabelStudio) -> None:
    with pytest.raises(AddressRefused, match=r"finds no machine of the name .* Set DATAGEN_PUBLIC_URL"):
        strict.check_addresses(UNKNOWN)


def test_an_address_that_is_let_through_is_good_and_nothing_is_made(strict: LabelStudio, client: LabelStudio) -> None:
    strict.check_addresses(PUBLIC)
    client.check_addresses(LOOPBACK)
    assert strict.find_projects("") == []
    assert strict._at.get("/api/webhooks/", "the webhooks") == []


def test_provisioning_gives_the_same_advice(strict: LabelStudio) -> None:
    """The advice was “Use the token of a user who may”."""
    try:
        with pytest.raises(AddressRefused, match="SSRF_PROTECTION_ENABLED=false"):
            provision(
                strict,
                "guarded",
                ["dent"],
                ServerAccess(url=LOOPBACK, webhook_secret="s3cret", basic_user="datagen", basic_pass="pass"),
            )
    finally:
        for project in strict.find_projects("guarded"):
            strict.delete_project(project.id)


def test_the_doctor_says_so_before_a_study_is_provisioned(guarded: Server, tmp_path: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("DATAGEN_", "LABEL_STUDIO_"))},
        "LABEL_STUDIO_URL": guarded.url,
        "LABEL_STUDIO_API_KEY": guarded.token,
        "DATAGEN_DATA_DIR": str(tmp_path / "data"),
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "NO_COLOR": "1",
    }
    result = subprocess.run(
        [sys.executable, "-m", "datagen", "doctor"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    [line] = [line for line in result.stdout.splitlines() if line.startswith("FAIL addresses")]
    assert "SSRF_PROTECTION_ENABLED=false and ML_BLOCK_LOCAL_IP=false" in line
