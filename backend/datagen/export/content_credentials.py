"""Signed manifests (C2PA, Content Credentials) in exported images. c2pa-python is an extra of this package.

A manifest states how the image came about and which photos it was made from, and is signed with the user's certificate.
Each signature is different, so manifests are added to the exported copies alone: stored images stay the same bytes for
the same spec and index.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from datagen import __version__
from datagen.domain.inputs import ImageRef
from datagen.domain.sample import Sample
from datagen.domain.source_type import SourceType
from datagen.errors import InputProblem, StoreError
from datagen.imaging.file_signatures import kind_of
from datagen.imaging.png_encoder import encode_png
from datagen.imaging.provenance_mark import read_mark

#: Number of source photos whose bytes are kept.
_KEPT_PHOTOS = 8
#: The signature algorithms of C2PA by the curve of the key.
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
#: No thumbnails: a manifest names the source photos, and does not contain them. Nothing is fetched: a photo may name
#: any address as that of its manifest or certificate.
_SETTINGS: Mapping[str, Any] = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A photo that a sample was made from."""

    image: ImageRef
    #: whether its pixels are part of the sample; otherwise a model was given it
    is_component: bool


class ContentCredentials:
    """Signs images of samples.

    Args:
        certificate: a PEM file with the signer's certificate, followed by those of its issuers.
        key: a PEM file with the certificate's private key, without a password.
        sources: returns the photos that a sample was made from.
        read: returns a stored photo by its digest.

    Raises:
        InputProblem: c2pa-python is not installed, a file cannot be read, or C2PA does not accept the certificate.
    """

    def __init__(
        self,
        certificate: Path,
        key: Path,
        *,
        sources: Callable[[Sample], Sequence[Source]],
        read: Callable[[str], bytes],
    ) -> None:
        try:
            import c2pa
        except ImportError as missing:
            raise InputProblem(
                "signed manifests need c2pa-python; install the extra: pip install 'label-studio-datagen[c2pa]'"
            ) from missing
        self._sources = sources
        self._read = lru_cache(_KEPT_PHOTOS)(read)
        self._context = c2pa.Context(settings=c2pa.Settings.from_dict(dict(_SETTINGS)))
        chain, private_key = _content(certificate, "--c2pa-cert"), _content(key, "--c2pa-key")
        algorithm = _algorithm(private_key, key)
        try:
            info = c2pa.C2paSignerInfo(alg=algorithm.encode(), sign_cert=chain, private_key=private_key, ta_url=None)
            self._signer = c2pa.Signer.from_info(info)
            test = _manifest("test", "", "a test", SourceType.ALGORITHMIC_MEDIA, ())
            self._embed(test, (), encode_png(np.zeros((1, 1, 3), np.uint8)))
        except c2pa.C2paError as refusal:
            raise InputProblem(
                f"C2PA does not accept the certificate {certificate} with the key {key} ({refusal}); give a chain that "
                "begins with an end-entity certificate of this key for signing (extended key usage: e-mail protection)"
            ) from refusal

    def sign(self, sample: Sample, image: bytes) -> bytes:
        """Return the image file of a sample with a signed manifest. Its pixels are the same.

        Raises:
            StoreError: a source photo is missing, or the image cannot be signed.
        """
        from c2pa import C2paError

        name = sample.provenance.file_stem
        mark = read_mark(image)
        source_type = mark.source_type if mark is not None else SourceType.COMPOSITE
        sources = self._sources(sample)
        provenance = sample.provenance
        description = f"sample {provenance.index} of spec {provenance.spec_digest}"
        try:
            return self._embed(_manifest(name, provenance.engine, description, source_type, sources), sources, image)
        except C2paError as refusal:
            raise StoreError(f"image {name} cannot be signed: {refusal}; export it without --c2pa-cert") from refusal

    def _embed(self, manifest: Mapping[str, Any], sources: Sequence[Source], image: bytes) -> bytes:
        import c2pa

        signed = io.BytesIO()
        with c2pa.Builder(dict(manifest), context=self._context) as builder:
            for number, source in enumerate(sources):
                photo = self._read(source.image.digest)
                builder.add_ingredient(_ingredient(number, source), _media_type(photo), io.BytesIO(photo))
            builder.sign(self._signer, _media_type(image), io.BytesIO(image), signed)
        return signed.getvalue()


def _manifest(
    title: str, engine: str, description: str, source_type: SourceType, sources: Sequence[Source]
) -> dict[str, Any]:
    created = {
        "action": "c2pa.created",
        "digitalSourceType": source_type.uri,
        "softwareAgent": {"name": f"Datagen for Label Studio, engine {engine}", "version": __version__},
        "parameters": {
            "description": description,
            "ingredientIds": [_label(i) for i, source in enumerate(sources) if not source.is_component],
        },
    }
    placed = [
        {"action": "c2pa.placed", "parameters": {"ingredientIds": [_label(i)]}}
        for i, source in enumerate(sources)
        if source.is_component
    ]
    return {
        "claim_generator_info": [{"name": "Datagen for Label Studio", "version": __version__}],
        "title": title,
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [created, *placed]}}],
    }


def _ingredient(number: int, source: Source) -> dict[str, Any]:
    return {
        "title": source.image.name,
        "description": f"SHA-256 {source.image.digest}",
        "relationship": "componentOf" if source.is_component else "inputTo",
        "label": _label(number),
    }


def _label(number: int) -> str:
    return f"source{number}"


def _media_type(data: bytes) -> str:
    return f"image/{kind_of(data).lower()}"


def _content(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as refusal:
        raise InputProblem(f"{option} {path} cannot be read: {refusal.strerror}; name a PEM file") from refusal


def _algorithm(private_key: bytes, path: Path) -> str:
    """Return C2PA's name of the algorithm of a key.

    Raises:
        InputProblem: the key cannot be read, or C2PA has no algorithm for it.
    """
    # cryptography is a requirement of c2pa-python
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(private_key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as fault:
        raise InputProblem(f"--c2pa-key {path} is no private key in PEM without a password ({fault})") from fault
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    raise InputProblem(f"--c2pa-key {path} is of a kind that C2PA does not sign with; use an EC key (P-256), or RSA")
