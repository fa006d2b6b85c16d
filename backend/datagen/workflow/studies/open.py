"""Opening of a study: creates its Label Studio projects, its rows and its first decision point.

If the study exists, what is missing is restored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import delete, select

from datagen.domain.foreign_text import plain
from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyState
from datagen.errors import InputProblem, Refused, StudyExists
from datagen.label_studio.projects.provisioning import Provisioned, ServerAccess, provision
from datagen.store.fingerprints import fingerprint
from datagen.store.study_secrets import SHARED, new_salt, study_secret
from datagen.store.tables.reviews import DecisionRow
from datagen.store.tables.studies import ProjectRow, StudyRow
from datagen.synthesis.engine import engine_class
from datagen.workflow import decision_points, study_options
from datagen.workflow.decisions import spec_versions
from datagen.workflow.inputs.input_requests import request_reading
from datagen.workflow.reviews import review_tasks, verdict_sync
from datagen.workflow.services import LOCK, Services, UnitOfWork
from datagen.workflow.study_options import StudyOptions


@dataclass(kw_only=True)
class OpenedStudy(Provisioned):
    """Provisioned projects of a study, and the engine of its new versions."""

    study_id: int
    engine: str
    #: the previous engine; None if the engine is unchanged or the study is new
    engine_before: str | None


def open_study(
    services: Services,
    name: str,
    labels: Sequence[str],
    access: ServerAccess,
    *,
    engine: str | None,
    default_engine: str | None = None,
    preview_size: int,
    new_secret: bool = False,
    options: StudyOptions | None = None,
    who: str = "datagen provision",
    only_new: bool = False,
    begin: Callable[[UnitOfWork, StudyRow], None] | None = None,
) -> OpenedStudy:
    """Create a study's projects in Label Studio and store the study. An existing study is checked and repaired.

    The study's webhooks get a secret of their own. It is derived from the secret in ``access``.

    Args:
        new_secret: replace the secret of the study's webhooks; the old one is accepted until every webhook has the new
            one.
        engine: the engine of new versions; None keeps an existing study's engine.
        default_engine: the engine of a new study for which none is chosen.
        options: the study's own settings; None keeps all of them.
        who: in whose name its lines in the audit log are.
        only_new: refuse an existing study in place of repairing it.
        begin: what else to write in the transaction that creates the study.

    Raises:
        InputProblem: the name or a label cannot be used, or no label or engine is given for a new study.
        EngineError: there is no such engine.
        Refused: the study exists with other labels.
        StudyExists: the study exists, and ``only_new`` is true.
        NotReady: other studies are being created or renamed at this moment.
    """
    name, labels = plain(name).strip(), _checked_labels(labels)
    with services.names_turn():
        with services.database.read() as session:
            known = session.scalar(select(StudyRow).where(StudyRow.name == name))
        if known is not None:
            if only_new:
                raise StudyExists(f"There is a study named “{name}”. Choose another name.")
            if labels and labels != known.labels:
                raise Refused(
                    f"{name!r} exists with the labels {', '.join(known.labels)}; give a new study another name"
                )
            labels = known.labels
        if not labels:
            raise InputProblem(f"{name!r} needs at least one label; add --label NAME")
        if known is None:
            engine = engine or default_engine
            if engine is None:
                raise InputProblem(f"{name!r} needs an engine; add --engine NAME")
        if engine is not None and (known is None or known.engine != engine):
            engine_class(engine)
        salt = new_salt() if known is None else _salt_of(services, known.id, new_secret=new_secret)
        login = fingerprint(f"{access.basic_user}:{access.basic_pass}", salt)
        with services.database.read() as session:
            projects = (
                session.scalars(select(ProjectRow).where(ProjectRow.study_id == known.id)).all()
                if known is not None
                else []
            )
        provisioned = provision(
            services.label_studio,
            name,
            labels,
            replace(access, webhook_secret=study_secret(access.webhook_secret, salt)),
            password_written={project.kind for project in projects if project.login == login},
            known_projects={project.kind: project.project_id for project in projects},
        )
        engine_before = None
        with services.unit() as unit:
            study = unit.session.scalar(select(StudyRow).where(StudyRow.name == name).with_for_update(**LOCK))
            if study is None:
                study = StudyRow(name=name, labels=labels, engine=str(engine), preview_size=preview_size)
                unit.session.add(study)
                unit.session.flush()
                unit.note(study, who, f"opened with the labels {', '.join(labels)}")
                study.webhook_salt = salt
                if begin is not None:
                    begin(unit, study)
            elif engine not in (None, study.engine):
                unit.note(study, who, f"new versions are made with {engine}, no longer with {study.engine}")
                engine_before, study.engine = study.engine, engine
            if options is not None:
                rule_before = study_options.options_of(study).verdict_rule
                study_options.keep(study, options)
                if (rule := study_options.options_of(study).verdict_rule) != rule_before:
                    unit.note(study, who, f"verdicts count by the rule “{rule}”, before “{rule_before}”")
            previews_before = decision_points.project_of(unit.session, study.id, ProjectKind.PREVIEWS)
            unit.session.execute(
                delete(ProjectRow).where(
                    ProjectRow.study_id == study.id, ProjectRow.project_id.not_in(provisioned.projects.values())
                )
            )
            for project, project_id in provisioned.projects.items():
                row = unit.session.get(ProjectRow, project_id)
                if row is None:
                    row = ProjectRow(project_id=project_id, study_id=study.id, kind=project)
                    unit.session.add(row)
                if project in provisioned.connected:
                    row.login = login
            if study.webhook_salt == salt:
                study.webhook_salt_previous = None  # every webhook has the new secret
            if not unit.session.scalar(select(DecisionRow.id).where(DecisionRow.study_id == study.id).limit(1)):
                decision_points.create_decision_point(unit, study)
            else:
                decision_points.republish_open_decision(unit, study.id)
            if previews_before not in (None, provisioned.projects[ProjectKind.PREVIEWS]):
                verdict_sync.publish_again(unit, study.id)
            elif study.state is StudyState.REVIEWING and (spec := spec_versions.current_spec(unit.session, study.id)):
                review_tasks.request(unit, spec)  # tasks of an earlier version lack data that the form shows
            request_reading(unit, study)
            return OpenedStudy(**vars(provisioned), study_id=study.id, engine=study.engine, engine_before=engine_before)


def _salt_of(services: Services, study_id: int, *, new_secret: bool) -> str:
    """Return the salt of an existing study's webhooks.

    If ``new_secret`` is true, or the webhooks still contain the installation's secret itself, store a new salt and
    return it. It is thus stored before any webhook uses it.
    """
    with services.unit() as unit:
        study = unit.lock_study(study_id)
        if new_secret or study.webhook_salt == SHARED:
            # if it is set, the last change is incomplete, and its previous salt stays valid
            if study.webhook_salt_previous is None:
                study.webhook_salt_previous = study.webhook_salt
            study.webhook_salt = new_salt()
            if new_secret:
                unit.note(study, "datagen provision", "gave its webhooks a new secret")
        return study.webhook_salt


def _checked_labels(labels: Sequence[str]) -> list[str]:
    """Return the labels in order, without duplicates.

    Raises:
        InputProblem: a label is empty or too long.
    """
    cleaned = list(dict.fromkeys(plain(label).strip() for label in labels))
    for label in cleaned:
        if not label or len(label) > 100:
            raise InputProblem(f"the label {label!r} cannot be used; a label has 1 to 100 characters")
    return cleaned
