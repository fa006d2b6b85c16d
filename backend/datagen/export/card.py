"""The card of a dataset: Markdown with the YAML head of Hugging Face's hub, and Croissant JSON-LD (MLCommons 1.0)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datagen import __version__
from datagen.domain.wording import by_number, counted
from datagen.export.export_facts import ExportFacts
from datagen.export.yaml_text import quoted

#: The licence in a card for which none was given.
NO_LICENCE = "unknown"

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
#: Characters that have a meaning in Markdown or HTML.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|])")
_CROISSANT_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """The facts that a card states. All of them were counted."""

    study: str
    licence: str
    #: by label, in the study's order
    instances: Mapping[str, int]
    images: int
    #: width and height in pixels → the number of images
    sizes: Mapping[tuple[int, int], int]
    #: the runs, as JSON values; see ``workflow.studies.descriptions``
    runs: Sequence[Mapping[str, Any]]
    #: “composite 2.1” → the number of images
    engines: Mapping[str, int]
    #: inputs of the versions of the runs: role → the number of photos
    inputs: Mapping[str, int]
    #: verdicts on previews of these versions
    good: int
    bad: int
    reviewers: int
    previews: int
    #: reason of a verdict → how often
    reasons: Mapping[str, int]
    #: sentences about what is incomplete or was warned of
    limits: Sequence[str]
    #: the export that the card goes with, if it has a part of the runs, or more than they hold
    export: ExportFacts | None = None

    @property
    def images_in_all(self) -> int:
        """The number of images that the card is about."""
        return self.images if self.export is None else self.export.images


def markdown(facts: CardFacts) -> str:
    """Return the card in Markdown."""
    return "\n".join([*_head(facts), *_body(facts)]) + "\n"


def croissant(facts: CardFacts, *, archive: str = "", sha256: str = "") -> dict[str, Any]:
    """Return the card as Croissant's JSON-LD.

    Args:
        facts: what it states.
        archive: the name of the zip with the dataset; "" for a folder.
        sha256: the checksum (hex) of the zip, or of the folder's manifest.
    """
    manifest: dict[str, Any] = {
        "@type": "cr:FileObject",
        "@id": "manifest",
        "name": "manifest.jsonl",
        "contentUrl": "manifest.jsonl",
        "encodingFormat": "application/jsonlines",
    }
    distribution: list[dict[str, Any]] = [manifest | {"sha256": sha256}]
    if archive:
        zipped = {"@type": "cr:FileObject", "@id": "archive", "name": archive, "contentUrl": archive}
        zipped |= {"encodingFormat": "application/zip", "sha256": sha256}
        distribution = [zipped, manifest | {"containedIn": {"@id": "archive"}}]
    fields = [
        _field("image", "sc:Text", "files", "image", "path of the image file"),
        _field("mask", "sc:Text", "files", "mask", "path of the instance mask"),
        _field("width", "sc:Integer", "width", "", "pixels"),
        _field("height", "sc:Integer", "height", "", "pixels"),
        _field("image_sha256", "sc:Text", "sha256", "image", "SHA-256 of the image as it was rendered"),
        _field("spec", "sc:Text", "provenance", "spec_digest", "digest of the spec that the image was rendered from"),
        _field("index", "sc:Integer", "provenance", "index", "number of the image in its spec"),
    ]
    return {
        "@context": _CROISSANT_CONTEXT,
        "@type": "sc:Dataset",
        "name": re.sub(r"[^A-Za-z0-9_-]+", "-", facts.study).strip("-") or "dataset",
        "alternateName": facts.study,
        "description": _summary(facts),
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "license": facts.licence,
        "version": "1.0.0",
        "datePublished": max((str(run["approved_at"]) for run in facts.runs), default=""),
        "creator": {"@type": "Organization", "name": f"Datagen for Label Studio {__version__}"},
        "keywords": ["synthetic", *facts.instances],
        "rai:dataCollection": "synthesized: " + ", ".join(facts.engines),
        "distribution": distribution,
        "recordSet": [{"@type": "cr:RecordSet", "@id": "images", "name": "images", "field": fields}],
    }


def _field(name: str, kind: str, column: str, key: str, description: str) -> dict[str, Any]:
    """Return a field that is a property of the manifest's lines, or the value of a key in one."""
    source: dict[str, Any] = {"fileObject": {"@id": "manifest"}, "extract": {"column": column}}
    if key:
        source["transform"] = {"jsonPath": f"$.{key}"}
    return {
        "@type": "cr:Field",
        "@id": f"images/{name}",
        "name": name,
        "description": description,
        "dataType": kind,
        "source": source,
    }


def _head(facts: CardFacts) -> Iterator[str]:
    size = next((name for limit, name in _SIZES if facts.images_in_all < limit), "1M<n<10M")
    yield "---"
    yield f"pretty_name: {quoted(facts.study)}"
    yield f"license: {quoted(facts.licence)}"
    for key, values in (
        ("task_categories", ["object-detection", "image-segmentation"]),
        ("tags", ["synthetic", "datagen"]),
        ("annotations_creators", ["machine-generated", *(["expert-generated"] if _photos(facts) else [])]),
        ("source_datasets", ["original"]),
        ("size_categories", [size]),
    ):
        yield f"{key}:"
        yield from (f"- {value}" for value in values)
    yield "---"


def _body(facts: CardFacts) -> Iterator[str]:
    yield ""
    yield f"# {_plain(facts.study)}"
    yield ""
    yield _plain(_summary(facts))
    yield ""
    yield "## What it holds"
    yield ""
    yield "| label | objects |"
    yield "|---|---|"
    yield from (f"| {_plain(label)} | {count:,} |" for label, count in facts.instances.items())
    yield ""
    yield "| pixels | images |"
    yield "|---|---|"
    yield from (f"| {width} × {height} | {count:,} |" for (width, height), count in facts.sizes.items())
    yield ""
    if facts.export is not None:
        yield from _export(facts.export)
    yield "## What it was made from"
    yield ""
    yield from (f"- {counted(count, f'{role} photo')}" for role, count in facts.inputs.items())
    yield from (f"- {counted(count, 'image')} rendered by {_plain(name)}" for name, count in facts.engines.items())
    yield ""
    yield "| run | version | images | asked for by | at | spec |"
    yield "|---|---|---|---|---|---|"
    for run in facts.runs:
        cells = (
            f"{run['number']} ({run['name']})",
            run["spec_version"],
            f"{run['images_asked_for']:,}",
            run["approved_by"],
            run["approved_at"],
            f"{run['spec_digest'][:12]}…",
        )
        yield f"| {' | '.join(_plain(str(cell)) for cell in cells)} |"
    yield ""
    yield "## How it was reviewed"
    yield ""
    yield from _review(facts)
    for run in facts.runs:
        if run["promise"]:
            yield ""
            yield f"When run {run['number']} was approved, its audit stated: {_plain(run['promise']['sentence'])}"
    yield ""
    yield "## Known limits"
    yield ""
    if _photos(facts):
        yield "- Real photos have the labels that people drew: an object that nobody drew is not labelled."
    yield "- The images are synthetic: measure what a model learned from them on real images that it has not seen."
    yield "- The images of the runs themselves were not reviewed one by one; previews of the same versions were."
    yield from (f"- {_plain(line)}" for line in facts.limits)
    yield ""
    yield "## Licence and versions"
    yield ""
    if facts.licence == NO_LICENCE:
        yield "No licence was stated. The rights in the input photos remain with their owners."
    else:
        yield f"Licence: {_plain(facts.licence)}. The rights in the input photos are to be observed."
    of_photos = " Real photos have no such mark." if _photos(facts) else ""
    yield (
        f"Written by Datagen for Label Studio {__version__}. The image files state in XMP that they are synthetic."
        f"{of_photos}"
    )


def _photos(facts: CardFacts) -> int:
    return facts.export.photos if facts.export is not None else 0


def _export(export: ExportFacts) -> Iterator[str]:
    """Yield the section on an export that does not hold the runs as they are."""
    yield "## What this export holds of it"
    yield ""
    photos = f", {counted(export.photos, 'real photo')} among them" if export.photos else ""
    yield f"{counted(export.images, 'image file')}{photos}."
    yield ""
    yield "| label | objects |"
    yield "|---|---|"
    yield from (f"| {_plain(label)} | {count:,} |" for label, count in export.instances.items())
    yield ""
    yield from (f"- {_plain(line)}" for line in export.choices)
    yield from (f"- {_plain(line)}." for line in export.notes)
    yield ""


def _review(facts: CardFacts) -> Iterator[str]:
    judged = facts.good + facts.bad
    if not judged:
        yield f"Nobody judged the {counted(facts.previews, 'preview')} of these versions."
        return
    yield (
        f"{facts.reviewers:,} {by_number(facts.reviewers, 'person', 'people')} gave {counted(judged, 'verdict')} on "
        f"{counted(facts.previews, 'preview')} of these versions: {facts.good:,} good, {facts.bad:,} bad."
    )
    if facts.reasons:
        yield ""
        yield from (f"- {_plain(reason)}: {counted(count, 'time')}" for reason, count in facts.reasons.items())


def _summary(facts: CardFacts) -> str:
    labels = ", ".join(facts.instances)
    objects = counted(sum(facts.instances.values()), "labelled object")
    images = counted(facts.images, "synthesized image")
    rest = ""
    if facts.export is not None:
        photos = f" and {counted(facts.export.photos, 'real photo')}" if facts.export.photos else ""
        rest = f" This export holds {counted(facts.export.images - facts.export.photos, 'file')} of them{photos}."
    return f"{images} with {objects} ({labels}), each with an instance mask, boxes and outlines.{rest}"


def _plain(text: str) -> str:
    """Return a text without effect on Markdown, in one line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))
