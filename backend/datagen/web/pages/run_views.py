"""The list of runs, and a run's page: its figures, and its images as a table that is filtered, sorted and saved."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache
from http import HTTPStatus

from cachetools import LRUCache
from flask import Blueprint, Response, g, request
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.domain.foreign_text import plain, whole_number
from datagen.domain.sample import file_stem_of
from datagen.domain.wording import sentence_case
from datagen.errors import InputProblem, Refused
from datagen.store.database import Database
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SampleRow
from datagen.web.download_sending import DownloadSender, file_name
from datagen.web.pages.actions import FORGED
from datagen.web.pages.addresses import DOWNLOADS
from datagen.web.pages.forms import MOST_IN_FORM, number_of
from datagen.web.pages.page_writer import PageWriter
from datagen.web.pages.ticks import CHOSEN, CLEAR, packed, too_many, unpacked
from datagen.web.pages.visitors import visible_projects
from datagen.workflow.generation.sample_facts import words_of
from datagen.workflow.generation.sample_table import (
    ORDERS,
    TableFilter,
    conditions,
    page_of,
    stored_shards,
    verdicts_of,
)
from datagen.workflow.study_pages.gallery_view import batch_of
from datagen.workflow.study_pages.live_view import format_offers, live_of
from datagen.workflow.study_pages.run_view import ALL, RunFigures, figures_of, run_of
from datagen.workflow.study_pages.runs_view import RunsFilter, runs_of

#: Largest number of images that are ticked on all pages of a table.
MOST_TICKED = 1_000
#: Number of runs and labels whose figures are kept.
_KEPT_FIGURES = 64
#: Number of rows of a CSV that are read in one transaction.
_ROWS_AT_A_TIME = 1_000
_COLUMNS = ("image", "index", "labels", "instances", "size_px", "background", "concept_photos", "verdict", "task")
#: Beginnings of a text that spreadsheets read as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class KeptFigures:
    """The figures of runs, which are computed again when images were added; thread-safe."""

    def __init__(self) -> None:
        self._kept: LRUCache[tuple[int, datetime, int, str], RunFigures | None] = LRUCache(_KEPT_FIGURES)
        self._guard = threading.Lock()

    def of(self, session: Session, run: BatchRow, label: str) -> RunFigures | None:
        """Return the figures of a run, or of its instances of a label; None before its first image."""
        # SQLite gives the id of a deleted run to the next one
        key = (run.id, run.requested_at, stored_shards(session, run), label)
        with self._guard:
            if key in self._kept:
                return self._kept[key]
        computed = figures_of(session, run, label)
        with self._guard:
            self._kept[key] = computed
        return computed


def add_runs(blueprint: Blueprint, database: Database, writer: PageWriter, downloads: DownloadSender) -> None:
    """Add the views to the pages."""
    figures = KeptFigures()
    offers = cache(format_offers)

    @blueprint.get("/runs")
    def runs() -> ResponseReturnValue:
        given = {name: plain(request.args.get(name, "")) for name in ("state", "study", "who")}
        chosen = RunsFilter(**{name: text.strip()[:200] for name, text in given.items()})
        with database.read() as session:
            view = runs_of(session, visible_projects(), chosen, number_of("before"))
        return writer.page("runs", "Runs", view=view)

    @blueprint.get("/studies/<int:study_id>/run/<int:number>")
    def run(study_id: int, number: int) -> ResponseReturnValue:
        return page(study_id, number, ticked=set())

    @blueprint.post("/studies/<int:study_id>/run/<int:number>/turn")
    def turn_page(study_id: int, number: int) -> ResponseReturnValue:
        """Return another page of the table with the ticks of the sent form; the address has what to show."""
        if not writer.visitors.is_own_form(request):
            return writer.error(HTTPStatus.BAD_REQUEST, FORGED)
        try:
            ticked = set() if request.form.get(CLEAR) == "yes" else ticked_images()
        except (InputProblem, Refused) as refusal:
            return writer.error(HTTPStatus.BAD_REQUEST, str(refusal))
        return page(study_id, number, ticked=ticked)

    def page(study_id: int, number: int, *, ticked: set[int]) -> ResponseReturnValue:
        chosen, order, after, problem = (
            TableFilter.of(request.args),
            request.args.get("sort", ""),
            number_of("after"),
            "",
        )
        with database.read() as session:
            row = batch_of(session, study_id, BatchKind.RUN, number, visible_projects())
            try:
                conditions(session, row, chosen)
            except InputProblem as fault:
                chosen, problem = ALL, str(fault)
            label = chosen.label if chosen.label in row.study.labels else ""
            view = run_of(session, row, figures.of(session, row, label), chosen, order, after)
            live, labels = live_of(session, row), row.study.labels
        title = f"{sentence_case('run')} {number} · {view.study}"
        elsewhere = ticked.difference(image.picture.number for image in view.images)
        return writer.page(
            "run",
            title,
            view=view,
            live=live,
            offers=offers(),
            labels=labels,
            problem=problem,
            ticked=ticked,
            elsewhere=len(elsewhere),
            packed_elsewhere=packed(elsewhere),
            most_ticked=MOST_TICKED,
            after=after,
        )

    @blueprint.get(f"/{DOWNLOADS}/<int:study_id>/run/<int:number>/images.csv")
    def run_table(study_id: int, number: int) -> ResponseReturnValue:
        chosen, order = TableFilter.of(request.args), request.args.get("sort", "")
        with database.read() as session:
            row = batch_of(session, study_id, BatchKind.RUN, number, visible_projects())
            try:
                conditions(session, row, chosen)
            except InputProblem as fault:
                return writer.error(400, str(fault))
            name = f"{row.study.name} run {number}.csv"
            run_id = row.id
        response = Response(_csv_lines(database, run_id, chosen, order), mimetype="text/csv")
        response.headers.set("Content-Disposition", "attachment", filename=file_name(name))
        return downloads.limited(response, study_id, g.session.account)


def ticked_images() -> set[int]:
    """Return the indices of the images that are ticked in the sent form, on all pages of the table.

    Raises:
        InputProblem: one is no number.
        Refused: there are too many, or those of other pages cannot be read.
    """
    ticked = unpacked(request.form.get(CHOSEN, ""), MOST_TICKED)
    for word in request.form.getlist("index"):
        index = whole_number(word, MOST_IN_FORM)
        if index is None:
            raise InputProblem(f"“{word[:40]}” is no index: give a whole number, with digits only.")
        ticked.add(index)
    if len(ticked) > MOST_TICKED:
        raise Refused(too_many(MOST_TICKED))
    return ticked


def _csv_lines(database: Database, run_id: int, chosen: TableFilter, order: str) -> Iterator[str]:
    """Yield the lines of a table with all samples that match, some at a time."""
    yield _csv([_COLUMNS])
    after: int | None = None
    while True:
        with database.read() as session:
            run = session.get(BatchRow, run_id)
            if run is None:  # it was deleted meanwhile
                return
            facts = page_of(session, run, chosen, order if order in ORDERS else ORDERS[0], after, _ROWS_AT_A_TIME)
            if not facts:
                return
            indices = [row.index for row in facts]
            of_run = (SampleRow.batch_id == run.id, SampleRow.index.in_(indices))
            rows = session.execute(select(SampleRow.index, SampleRow.task_id).where(*of_run))
            tasks: dict[int, int | None] = {row[0]: row[1] for row in rows}
            verdicts = verdicts_of(session, run, indices)
            spec_digest = run.spec.digest
        after = indices[-1]
        yield _csv(
            [
                (
                    file_stem_of(spec_digest, row.index),
                    row.index,
                    "; ".join(words_of(row.labels)),
                    row.instances,
                    row.size,
                    row.background,
                    "; ".join(words_of(row.concepts)),
                    verdicts[row.index].value,
                    tasks.get(row.index) or "",
                )
                for row in facts
            ]
        )


def _csv(rows: Iterable[Sequence[object]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file)
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return file.getvalue()


def _cell(value: object) -> object:
    """Return a value that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
