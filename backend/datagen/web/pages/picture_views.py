"""The views of pictures, and of the files that are the same for everyone; a browser may keep both for good."""

from __future__ import annotations

from http import HTTPStatus

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from datagen.store.database import Database
from datagen.web.pages.addresses import PICTURES, VERSION_DIGITS, Addresses
from datagen.web.pages.compression import accepts_gzip
from datagen.web.pages.page_writer import PageWriter
from datagen.web.pages.pictures import Picture, Pictures
from datagen.web.pages.visitors import visible_projects

_FOR_GOOD = "private, max-age=31536000, immutable"


def add_pictures(
    blueprint: Blueprint, database: Database, pictures: Pictures, writer: PageWriter, to: Addresses
) -> None:
    """Add the views to a blueprint."""

    @blueprint.get(f"/{PICTURES}/<int:study_id>/sample/<int:sample_id>/<string(maxlength=40):variant>")
    def sample_picture(study_id: int, sample_id: int, variant: str) -> ResponseReturnValue:
        with database.read() as session:
            return _sent(pictures.of_sample(session, study_id, sample_id, variant, visible_projects()))

    @blueprint.get(f"/{PICTURES}/<int:study_id>/input/<int:task_id>/<string(maxlength=40):variant>")
    def input_picture(study_id: int, task_id: int, variant: str) -> ResponseReturnValue:
        with database.read() as session:
            return _sent(pictures.of_input(session, study_id, task_id, variant, visible_projects()))

    @blueprint.get(f"/{PICTURES}/<int:study_id>/learned/<int:picture_id>")
    def learned_picture(study_id: int, picture_id: int) -> ResponseReturnValue:
        with database.read() as session:
            return _sent(pictures.of_fit(session, study_id, picture_id, visible_projects()))

    @blueprint.get("/static/<string(maxlength=40):name>")
    def static_file(name: str) -> ResponseReturnValue:
        file = to.files.get(name)
        if file is None:
            return writer.error(HTTPStatus.NOT_FOUND, "There is no file at this address.")
        headers = _kept(request.args.get("v") == file.version) | {"Vary": "Accept-Encoding"}
        if accepts_gzip():
            return Response(file.packed, content_type=file.media_type, headers=headers | {"Content-Encoding": "gzip"})
        return Response(file.data, content_type=file.media_type, headers=headers)


def _sent(picture: Picture) -> Response:
    """Return the response with a picture; it may be kept for good if its address has its digest."""
    is_versioned = request.args.get("v") == picture.digest[:VERSION_DIGITS]
    return Response(picture.data, content_type=picture.media_type, headers=_kept(is_versioned))


def _kept(for_good: bool) -> dict[str, str]:
    """Return the header that says how long a browser may keep a response."""
    return {"Cache-Control": _FOR_GOOD} if for_good else {}
