"""Commands about a study: provisioning, inputs, status, export, repair and deletion."""

from __future__ import annotations

import getpass
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datagen.cli.admin import migrate
from datagen.cli.console import AsJson, Study, err, print_json, report_errors, safe, show, show_table, unwind_on_sigterm
from datagen.domain.inputs import ProjectKind, Role
from datagen.domain.verdict import VerdictRule
from datagen.domain.wording import by_number, counted
from datagen.entrypoints.bootstrap import engine_settings_of, join_as, server_access_of, services, settings
from datagen.entrypoints.installation import ProcessRole
from datagen.errors import InputProblem
from datagen.export.image_kinds import ImageKind
from datagen.export.selection import Judged, Place, Selection, Size
from datagen.export.splitting import Apart
from datagen.export.viewer_names import ViewerName

if TYPE_CHECKING:
    from datagen.workflow.inputs.import_files import Added
    from datagen.workflow.studies.open import OpenedStudy


#: Number of items shown for each reason; ``--json`` shows all.
EXAMPLES = 3
#: Number of notes shown; ``--json`` shows all.
MAX_NOTES = 20


def provision(
    name: Study,
    label: Annotated[list[str] | None, typer.Option(help="A label of the concept; may be repeated.")] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="Engine of new versions; by default DATAGEN_ENGINE if it is set, otherwise unchanged."),
    ] = None,
    confirm_above: Annotated[
        int | None,
        typer.Option(min=0, help="A run of more images has to be confirmed; 10,000 if it was never set."),
    ] = None,
    min_judged: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Approving a round with a smaller share of verdicts has to be confirmed; 0.5."),
    ] = None,
    min_good: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Approving a round with a smaller share of good verdicts has to be confirmed; 0.5."
        ),
    ] = None,
    annotate_up_to: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Runs of up to this many images get annotations in Label Studio, for its own export; 10,000.",
        ),
    ] = None,
    verdict_rule: Annotated[
        VerdictRule | None,
        typer.Option(
            help="Which verdicts on a preview count if there are several: each, the newest, the first, or each if "
            "all-agree (if they disagree, the preview counts as not judged); each if it was never set.",
        ),
    ] = None,
    reject_below: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=0.9,
            help="Audits and runs of versions refined from now on reject what the critic calls good with a smaller "
            "probability; 0: nothing; 0.2 if it was never set.",
        ),
    ] = None,
    new_secret: Annotated[
        bool, typer.Option("--new-secret", help="Replace the secret of its webhooks, after a leak.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create a study's Label Studio projects, or restore missing parts of them."""
    from datagen.workflow.studies.open import open_study
    from datagen.workflow.study_options import StudyOptions

    with report_errors():
        migrate()
        chosen = settings()
        join_as(ProcessRole.PROVISION)
        opened = open_study(
            services(),
            name,
            label or [],
            server_access_of(chosen),
            engine=engine or chosen.chosen_engine,
            default_engine=chosen.engine,
            preview_size=chosen.preview_size,
            options=StudyOptions(
                confirm_above=confirm_above,
                min_judged=min_judged,
                min_good=min_good,
                annotate_up_to=annotate_up_to,
                verdict_rule=verdict_rule,
                reject_below=reject_below,
            ),
            new_secret=new_secret,
        )
        if as_json:
            projects = {kind.name.lower(): n for kind, n in opened.projects.items()}
            engines = {"engine": opened.engine, "engine_before": opened.engine_before}
            print_json({"study": name, "projects": projects, **engines})
            return
        _show_opened(name, opened, chosen.label_studio_url)


def _show_opened(name: str, opened: OpenedStudy, label_studio_url: str) -> None:
    """Print a provisioned study's projects, what was changed, and what to do next."""
    show(name)
    addresses = {kind: f"{label_studio_url}/projects/{n}/data" for kind, n in opened.projects.items()}
    show_table(("project", "address"), [(str(kind), address) for kind, address in addresses.items()])
    changed = f"{opened.engine_before} → {opened.engine}" if opened.engine_before else opened.engine
    show(f"  engine: {changed}")
    for word, lines in (
        ("made", opened.created),
        ("mended", opened.mended),
        ("left as people changed it:", opened.kept),
    ):
        for line in lines:
            show(f"  {word} {line}")
    for line in opened.problems:
        err.print(f"[yellow]Not done:[/] {safe(line)}", highlight=False, soft_wrap=True)
    show(
        "Next: give inputs in Concepts, Canvases and Backgrounds (or with “datagen add”); then the newest task of "
        f"Decisions says what is missing, and what can be done: {addresses[ProjectKind.DECISIONS]}"
    )


def add(
    name: Study,
    role: Annotated[Role, typer.Argument(help="Role of the images.")],
    path: Annotated[
        Path | None,
        typer.Argument(help="A folder of images, or an export (Label Studio, COCO, VOC, YOLO); or a zip of one."),
    ] = None,
    from_project: Annotated[int | None, typer.Option(help="Take the tasks of this Label Studio project.")] = None,
    view: Annotated[int | None, typer.Option(help="Only the tasks in this tab of it.")] = None,
    images: Annotated[
        Path | None, typer.Option(help="Also look for the export's pictures in this folder, at any depth.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="THEIRS=OURS: use the export's label THEIRS as the study's label OURS; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add inputs from a folder, a zip, an export (with the annotations of its images) or another project."""
    from datagen.workflow.inputs.import_files import add_files, add_from_project

    if (path is None) == (from_project is None):
        raise typer.BadParameter("give either PATH or --from-project")
    if from_project is None and view is not None:
        raise typer.BadParameter("--view belongs to --from-project")
    if from_project is not None and images is not None:
        raise typer.BadParameter("--images belongs to a PATH")
    aliases = dict(_alias(pair) for pair in label or ())
    with report_errors():
        if from_project is not None:
            added = add_from_project(services(), name, role, from_project, view, aliases=aliases)
        else:
            assert path is not None
            added = add_files(services(), name, role, path, images=images, aliases=aliases)
    if as_json:
        counts = {"new": added.new, "known": added.known, "completed": added.completed, "regions": added.regions}
        print_json({**counts, "problems": list(added.problems), "notes": list(added.notes)})
    else:
        _show(added)
    if not added.usable:
        raise typer.Exit(1)


def _alias(pair: str) -> tuple[str, str]:
    theirs, equals, ours = pair.rpartition("=")
    if not equals or not theirs or not ours:
        raise typer.BadParameter(f"--label {pair}: give THEIRS=OURS, for example --label crack=scratch")
    return theirs, ours


def _show(added: Added) -> None:
    """Print the added items, and the unused ones with their reasons."""
    counts = [
        f"{counted(added.new, 'image')} added",
        f"{added.known} {by_number(added.known, 'was', 'were')} there already",
    ]
    if added.completed:
        counts.append(f"{added.completed} got drawings that they lacked")
    counts.append(f"{counted(added.regions, 'region')} used")
    show(", ".join(counts))
    for note in added.notes[:MAX_NOTES]:
        show(f"  {note}")
    if len(added.notes) > MAX_NOTES:
        show(f"  and {counted(len(added.notes) - MAX_NOTES, 'more note')}; --json shows all")
    for reason, items in added.grouped:
        shown = "; ".join(items[:EXAMPLES]) + (f"; and {len(items) - EXAMPLES} more" if len(items) > EXAMPLES else "")
        times = f"{counted(len(items), 'time')}, " if len(items) > 1 else ""
        err.print(f"[yellow]Not used:[/] {times}{safe(shown)}: {safe(reason)}", highlight=False, soft_wrap=True)
    if not added.usable:
        err.print("[red]Error:[/] nothing of it could be used", highlight=False)


def status(
    name: Annotated[str | None, typer.Argument(help="One study; by default all.")] = None, as_json: AsJson = False
) -> None:
    """Show the state of studies."""
    from datagen.workflow.studies.queries import describe

    with report_errors():
        with err.status("Reading where the studies stand …"):  # shown only on a terminal
            studies = describe(services().database, name)
        if as_json:
            print_json({"studies": studies})
            return
        if not studies:
            show("There are no studies yet. Make one: datagen provision NAME --label LABEL")
            return
        keys = (
            *("study", "engine", "state", "version"),
            *("inputs_text", "verdicts_text", "under_way", "dataset_tasks"),
        )
        heads = ("study", "engine", "state", "version", "inputs", "verdicts", "under way", "dataset images")
        show_table(heads, [[str(study[key]) for key in keys] for study in studies])
        for study in studies:
            for sentence in study["acceptance"]:
                show(f"{study['study']}, version {study['version']}: {sentence}")
            for problem in study["problems"]:
                err.print(f"[yellow]{safe(study['study'])}:[/] {safe(problem)}", highlight=False, soft_wrap=True)


def audit(
    name: Study,
    count: Annotated[int, typer.Option(min=1, max=100_000, help="Number of lines, the newest ones.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show a study's audit: its decisions, their authors and times; also of a deleted study."""
    from datagen.workflow.studies.audit import audit_lines

    with report_errors():
        lines = audit_lines(services().database, name, count)
        if as_json:
            print_json({"study": name, "audit": lines})
        elif not lines:
            show(f"nothing was decided in {name!r} yet")
        else:
            show_table(("at", "who", "what"), [[line["at"], line["who"], line["what"]] for line in lines])


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
            found = render_again(
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
            compared = [{"what": each.what, "match": each.match.name.lower()} for each in found.comparisons]
            print_json({"sample": found.name, "same": found.is_same, "compared": compared, "origin": found.origin})
        else:
            for comparison in found.comparisons:
                show(str(comparison))
            for line in found.origin:
                show(f"  {line}")
    if not found.is_same:
        raise typer.Exit(1)


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


def discard(
    name: Study, task: Annotated[list[int], typer.Argument(help="The tasks' ids; status and doctor name them.")]
) -> None:
    """Delete tasks that Label Studio cannot send, and so cannot show or delete itself."""
    from datagen.workflow.inputs.unreadable_tasks import discard as delete_unreadable

    with report_errors():
        deleted = delete_unreadable(services(), name, task)
        show(f"deleted: {by_number(len(deleted), 'task', 'tasks')} {', '.join(map(str, deleted))}")


def retry(name: Study) -> None:
    """Retry failed events and publications, and resume the last round or run if it failed."""
    from datagen.workflow.studies.maintenance import retry as try_again

    with report_errors():
        tried = try_again(services(), name, getpass.getuser())
        show(f"{counted(tried.outbox, 'failed message')} and {counted(tried.events, 'failed event')} tried again")
        if tried.inputs:
            show("the reading of inputs and the making of proposals that failed are tried again")
        if tried.revived:
            show(tried.revived)
        if tried.left:
            err.print(f"[yellow]Not done:[/] {safe(tried.left)}", highlight=False, soft_wrap=True)


def mend_links(
    name: Study,
    project: Annotated[
        list[int] | None,
        typer.Option(help="Also a project that datagen push filled, by its number; may be repeated."),
    ] = None,
) -> None:
    """Renew the image links in a study's tasks that are no longer valid."""
    from datagen.workflow.studies.image_links import mend_links as sign_again

    with report_errors():
        signed = sign_again(services(), name, project or ())
        show(f"{name}: {signed.mended} of {counted(signed.looked_at, 'link')} signed anew")
        show(f"  {counted(signed.decisions, 'decision task')} will be written anew by a worker")


def edit(
    name: Study,
    new_name: Annotated[str | None, typer.Option("--name", help="The new name, 3 to 50 characters.")] = None,
    description: Annotated[
        str | None, typer.Option(help="What the study is for, 200 characters at most; empty removes it.")
    ] = None,
) -> None:
    """Change a study's name or description; the titles of its Label Studio projects follow the name."""
    from datagen.workflow.studies.editing import edit_study, study_id_of

    if new_name is None and description is None:
        raise typer.BadParameter("give --name, --description or both")
    with report_errors():
        edited = edit_study(
            services(), study_id_of(services(), name), getpass.getuser(), name=new_name, description=description
        )
        show(f"{edited.name}: {edited.description or 'no description'}")
        for note in edited.notes:
            show(f"  {note}")


def clone(
    name: Study,
    new_name: Annotated[str, typer.Argument(help="The new study's name.")],
    version: Annotated[
        int | None,
        typer.Option(min=1, help="The clone's first version begins with the parameters of this version of the study."),
    ] = None,
) -> None:
    """Create a study with the inputs, engine and options of another one, in Label Studio projects of its own."""
    from datagen.workflow.studies.clone import clone_study

    with report_errors():
        chosen = settings()
        join_as(ProcessRole.PROVISION)
        cloned = clone_study(services(), name, new_name, getpass.getuser(), server_access_of(chosen), version=version)
        _show_opened(new_name, cloned.opened, chosen.label_studio_url)
        for role, added in cloned.added.items():
            show(f"{role}:")
            _show(added)


def archive(
    name: Study,
    undo: Annotated[bool, typer.Option("--undo", help="Take it out of the archive.")] = False,
) -> None:
    """Hide a study on the home page of the pages, until its archive is asked for; nothing else changes."""
    from datagen.workflow.studies.editing import archive_study, study_id_of

    with report_errors():
        archive_study(services(), study_id_of(services(), name), getpass.getuser(), archived=not undo)
        show(f"{name!r} is {'no longer archived' if undo else 'archived'}")


def delete(
    name: Study,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    projects: Annotated[bool, typer.Option("--projects", help="Delete its Label Studio projects too.")] = False,
) -> None:
    """Delete a study with its pictures; its audit is kept."""
    from datagen.workflow.services import find_study
    from datagen.workflow.studies.maintenance import delete_study

    with report_errors(), services().database.read() as session:
        find_study(session, name)  # an unknown name is reported before the confirmation
    if not yes:
        typer.confirm(f"Delete {name!r} with everything made for it?", abort=True)
    with report_errors():
        pictures = delete_study(services(), name, getpass.getuser(), with_projects=projects)
        show(f"{name!r} is deleted, with {counted(pictures, 'picture')} that no other study has")
