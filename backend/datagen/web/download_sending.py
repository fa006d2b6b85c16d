"""Sends the files of downloads, for the pages and the API: a whole file, or the range that a request names.

A file occupies a thread until it is sent, so the number of files that are sent at the same time is limited for each
study and each account.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus

from flask import Response, request
from werkzeug.http import quote_etag

from datagen.domain.wording import counted
from datagen.errors import Refused, StoreMissing
from datagen.label_studio.api.accounts import Account
from datagen.store.database import Database
from datagen.store.download_files import DownloadFiles
from datagen.store.tables.base import HandoverKind, WorkState
from datagen.store.tables.handovers import HandoverRow
from datagen.workflow.study_pages.access import visible_study

#: Media type of the files.
ZIP = "application/zip"
#: Largest number of files of one study, and to one account, that are sent at the same time.
MAX_SENT_OF_STUDY, MAX_SENT_TO_ACCOUNT = 4, 2
#: Seconds after which a client may request a file again if too many are being sent.
RETRY_AFTER_SECONDS = 30
_GONE = "The file of this download is not kept any more. Make the download again on the page of its run."
_UNFINISHED = "This download is not complete yet. Its file will be at this address."
_TOO_MANY = (
    f"{counted(MAX_SENT_TO_ACCOUNT, 'file')} are being sent to you, or {MAX_SENT_OF_STUDY} of this study to all, at "
    "this moment. Try again when one is complete."
)


class TooManySent(Exception):
    """The largest number of files of the study, or to the account, is being sent."""


class SendingSlots:
    """Counts the files of each study, and to each account, that are being sent; thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._of_study: Counter[int] = Counter()
        self._to_account: Counter[int] = Counter()

    def take(self, study_id: int, account_id: int) -> bool:
        """Take a slot; return False if the study or the account has none left."""
        with self._guard:
            if self._of_study[study_id] >= MAX_SENT_OF_STUDY or self._to_account[account_id] >= MAX_SENT_TO_ACCOUNT:
                return False
            self._of_study[study_id] += 1
            self._to_account[account_id] += 1
            return True

    def release(self, study_id: int, account_id: int) -> None:
        """Release a slot."""
        with self._guard:
            self._of_study[study_id] -= 1
            self._to_account[account_id] -= 1


class DownloadSender:
    """Sends files; thread-safe. The pages and the API of a process share one, and with it the files sent at a time."""

    def __init__(self, database: Database, files: DownloadFiles) -> None:
        self._database, self._files = database, files
        self._slots = SendingSlots()

    def send(self, study_id: int, download_id: int, account: Account) -> Response:
        """Return the response to the current request for the file of a download.

        Args:
            study_id: the study.
            download_id: the id of the handover.
            account: whom it is sent to.

        Raises:
            Refused: there is no such download, the person may not see it, or its file is not there.
            TooManySent: it may be sent later.
            StoreUnavailable: the image store does not answer.
        """
        with self._database.read() as session:
            study = visible_study(session, study_id, account.project_ids)
            row = session.get(HandoverRow, download_id)
            if row is None or row.study_id != study.id or row.kind is not HandoverKind.DOWNLOAD:
                raise Refused("There is no download at this address.")
            if row.state in (WorkState.PENDING, WorkState.RUNNING):
                raise Refused(_UNFINISHED)
            if row.state is not WorkState.DONE or not row.file:
                raise Refused(_GONE)
            file, name = row.file, f"{study.name} run {row.wish['run']}.zip"
        try:
            size = self._files.size(file)
        except StoreMissing as missing:
            raise Refused(_GONE) from missing
        response = _ranged(self._files, file, size)
        response.headers.set("Content-Disposition", "attachment", filename=file_name(name))
        return self.limited(response, study_id, account)

    def limited(self, response: Response, study_id: int, account: Account) -> Response:
        """Return a response that holds a slot until it is closed. Do nothing that may fail with it afterwards.

        Raises:
            TooManySent: it may be sent later.
        """
        if not self._slots.take(study_id, account.id):
            raise TooManySent(_TOO_MANY)
        response.call_on_close(lambda: self._slots.release(study_id, account.id))
        return response


def _ranged(files: DownloadFiles, file: str, size: int) -> Response:
    """Return the response with a file, or with the range of it that the request names."""
    etag = file.removesuffix(".zip")[:16]
    headers = {"Accept-Ranges": "bytes", "ETag": quote_etag(etag), "Cache-Control": "private, no-cache"}
    if request.if_none_match.contains_weak(etag):
        return Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    start, stop, status = 0, size, HTTPStatus.OK
    wanted = request.range
    if wanted is not None and wanted.units == "bytes" and len(wanted.ranges) == 1 and _is_same(etag):
        part = wanted.range_for_length(size)
        if part is None:
            headers["Content-Range"] = f"bytes */{size}"
            return Response(status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers=headers)
        start, stop = part
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        status = HTTPStatus.PARTIAL_CONTENT
    headers["Content-Length"] = str(stop - start)
    pieces: Iterator[bytes] = files.pieces(file, start, stop) if request.method != "HEAD" else iter(())
    return Response(pieces, status=status, mimetype=ZIP, headers=headers)


def _is_same(etag: str) -> bool:
    """Return whether the request continues this file, or names no file that it continues."""
    condition = request.if_range
    if condition.date is not None:
        return False
    return condition.etag is None or condition.etag == etag


def file_name(name: str) -> str:
    """Return a file's name without characters that file systems do not accept."""
    return "".join("_" if character in '\\/:*?"<>|' or not character.isprintable() else character for character in name)
