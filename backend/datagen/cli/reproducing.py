"""The command that renders a sample again and compares it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from datagen.cli.console import AsJson, err, print_json, report_errors, show
from datagen.entrypoints.bootstrap import engine_settings_of, services, settings
from datagen.errors import InputProblem


def reproduce(
    item: Annotated[str, typer.Argument(help="A sample's key, an image file, or the name of an exported image.")],
    export_: Annotated[
        Path | None, typer.Option("--from", help="Take the sample from this export, without the installation's rows.")
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(help="Take the input photos from this folder; by default from the installation's store."),
    ] = None,
    allow_download: Annotated[
        bool,
        typer.Option("--allow-download", help="With --from: fetch weights that the export names from the hub."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Render a sample again, compare it, and say where it comes from; exits with 1 if it has other pixels."""
    from datagen.imaging.decoder_sandbox import DecoderSandbox
    from datagen.workflow.generation.picture_cache import StoredPictures
    from datagen.workflow.studies.reproduce import FolderPictures
    from datagen.workflow.studies.reproduce import reproduce as render_again
    from datagen.workflow.studies.sample_records import exported_record, stored_record, wanted_sample

    with report_errors():
        chosen = settings()
        if inputs is not None and not inputs.is_dir():
            raise InputProblem(f"{inputs} is no folder; --inputs names the folder of the input photos")
        if export_ is None or inputs is None:
            chosen.check_database_exists()
        wanted = wanted_sample(item, chosen.max_image_bytes)
        record = (
            exported_record(export_, wanted, chosen.max_image_bytes)
            if export_ is not None
            else stored_record(services(), wanted)
        )
        decoder = DecoderSandbox(max_bytes=chosen.max_image_bytes, max_pixels=chosen.max_image_pixels)
        if export_ is not None and not allow_download:
            # an export of others may name any model; the engines read this variable before each request
            os.environ["HF_HUB_OFFLINE"] = "1"
        with err.status("Rendering it again …"):  # shown only on a terminal
            reproduction = render_again(
                record,
                wanted,
                pictures=(
                    FolderPictures(inputs, decoder, chosen.max_image_bytes)
                    if inputs is not None
                    else StoredPictures(services().images, decoder)
                ),
                decoder=decoder,
                engine_settings=engine_settings_of(chosen),
            )
        if as_json:
            compared = [{"what": each.subject, "match": each.match.name.lower()} for each in reproduction.comparisons]
            print_json(
                {
                    "sample": reproduction.name,
                    "same": reproduction.is_same,
                    "compared": compared,
                    "origin": reproduction.origin,
                }
            )
        else:
            for comparison in reproduction.comparisons:
                show(str(comparison))
            for line in reproduction.origin:
                show(f"  {line}")
    if not reproduction.is_same:
        raise typer.Exit(1)
