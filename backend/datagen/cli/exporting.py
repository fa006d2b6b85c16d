"""Commands that write a study's images and what describes them: export, view and card."""

from __future__ import annotations

import json
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from datagen.cli.console import Study, err, report_errors, safe, show, show_table, unwind_on_sigterm
from datagen.domain.wording import counted
from datagen.entrypoints.bootstrap import services
from datagen.errors import InputProblem
from datagen.export.image_kinds import ImageKind
from datagen.export.selection import Judged, Place, Selection, Size
from datagen.export.splitting import Apart
from datagen.export.viewer_names import ViewerName


def _print_formats(wanted: bool) -> None:
    if wanted:
        from datagen.export.writer import format_class, format_names

        rows = []
        for name in format_names():
            try:
                rows.append((name, format_class(name).sentence, format_class(name).opened_by))
            except InputProblem as problem:
                rows.append((name, str(problem), ""))
        show_table(("format", "what it holds", "opened by"), rows)
        raise typer.Exit


def export(
    name: Study,
    to: Annotated[
        str,
        typer.Option(
            "--out",
            help="The zip file (*.zip) or the folder to write: a path, or a URL such as s3://bucket/folder. "
            "An interrupted export goes on when it is run again.",
        ),
    ],
    run: Annotated[
        list[int] | None, typer.Option(help="Only the run of this number; may be repeated; by default all.")
    ] = None,
    verdict: Annotated[
        list[Judged] | None,
        typer.Option(help="Only images that people judged so in spot checks; may be repeated."),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Only images whose objects all have this label; may be repeated.")
    ] = None,
    min_size: Annotated[
        str | None,
        typer.Option(help="Only images whose objects all have this size or more: 24px (longer side), or 0.5% of it."),
    ] = None,
    max_size: Annotated[
        str | None, typer.Option(help="Only images whose objects all have this size or less: 24px, or 0.5%.")
    ] = None,
    place: Annotated[
        list[Place] | None,
        typer.Option(help="Only images whose objects all lie in this ninth of the image; may be repeated."),
    ] = None,
    min_instances: Annotated[int | None, typer.Option(min=0, help="Only images with so many objects or more.")] = None,
    max_instances: Annotated[int | None, typer.Option(min=0, help="Only images with so many objects or less.")] = None,
    balance: Annotated[
        str | None,
        typer.Option(help="Leave out images until no class has more objects than the rarest: label, size, place."),
    ] = None,
    real_share: Annotated[
        float, typer.Option(help="Share of real images: concept photos of the study with what people drew.")
    ] = 0.0,
    images: Annotated[ImageKind, typer.Option(help="Kind of the image files.")] = ImageKind.PNG,
    quality: Annotated[int | None, typer.Option(help="Quality of JPEG or WebP, 1 to 100; 90 by default.")] = None,
    tile: Annotated[int | None, typer.Option(help="Cut the images into tiles of this side in pixels.")] = None,
    overlap: Annotated[int, typer.Option(help="Least overlap of neighbouring tiles in pixels.")] = 0,
    empty_tiles: Annotated[
        float | None, typer.Option(help="Share of the tiles without an object that is kept; 0.1 by default.")
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="A format, coco by default; may be repeated. To list them: --formats."),
    ] = None,
    predictions: Annotated[
        bool, typer.Option("--predictions", help="In Label Studio JSON, write predictions in place of annotations.")
    ] = False,
    split: Annotated[
        str | None, typer.Option(help="Percentages of train, val and (if three) test, for example 80,20 or 70,15,15.")
    ] = None,
    rejected: Annotated[
        bool, typer.Option("--rejected", help="Write what the critic rejected, about 200 images of a run, instead.")
    ] = False,
    apart: Annotated[Apart, typer.Option(help="What two splits may not have in common.")] = Apart.BOTH,
    c2pa_cert: Annotated[
        Path | None,
        typer.Option(
            envvar="DATAGEN_C2PA_CERT",
            help="Add signed manifests (C2PA) to the images: a PEM file with the chain of certificates.",
        ),
    ] = None,
    c2pa_key: Annotated[
        Path | None, typer.Option(envvar="DATAGEN_C2PA_KEY", help="The PEM file with the certificate's private key.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file or folder if it exists.")] = False,
    _formats: Annotated[
        bool, typer.Option("--formats", help="List the formats.", is_eager=True, callback=_print_formats)
    ] = False,
) -> None:
    """Write the generated images with masks and labels as a zip or a folder, also in an object store."""
    from datagen.cli.progress import progress_bar
    from datagen.export.archive import ExportOptions
    from datagen.export.balance import dimensions
    from datagen.export.image_encoding import ImageEncoding
    from datagen.export.splitting import shares_of
    from datagen.export.tiling import DEFAULT_EMPTY_SHARE, Tiling
    from datagen.workflow.studies.credentials import SignerFiles
    from datagen.workflow.studies.destinations import local_path
    from datagen.workflow.studies.export import export_study, unfinished_runs

    if (c2pa_cert is None) != (c2pa_key is None):
        raise typer.BadParameter("--c2pa-cert and --c2pa-key belong together")
    signer = (
        SignerFiles(certificate=c2pa_cert, key=c2pa_key) if c2pa_cert is not None and c2pa_key is not None else None
    )
    with report_errors(), unwind_on_sigterm(), _note_of_interruption(to):
        selection = Selection(
            runs=tuple(run or ()),
            verdicts=tuple(verdict or ()),
            labels=tuple(label or ()),
            min_size=Size.parse(min_size) if min_size is not None else None,
            max_size=Size.parse(max_size) if max_size is not None else None,
            places=tuple(place or ()),
            min_instances=min_instances,
            max_instances=max_instances,
        )
        path = local_path(to)
        if not overwrite and path is not None and _is_there(path):
            raise InputProblem(f"{to} exists already; name another file, or replace it with --overwrite")
        for remark in () if rejected else unfinished_runs(services(), name, selection.runs):
            err.print(f"[yellow]Not complete:[/] {safe(remark)}", highlight=False, soft_wrap=True)
        if tile is None and (overlap or empty_tiles is not None):
            raise InputProblem("--overlap and --empty-tiles are about tiles; give --tile with the side in pixels too")
        empty = DEFAULT_EMPTY_SHARE if empty_tiles is None else empty_tiles
        options = ExportOptions(
            formats=tuple(formats or ("coco",)),
            predictions=predictions,
            encoding=ImageEncoding(images, quality),
            tiling=Tiling(side=tile, overlap=overlap, empty_share=empty) if tile is not None else None,
        )
        shares = shares_of(split) if split is not None else None
        with progress_bar("Exporting") as progress:
            summary = export_study(
                services(),
                name,
                to,
                selection=selection,
                balance=dimensions(balance) if balance is not None else (),
                real_share=real_share,
                rejected=rejected,
                shares=shares,
                apart=apart,
                options=options,
                overwrite=overwrite,
                progress=progress,
                signer=signer,
            )
        for note in summary.notes:
            err.print(f"[yellow]Note:[/] {safe(note)}", highlight=False, soft_wrap=True)
        of_these = f", {counted(summary.photos, 'real photo')} among them" if summary.photos else ""
        show(f"{to}: {counted(summary.samples, 'image')}{of_these}, {counted(summary.instances, 'label')}")


def view(
    name: Study,
    tool: Annotated[ViewerName, typer.Option("--with", help="The program to open it in.")],
    run: Annotated[
        list[int] | None, typer.Option(help="Only the run of this number; may be repeated; by default all.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--out", help="Keep the export in this folder; by default it is removed afterwards.")
    ] = None,
    python: Annotated[
        Path | None, typer.Option(help="The Python interpreter of the environment that has the program.")
    ] = None,
) -> None:
    """Open the generated images with their labels in FiftyOne, LightlyStudio or Embedding Atlas."""
    from datagen.export.archive import ExportOptions
    from datagen.export.viewers import VIEWERS, check_installed, open_export
    from datagen.workflow.studies.export import export_study

    viewer = VIEWERS[tool]
    with report_errors(), unwind_on_sigterm(), tempfile.TemporaryDirectory(prefix="datagen-view-") as scratch:
        check_installed(viewer, python)
        folder = to if to is not None else Path(scratch) / "set"
        if to is not None and (to.suffix.lower() == ".zip" or _is_there(to)):
            raise InputProblem(f"{to} is no new folder; name one for --out, or leave it out")
        options = ExportOptions(formats=(viewer.format,))
        summary = export_study(services(), name, folder, selection=Selection(runs=tuple(run or ())), options=options)
        show(f"{counted(summary.samples, 'image')} in {viewer.package}, until it is closed (Ctrl-C) …")
        with suppress(KeyboardInterrupt):
            open_export(viewer, folder.resolve(), python)


def card(
    name: Study,
    licence: Annotated[str, typer.Option(help="The dataset's licence, as an identifier of the hub.")] = "unknown",
    to: Annotated[Path | None, typer.Option("--out", help="Write the Markdown here; by default it is printed.")] = None,
    croissant: Annotated[
        Path | None, typer.Option(help="Also write Croissant JSON-LD here; needs --export, whose files it names.")
    ] = None,
    export_: Annotated[
        Path | None,
        typer.Option("--export", help="The export that the card goes with, which may hold a part of the runs."),
    ] = None,
) -> None:
    """Write the dataset card of a study's runs: what they hold, from what, and how they were reviewed."""
    from datagen.export.card import croissant as as_croissant
    from datagen.export.card import markdown
    from datagen.workflow.studies.card import card_facts, checksum_of, facts_of_export

    if croissant is not None and export_ is None:
        raise typer.BadParameter("--croissant needs --export, whose files it names")
    with report_errors():
        checksum = checksum_of(export_) if export_ is not None else ""
        exported = facts_of_export(export_) if export_ is not None else None
        facts = card_facts(services(), name, licence, exported)
        if to is None:
            sys.stdout.write(markdown(facts))
        else:
            _write_text(to, markdown(facts))
        if croissant is not None and export_ is not None:
            archive = "" if export_.is_dir() else export_.name
            body = as_croissant(facts, archive=archive, sha256=checksum)
            _write_text(croissant, json.dumps(body, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def _note_of_interruption(to: str) -> Iterator[None]:
    """Context manager that says, when the command is interrupted, how its export goes on."""
    from datagen.workflow.studies.destinations import after_interruption

    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if sentence := after_interruption(to):
            err.print(f"[yellow]Interrupted:[/] {safe(sentence)}", highlight=False, soft_wrap=True)
        raise


def _is_there(path: Path) -> bool:
    """Return whether there is a file, or a folder that is not empty."""
    try:
        return path.is_file() or (path.is_dir() and any(path.iterdir()))
    except OSError as refusal:
        raise InputProblem(f"{path} cannot be written: {refusal}; choose another place") from refusal


def _write_text(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        try:
            draft.write_text(text, encoding="utf-8")
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as refusal:
        raise InputProblem(f"{path} cannot be written: {refusal}; choose another place") from refusal
    show(f"{path}: written")
