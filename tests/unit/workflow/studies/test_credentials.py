"""Signed manifests in exported images, read again by C2PA's own reader."""

from __future__ import annotations

import hashlib
import io
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datagen.domain.inputs import ImageRef
from datagen.domain.lifecycle import StudyState
from datagen.domain.sample import Provenance, Sample
from datagen.domain.trace import ConceptChoice, InstanceTrace, Trace
from datagen.errors import InputProblem, StoreError
from datagen.export.content_credentials import ContentCredentials
from datagen.imaging.provenance_mark import read_mark
from datagen.workflow.studies.credentials import SignerFiles, sources_of
from datagen.workflow.studies.export import export_study
from fake_studio import FakeStudio
from studio import Study

c2pa = pytest.importorskip("c2pa", reason="the extra c2pa is not installed")


@pytest.fixture
def _prepared(in_state: Callable[[StudyState, Path], Any], tmp_path: Path) -> Any:
    """A study with a finished run."""
    studio, study = in_state(StudyState.ACCEPTED, tmp_path)
    yield studio, study
    studio.services.database.close()


@pytest.fixture
def signer(tmp_path: Path) -> SignerFiles:
    from c2pa_certificates import signer_files  # the extra has what it imports

    return signer_files(tmp_path)


def read(data: bytes) -> dict[str, Any]:
    with c2pa.Reader("image/png", io.BytesIO(data)) as reader:
        body: dict[str, Any] = json.loads(reader.json())
    return body


def pixels(data: bytes) -> Any:
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image)


def test_exported_images_are_signed_and_name_their_photos(
    studio: FakeStudio, study: Study, signer: SignerFiles, tmp_path: Path
) -> None:
    export_study(studio.services, study.name, tmp_path / "set", signer=signer)
    lines = [json.loads(line) for line in (tmp_path / "set" / "manifest.jsonl").read_text().splitlines()]
    assert lines
    for line in lines:
        data = (tmp_path / "set" / line["files"]["image"]).read_bytes()
        stored = studio.services.images.get(line["sha256"]["image"])
        body = read(data)
        assert body["validation_state"] == "Valid"
        manifest = body["manifests"][body["active_manifest"]]
        assert manifest["signature_info"]["common_name"] == "A team"
        created = manifest["assertions"][0]["data"]["actions"][0]
        assert (created["action"], created["digitalSourceType"]) == ("c2pa.created", read_mark(data).source_type.uri)
        background = line["provenance"]["background"]
        (placed,) = [each for each in manifest["ingredients"] if each["relationship"] == "componentOf"]
        assert placed["description"] == f"SHA-256 {background['digest']}"
        assert "thumbnail" not in placed
        assert line["file_sha256"]["image"] == hashlib.sha256(data).hexdigest()
        np.testing.assert_array_equal(pixels(data), pixels(stored))
        assert b"c2pa" not in stored


def test_changed_pixel_is_found(studio: FakeStudio, study: Study, signer: SignerFiles, tmp_path: Path) -> None:
    export_study(studio.services, study.name, tmp_path / "set", signer=signer)
    data = bytearray(next((tmp_path / "set" / "images").iterdir()).read_bytes())
    data[data.rindex(b"IEND") - 12] ^= 1
    assert read(bytes(data))["validation_state"] == "Invalid"


def image(digit: str, name: str) -> ImageRef:
    return ImageRef(digest=digit * 64, width=9, height=9, name=name)


def sample(*concept_keys: str) -> Sample:
    traces = tuple(InstanceTrace(concept=ConceptChoice(key=key, name="its name")) for key in concept_keys)
    return Sample(
        image=image("0", "0.png"),
        mask=image("1", "1.png"),
        instances=(),
        provenance=Provenance(
            spec_digest="5bec" * 16,
            index=0,
            seed=1,
            engine="composite",
            engine_version="1",
            background=image("a", "plate.png"),
            trace=Trace(instances=traces),
        ),
    )


CONCEPTS = (image("b", "scratch.png"), image("c", "dent.png"))


def test_concept_that_was_pasted_is_a_component() -> None:
    sources = sources_of(sample(f"{'c' * 12}:0", f"{'c' * 12}:1"), CONCEPTS)
    assert [(source.image.name, source.is_component) for source in sources] == [("plate.png", True), ("dent.png", True)]


def test_concepts_that_a_model_was_given_are_inputs() -> None:
    sources = sources_of(sample(), CONCEPTS)
    assert [(source.image.name, source.is_component) for source in sources] == [
        ("plate.png", True),
        ("scratch.png", False),
        ("dent.png", False),
    ]


def test_no_address_that_a_photo_names_is_fetched(signer: SignerFiles) -> None:
    """C2PA's library fetched the manifest of a source photo from the address in its XMP."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)  # a connection would wait in its queue
        address = f"http://127.0.0.1:{server.getsockname()[1]}/manifest.c2pa"
        packet = (
            '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            f'<rdf:Description rdf:about="" xmlns:dcterms="http://purl.org/dc/terms/" dcterms:provenance="{address}"/>'
            "</rdf:RDF></x:xmpmeta>"
        )
        photo = io.BytesIO()
        Image.new("RGB", (32, 32)).save(photo, "JPEG", xmp=packet.encode())
        credentials = ContentCredentials(
            signer.certificate,
            signer.key,
            sources=lambda _sample: sources_of(sample(), ()),
            read=lambda _digest: photo.getvalue(),
        )
        png = io.BytesIO()
        Image.new("RGB", (9, 9)).save(png, "PNG")
        assert read(credentials.sign(sample(), png.getvalue()))["validation_state"] == "Valid"
        with pytest.raises(BlockingIOError):
            server.accept()


def nothing(_digest: str) -> bytes:
    raise StoreError("no photo is read")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda files: files.key.write_text("no key"), "is no private key in PEM without a password"),
        (lambda files: files.key.unlink(), r"--c2pa-key .* cannot be read: No such file or directory; name a PEM"),
        (lambda files: files.certificate.write_text("none"), "C2PA does not accept the certificate"),
        (lambda files: files.key.write_bytes(other_key()), "C2PA does not accept the certificate"),
    ],
)
def test_unusable_certificate_or_key_is_a_sentence(
    signer: SignerFiles, change: Callable[[SignerFiles], Any], sentence: str
) -> None:
    change(signer)
    with pytest.raises(InputProblem, match=sentence):
        ContentCredentials(signer.certificate, signer.key, sources=lambda _: (), read=nothing)


def other_key() -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
