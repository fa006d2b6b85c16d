"""Tables of a study and of its Label Studio projects."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyState
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
    #: ``inputs_changed`` at the last reading of the inputs: they are read again once the two differ
    inputs_read: Mapped[int] = mapped_column(default=0)
    #: ``inputs_changed`` at the start of the newest reading that wrote rows; an older reading may not write after it
    inputs_reading: Mapped[int] = mapped_column(default=0, server_default="0")
    #: the outage that the reading of inputs waits for, as text; see ``workflow.outages``. Empty: none
    waits_for: Mapped[str] = mapped_column(String(300), default="", server_default="")
    #: number of times that changes of verdicts were detected
    verdict_changes: Mapped[int] = mapped_column(default=0)
    #: largest run that needs no confirmation, in images; None: the product's default
    confirm_above: Mapped[int | None] = mapped_column(default=None)
    #: smallest shares of judged and of good samples for an approval without confirmation; None: see ``study_options``
    min_judged: Mapped[float | None] = mapped_column(default=None)
    min_good: Mapped[float | None] = mapped_column(default=None)
    #: largest run whose labels are also published as annotations, in images; None: see ``study_options``
    annotate_up_to: Mapped[int | None] = mapped_column(default=None)
    created_at: Mapped[datetime] = mapped_column(default=now)
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
    #: digest of the changes that the reconciler read close before that, to recognize them; empty once all are old
    seen: Mapped[str] = mapped_column(String(64), default="unknown", server_default="unknown")
    #: counts of the project at the reconciler's last look
    counted: Mapped[str] = mapped_column(String(100), default="", server_default="")
    #: number of tasks when all of them were last read
    tasks: Mapped[int | None] = mapped_column(default=None)
    looked_at: Mapped[datetime | None] = mapped_column(default=None)
    #: why all or part of the project cannot be read, as a sentence; empty if it can
    problem: Mapped[str] = mapped_column(String(1000), default="", server_default="")
    #: ids of tasks that Label Studio fails to return
    unreadable: Mapped[list[int]] = mapped_column(default=list, server_default="[]")
    #: fingerprint of the password last written to its ML-backend connection; empty: none was written
    login: Mapped[str] = mapped_column(String(64), default="", server_default="")

    study: Mapped[StudyRow] = relationship(back_populates="projects")
