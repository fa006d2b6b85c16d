"""The page with a study's name, description, archive and deletion, and its actions."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from flask import request
from flask.typing import ResponseReturnValue

from datagen.errors import DatagenError, Refused
from datagen.store.database import Database
from datagen.web.pages.actions import Actions, Actor, Outcome, sentence_of
from datagen.web.pages.addresses import Addresses
from datagen.web.pages.background import BackgroundWork
from datagen.web.pages.page_writer import PageWriter
from datagen.web.pages.visitors import visible_projects
from datagen.workflow.decisions.shown_state import check_state, state_token
from datagen.workflow.decisions.spec_versions import running_batch
from datagen.workflow.outages import shown
from datagen.workflow.services import Services
from datagen.workflow.studies.editing import LONGEST_DESCRIPTION, LONGEST_NAME, archive_study, edit_study
from datagen.workflow.studies.extent import extent_of
from datagen.workflow.studies.maintenance import delete_study
from datagen.workflow.study_pages.access import visible_study

_BUSY = "Work is under way. Cancel it first, and delete the study then."


def add_study_settings(
    actions: Actions, database: Database, writer: PageWriter, to: Addresses, background: BackgroundWork
) -> None:
    """Add the page and its actions."""

    @actions.blueprint.get("/studies/<int:study_id>/settings")
    def settings(study_id: int) -> ResponseReturnValue:
        with database.read() as session:
            study = visible_study(session, study_id, visible_projects())
            return writer.page(
                "settings",
                f"Settings · {study.name}",
                study=study,
                extent=extent_of(session, study_id),
                state_token=state_token(session, study),
                longest_name=LONGEST_NAME,
                longest_description=LONGEST_DESCRIPTION,
                is_being_deleted=background.has(("delete", study_id)),
            )

    @actions.add("/studies/<int:study_id>/edit", to.settings)
    def edit(actor: Actor, study_id: int) -> Outcome:
        given = request.form
        done = edit_study(
            actor.services, study_id, actor.email, name=given.get("name", ""), description=given.get("description", "")
        )
        return Outcome(to.settings(study_id), " ".join([f"“{done.name}” is saved.", *done.notes]))

    @actions.add("/studies/<int:study_id>/archive", to.settings)
    def archive(actor: Actor, study_id: int) -> Outcome:
        archived = request.form.get("archived") == "yes"
        archive_study(actor.services, study_id, actor.email, archived=archived)
        sentence = "The list of studies hides it now." if archived else "The list of studies shows it again."
        return Outcome(to.settings(study_id), sentence)

    @actions.add("/studies/<int:study_id>/delete", to.settings)
    def delete(actor: Actor, study_id: int) -> Outcome:
        services, with_projects = actor.services, request.form.get("projects") == "yes"
        with services.database.read() as session:
            study = visible_study(session, study_id, visible_projects())
            check_state(session, study, request.form.get("state_token", ""))
            if running_batch(session, study_id) is not None:
                raise Refused(_BUSY)
            name = study.name
        work = partial(_delete, services, study_id, name, actor.email, with_projects=with_projects)
        if not background.start(("delete", study_id), work):
            raise Refused(f"“{name}” is being deleted already.")
        return Outcome(
            to.home(),
            f"“{name}” is being deleted. It is in the archive until that is done; if it stays there, its history says "
            "why.",
        )


def _delete(services: Services, study_id: int, name: str, who: str, *, with_projects: bool) -> None:
    """Delete a study, which is archived meanwhile. A fault becomes a line of its history.

    The database of pages ends a statement after seconds, and those that delete a large study take longer.
    """
    archive_study(services, study_id, who, archived=True)
    patient = Database(services.database.url)
    try:
        delete_study(replace(services, database=patient), name, who, with_projects=with_projects, study_id=study_id)
    except Exception as fault:
        reason = sentence_of(fault) if isinstance(fault, DatagenError) else shown(fault)
        with services.unit() as unit:
            study = unit.lock_study(study_id)
            unit.note(study, who, f"the deletion stopped, and can be begun again: {reason}")
        if not isinstance(fault, DatagenError):
            raise
    finally:
        patient.engine.dispose()
