"""Inputs of a study: the list of one role, and further ones from files, addresses or a project of Label Studio."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Annotated

import structlog
from flask import request
from pydantic import Field, StringConstraints
from werkzeug.datastructures import FileStorage

from datagen.domain.inputs import Role
from datagen.errors import InputProblem, LabelStudioMissing
from datagen.label_studio.api.accounts import Account
from datagen.store.database import Database
from datagen.web.api.limits import LARGEST_UPLOAD
from datagen.web.api.operations import Body, Operations, Resource
from datagen.web.api.problems import Problem
from datagen.web.api.reading import Links, Page, PageQuery, reading
from datagen.workflow.inputs.import_files import Added, add_files, add_from_project
from datagen.workflow.services import Services
from datagen.workflow.study_pages.inputs_page_view import InputStatus, inputs_page_of

log = structlog.get_logger()

#: Largest number of files in one form, and largest size of a zip's files together, bytes.
MAX_FILES, LARGEST_UNPACKED = 200, 256 * 2**20
#: Media types of uploads.
ZIP, FORM = "application/zip", "multipart/form-data"
_ROLES = ", ".join(Role)
#: Largest number of items that an answer names as not used.
_MAX_PROBLEMS = 200
_ONE_SOURCE = "Give either “urls”, or “project_id” and perhaps “view_id”."
_HIDDEN_PROJECT = (
    "Label Studio does not show you every project of Datagen, so send files in place of addresses or projects."
)

Address = Annotated[str, StringConstraints(min_length=1, max_length=2_000)]


class Input(Resource):
    """An input photo."""

    task_id: int
    name: str
    sha256: str | None = Field(description="Of its picture; null if it cannot be read.")
    width: int
    height: int
    status: InputStatus
    drawn: int = Field(description="Number of usable boxes or areas that are drawn on it.")
    problems: list[str]
    findings: list[str] = Field(description="What the engine found about it in the newest version.")
    url: str | None = Field(description="Its task in Label Studio.")


class InputPage(Page):
    """A page of inputs of one role."""

    items: list[Input]


class NewInputs(Body):
    """Inputs on Label Studio: pictures by their addresses, or a project."""

    urls: list[Address] | None = Field(None, min_length=1, max_length=1_000, description="Pictures on Label Studio.")
    project_id: int | None = Field(
        None, ge=1, le=2**53, description="A project of Label Studio: its tasks with their drawings."
    )
    view_id: int | None = Field(None, ge=1, le=2**53, description="Only the tasks in this tab of the project.")


class AddedInputs(Resource):
    """Result of adding inputs."""

    new: int
    known: int = Field(description="Number of inputs that were there already.")
    completed: int = Field(description="Number of inputs that were there and got drawings that they lacked.")
    regions: int = Field(description="Number of boxes and areas that were taken.")
    problems: list[str] = Field(description="What was not used, and why.")
    notes: list[str]


def add_inputs(operations: Operations, database: Database, links: Links, services: Callable[[], Services]) -> None:
    """Add the operations."""

    @operations.get(f"/studies/<int:study_id>/inputs/<any({_ROLES}):role>", InputPage, query=PageQuery)
    def list_inputs(account: Account, study_id: int, role: str, query: PageQuery) -> InputPage:
        """List the inputs of one role."""
        with reading(database, account, study_id) as (session, _):
            view = inputs_page_of(session, study_id, account.project_ids, Role(role), query.cursor, query.limit)
        items = [
            Input(
                task_id=photo.task_id,
                name=photo.name,
                sha256=photo.digest,
                width=photo.width,
                height=photo.height,
                status=photo.status,
                drawn=photo.drawn,
                problems=list(photo.problems),
                findings=list(photo.findings),
                url=links.of(photo.target),
            )
            for photo in view.photos
        ]
        return InputPage(items=items, next_cursor=view.next_after)

    @operations.post(
        f"/studies/<int:study_id>/inputs/<any({_ROLES}):role>",
        AddedInputs,
        body=NewInputs,
        media_types=(ZIP, FORM),
        largest_body=LARGEST_UPLOAD,
    )
    def add_inputs_of_role(account: Account, study_id: int, role: str, body: NewInputs | None = None) -> AddedInputs:
        """Add inputs to a study, as “datagen add” does.

        Send pictures and, if they are drawn on, an export with the drawings (Label Studio, COCO, Pascal VOC, YOLO): as
        one zip, or as a form with files. Or name pictures or a project of Label Studio. What is there already is not
        added again.
        """
        with reading(database, account, study_id):
            pass  # raises an exception if the account does not see the study
        with _source(account, body) as source:
            if isinstance(source, Path):
                # an uploaded export may name pictures on Label Studio, as “urls” does
                sees_all = account.project_ids is None
                added = add_files(services(), study_id, Role(role), source, only_files=not sees_all)
            else:
                added = _of_project(services(), study_id, Role(role), *source)
        log.info("api.inputs_added", study=study_id, account=account.id, role=role, new=added.new)
        return _shown(added)


def _of_project(services: Services, study_id: int, role: Role, project_id: int, view_id: int | None) -> Added:
    """Add the tasks of a project.

    Raises:
        InputProblem: Label Studio has no such project or tab.
    """
    try:
        return add_from_project(services, study_id, role, project_id, view_id)
    except LabelStudioMissing as missing:
        raise InputProblem(str(missing)) from None


@contextmanager
def _source(account: Account, body: NewInputs | None) -> Iterator[Path | tuple[int, int | None]]:
    """Yield the folder or zip with the inputs of the current request, or a project and a tab of Label Studio.

    The installation's account reads what is on Label Studio, so an account that does not see all of it may name nothing
    there.

    Raises:
        Problem: the request names nothing that the account may use.
    """
    if body is not None:
        if (body.urls is None) == (body.project_id is None) or (body.project_id is None and body.view_id is not None):
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, _ONE_SOURCE, "wrong-request")
        if account.project_ids is not None:
            raise Problem(HTTPStatus.FORBIDDEN, _HIDDEN_PROJECT)
        if body.project_id is not None:
            yield body.project_id, body.view_id
            return
    with tempfile.TemporaryDirectory(prefix="datagen-api-") as folder, _without_path(folder):
        if body is not None:
            path = Path(folder, "tasks.json")
            path.write_text(json.dumps([{"data": {"image": url}} for url in body.urls or ()]), encoding="utf-8")
            yield path
        elif request.mimetype == ZIP:
            path = Path(folder, "upload.zip")
            path.write_bytes(request.get_data())
            _check_unpacked_size(path)
            yield path
        else:
            pictures = Path(folder, "upload")
            pictures.mkdir()
            _save(request.files.getlist("files"), pictures)
            yield pictures


def _check_unpacked_size(path: Path) -> None:
    """Check the size of an uploaded zip's files together; ``zip_import`` checks that none exceeds what is declared.

    Raises:
        InputProblem: they are too large.
    """
    with suppress(zipfile.BadZipFile, ValueError, NotImplementedError), zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > LARGEST_UNPACKED:
            raise InputProblem(f"{path} unpacks to more than {LARGEST_UNPACKED / 2**20:g} MiB; send less at once.")


@contextmanager
def _without_path(folder: str) -> Iterator[None]:
    """Remove the path of a temporary folder from the error messages about the files in it."""
    try:
        yield
    except InputProblem as problem:
        raise InputProblem(str(problem).replace(f"{folder}/", "")) from None


def _save(files: list[FileStorage], folder: Path) -> None:
    """Write the files of a form into a folder.

    Raises:
        InputProblem: there is no file, too many, two of one name, or one without a usable name.
    """
    if not 1 <= len(files) <= MAX_FILES:
        raise InputProblem(f"Send 1 to {MAX_FILES} files in the field “files” of the form, or one zip.")
    for file in files:
        name = PurePosixPath((file.filename or "").replace("\\", "/")).name
        if not name or name.startswith(".") or "\x00" in name or len(name.encode(errors="replace")) > 255:
            raise InputProblem(f"The file {(file.filename or '')[:100]!r} has no usable name; rename it.")
        path = folder / name
        if path.exists():
            raise InputProblem(f"Two files have the name {name!r}; rename one, or send a zip with folders.")
        file.save(path)


def _shown(added: Added) -> AddedInputs:
    return AddedInputs(
        new=added.new,
        known=added.known,
        completed=added.completed,
        regions=added.regions,
        problems=list(added.problems[:_MAX_PROBLEMS]),
        notes=list(added.notes[:_MAX_PROBLEMS]),
    )
