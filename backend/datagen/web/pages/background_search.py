"""Choosing backgrounds among the tasks of a Label Studio project: a search by a column, and the addition of matches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flask import request

from datagen.domain.foreign_text import plain, whole_number
from datagen.domain.inputs import Role
from datagen.domain.wording import by_number, counted
from datagen.errors import LabelStudioMissing, Refused
from datagen.store.tables.studies import StudyRow
from datagen.web.pages.actions import Actions, Actor, Outcome, Question
from datagen.web.pages.addresses import Addresses
from datagen.web.pages.forms import MOST_IN_FORM
from datagen.web.pages.ticks import CHOSEN, CLEAR, packed, too_many, unpacked
from datagen.web.pages.visitors import visible_projects
from datagen.workflow.inputs.import_files import add_from_project
from datagen.workflow.inputs.task_search import Operator, TaskCondition, find_tasks

#: Longest column and value, characters.
_LONGEST = 200
#: Largest number of tasks that are ticked on all pages and added at once.
MOST_CHOSEN = 500
#: Number of reasons for tasks that were not added, and of their tasks, in the sentence of an addition.
_FEW_REASONS, _FEW_ITEMS = 3, 2


def add_background_search(actions: Actions, to: Addresses) -> None:
    """Add the actions to the pages."""

    def back(study_id: int) -> str:
        return to.inputs(study_id, Role.BACKGROUND)

    @actions.add("/studies/<int:study_id>/search-backgrounds", back)
    def search_backgrounds(actor: Actor, study_id: int) -> Question:
        project_id, condition = _project_of_form(), _condition_of_form()
        before = ShownTicks.of_form()
        try:
            matches = find_tasks(actor.services.label_studio, project_id, condition, before.after)
        except LabelStudioMissing:
            raise Refused(_no_project(project_id)) from None
        name = _name_of(actor, study_id)
        values = {"study_id": study_id, "study": name, "project_id": project_id, "condition": condition}
        ticks = before.on_page([task.id for task in matches.tasks])
        return Question(
            template="matches", title=f"Backgrounds · {name}", values={**values, "matches": matches, "ticks": ticks}
        )

    @actions.add("/studies/<int:study_id>/add-backgrounds", back)
    def add_backgrounds(actor: Actor, study_id: int) -> Outcome:
        project_id, ids = _project_of_form(), _tasks_of_form()
        try:
            added = add_from_project(actor.services, study_id, Role.BACKGROUND, project_id, task_ids=ids)
        except LabelStudioMissing:
            raise Refused(_no_project(project_id)) from None
        if added.new:
            with actor.services.unit() as unit:
                study = unit.lock_study(study_id)
                unit.note(study, actor.email, f"added {counted(added.new, 'background')} from project {project_id}")
        reasons = added.grouped[:_FEW_REASONS]
        left = "".join(f" Not used: {'; '.join(items[:_FEW_ITEMS])}: {reason}." for reason, items in reasons)
        known = f"; {added.known} were there already" if added.known else ""
        pending = f" {by_number(added.new, 'It appears', 'They appear')} here once read." if added.new else ""
        return Outcome(back(study_id), f"{counted(added.new, 'background')} added{known}.{pending}{left}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTicks:
    """Which tasks of a page of matches are ticked, and those of other pages."""

    after: int
    #: the largest id that was shown so far. A task is ticked when it is first shown
    seen: int
    ticked: frozenset[int]
    elsewhere: frozenset[int]

    @property
    def packed_elsewhere(self) -> str:
        """The ticked tasks of other pages as a form's field."""
        return packed(self.elsewhere)

    @property
    def count(self) -> int:
        """Number of ticked tasks on this and other pages."""
        return len(self.ticked) + len(self.elsewhere)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownTicks:
    """The ticks of the sent form, and the page of matches that it asks for."""

    #: the task after which the wanted page begins, and the largest id that was shown so far
    after: int
    seen: int
    chosen: frozenset[int]

    @staticmethod
    def of_form() -> ShownTicks:
        """Return the ticks of the sent form; a new search has none.

        Raises:
            Refused: a field is damaged, or too much is ticked.
        """
        after, seen = (whole_number(request.form.get(name, "0"), MOST_IN_FORM) or 0 for name in ("after", "seen"))
        if request.form.get(CLEAR) == "yes":  # what was not shown yet is not ticked either
            return ShownTicks(after=0, seen=MOST_IN_FORM, chosen=frozenset())
        return ShownTicks(after=after, seen=seen, chosen=frozenset(_ticked_tasks()))

    def on_page(self, shown: Sequence[int]) -> PageTicks:
        """Return the ticks of a page with these tasks; no new ones if there would be more than ``MOST_CHOSEN``."""
        new = [task_id for task_id in shown if task_id > self.seen]
        offered = new if len(self.chosen) + len(new) <= MOST_CHOSEN else []
        ticked = self.chosen.intersection(shown) | frozenset(offered)
        return PageTicks(
            after=self.after,
            seen=max(self.seen, *shown, 0),
            ticked=ticked,
            elsewhere=self.chosen - frozenset(shown),
        )


def _name_of(actor: Actor, study_id: int) -> str:
    with actor.services.database.read() as session:
        return session.get_one(StudyRow, study_id).name


def _project_of_form() -> int:
    """Return the project of the sent form.

    Raises:
        Refused: it is no number, or the person does not see the project.
    """
    visible, project_id = visible_projects(), whole_number(request.form.get("project", "").strip(), MOST_IN_FORM)
    if project_id is None:
        raise Refused("Give the number of a project of Label Studio; it is in the project's address.")
    if visible is not None and project_id not in visible:
        raise Refused(_no_project(project_id))
    return project_id


def _no_project(project_id: int) -> str:
    return f"There is no project {project_id} in Label Studio, or you may not see it."


def _condition_of_form() -> TaskCondition:
    operator = request.form.get("operator", "")
    if operator not in {*Operator}:
        raise Refused("Choose how the column is compared.")
    column = plain(request.form.get("column", "")).strip()[:_LONGEST]
    if not column:
        raise Refused("Name the column: a key of the tasks' data, such as image or file_name.")
    value = plain(request.form.get("value", ""))[:_LONGEST]
    return TaskCondition(column=column, operator=Operator(operator), value=value)


def _tasks_of_form() -> list[int]:
    """Return the ids of the ticked tasks of the sent form, on all pages.

    Raises:
        Refused: there is none, there are too many, or one is no number.
    """
    numbers = sorted(_ticked_tasks())
    if not numbers:
        raise Refused("Tick at least one task.")
    return numbers


def _ticked_tasks() -> set[int]:
    """Return the ids of the ticked tasks of the sent form, on all pages.

    Raises:
        Refused: there are too many, or one is no number.
    """
    ids = {whole_number(task, MOST_IN_FORM) for task in request.form.getlist("task")}
    if None in ids:
        raise Refused("Tick at least one task.")
    ticked = {task_id for task_id in ids if task_id is not None}
    ticked |= unpacked(request.form.get(CHOSEN, ""), MOST_CHOSEN)
    if len(ticked) > MOST_CHOSEN:
        raise Refused(too_many(MOST_CHOSEN))
    return ticked
