"""Tables of a study and of its Label Studio projects."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyState
from datagen.domain.verdict import VerdictRule
from datagen.store.tables.base import Row, now


class StudyRow(Row):
    """One study."""

    __tablename__ = "study"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    labels: Mapped[list[str]]
    state: Mapped[StudyState] = mapped_column(default=StudyState.COLLECTING)
    engine: Mapped[str] = mapped_column(String(50))
    preview_size: Mapped[int]
    #: number of events that announced changes of inputs
    inputs_changed: Mapped[int] = mapped_column(default=1)
    #: ``inputs_changed`` at the last complete reading of the inputs. They are read again if the two values differ
    inputs_read: Mapped[int] = mapped_column(default=0)
    #: ``inputs_changed`` at the start of the newest reading that wrote rows. A reading that started earlier writes none
    inputs_reading: Mapped[int] = mapped_column(default=0, server_default="0")
    #: the outage that the reading of inputs waits for, as text; see ``workflow.outages``. Empty: none
    waits_for: Mapped[str] = mapped_column(String(300), default="", server_default="")
    #: number of times that a reading of review tasks found changed verdicts
    verdict_changes: Mapped[int] = mapped_column(default=0)
    #: largest run that needs no confirmation, in images; None: see ``workflow.study_options``
    confirm_above: Mapped[int | None] = mapped_column(default=None)
    #: smallest shares of judged samples and of good verdicts, both 0 to 1, for an approval without confirmation; None:
    #: see ``workflow.study_options``
    min_judged: Mapped[float | None] = mapped_column(default=None)
    min_good: Mapped[float | None] = mapped_column(default=None)
    #: largest run whose labels are also published as annotations, in images; None: see ``workflow.study_options``
    annotate_up_to: Mapped[int | None] = mapped_column(default=None)
    #: which verdicts on a sample count if there are several; None: see ``study_options``
    verdict_rule: Mapped[VerdictRule | None] = mapped_column(default=None)
    #: probability of a good verdict below which the critic rejects samples of runs, 0: never; None: see
    #: ``study_options``
    reject_below: Mapped[float | None] = mapped_column(default=None)
    created_at: Mapped[datetime] = mapped_column(default=now)
    #: what it is for, in a person's words; empty: nobody described it
    description: Mapped[str] = mapped_column(String(200), default="", server_default="")
    #: since when lists hide it; None: they show it
    archived_at: Mapped[datetime | None] = mapped_column(default=None)
    #: of a clone of a version: that version's ``engine``, ``parameters`` and ``critic``, with which its first version
    #: begins, and what it was cloned from, as ``origin``; None: it begins with the settings
    starting_point: Mapped[dict[str, Any] | None] = mapped_column(default=None)
    #: salt of its webhooks' secret; empty: the webhooks contain the secret that all studies share
    webhook_salt: Mapped[str] = mapped_column(String(32), default="", server_default="")
    #: the previous salt, accepted until every webhook has the new secret; None if no change is in progress
    webhook_salt_previous: Mapped[str | None] = mapped_column(String(32), default=None)

    projects: Mapped[list[ProjectRow]] = relationship(back_populates="study")


class ProjectRow(Row):
    """One Label Studio project of a study."""

    __tablename__ = "project"

    project_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), index=True)
    kind: Mapped[ProjectKind]
    #: the newest ``updated_at`` of its tasks that the reconciler has read, in Label Studio's format
    seen_until: Mapped[str] = mapped_column(String(40), default="")
    #: digest of the updates shortly before ``seen_until`` (see ``reconciler.OVERLAP``), by which the reconciler notices
    #: that it has handled them. Empty once they are not requested again
    seen: Mapped[str] = mapped_column(String(64), default="unknown", server_default="unknown")
    #: the project's numbers of tasks and annotations at the reconciler's last check, as text
    counted: Mapped[str] = mapped_column(String(100), default="", server_default="")
    #: number of tasks when all of them were last read
    tasks: Mapped[int | None] = mapped_column(default=None)
    looked_at: Mapped[datetime | None] = mapped_column(default=None)
    #: why all or some of the project's tasks cannot be read, as a sentence; empty if all can be read
    problem: Mapped[str] = mapped_column(String(1000), default="", server_default="")
    #: ids of tasks that Label Studio stores but cannot send
    unreadable: Mapped[list[int]] = mapped_column(default=list, server_default="[]")
    #: fingerprint of the password last written to its ML-backend connection; empty: none was written
    login: Mapped[str] = mapped_column(String(64), default="", server_default="")

    study: Mapped[StudyRow] = relationship(back_populates="projects")
