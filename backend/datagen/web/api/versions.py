"""Versions of a study: their specs, parameters and changes, and the acceptance by their audits."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import load_only

from datagen.domain.lifecycle import SpecState
from datagen.label_studio.api.accounts import Account
from datagen.store.database import Database
from datagen.store.keyset_page import keyset_page
from datagen.store.tables.batches import SpecRow
from datagen.web.api.operations import Operations, Resource
from datagen.web.api.reading import Page, PageQuery, reading
from datagen.workflow.decisions.spec_versions import spec_of_version
from datagen.workflow.reviews import audits


class VersionSummary(Resource):
    """A version."""

    version: int
    state: SpecState
    digest: str = Field(description="SHA-256 of the spec.")
    changes: list[str] = Field(description="What changed from its parent, as sentences.")
    created_by: str
    created_at: datetime
    decided_by: str | None
    decided_at: datetime | None


class VersionPage(Page):
    """A page of versions, the newest first."""

    items: list[VersionSummary]


class ParameterChange(Resource):
    """A parameter that differs from that of the parent; null where one of both does not have it."""

    name: str
    before: Any
    after: Any


class Version(VersionSummary):
    """A version with its parameters."""

    parent: int | None = Field(
        description="The version that it was refined from; null if it was built from the inputs."
    )
    engine: str
    parameters: dict[str, Any]
    changed_parameters: list[ParameterChange]
    findings: list[str] = Field(description="What the engine found in its inputs, as sentences.")
    concepts: int
    canvases: int
    backgrounds: int


class Spec(Resource):
    """The whole spec of a version: its inputs with their drawings, its parameters, its engine and its seed."""

    digest: str
    spec: dict[str, Any]


class Promise(Resource):
    """The promise of a version's audits."""

    sentence: str
    lower: float = Field(description="The share of acceptable samples that is promised at least, 0 to 1.")
    confidence: float = Field(description="The confidence of the promise, 0 to 1.")
    audits: int
    samples: int
    judged: int
    good: int
    next_step: str = Field(description="What would raise the promise, as a sentence; empty if it is high.")


class Acceptance(Resource):
    """The acceptance statement of a version."""

    version: int
    promise: Promise | None = Field(description="null as long as no audit of the version has a verdict.")
    good_of_newest_round: int = Field(description="Good verdicts on its newest round; 0 while any is open.")
    verdicts_on_newest_round: int = Field(description="All verdicts on its newest round; 0 while any is open.")


def add_versions(operations: Operations, database: Database) -> None:
    """Add the operations."""

    @operations.get("/studies/<int:study_id>/versions", VersionPage, query=PageQuery)
    def list_versions(account: Account, study_id: int, query: PageQuery) -> VersionPage:
        """List the versions of a study."""
        with reading(database, account, study_id) as (session, study):
            versions = select(SpecRow).where(SpecRow.study_id == study.id).order_by(SpecRow.version.desc())
            if query.cursor is not None:
                versions = versions.where(SpecRow.version < query.cursor)
            columns = load_only(
                *(getattr(SpecRow, name) for name in VersionSummary.model_fields if name != "changes"), SpecRow.notes
            )
            rows = session.scalars(versions.limit(query.limit + 1).options(columns)).all()
        shown, next_cursor = keyset_page(rows, query.limit, lambda row: row.version)
        return VersionPage(items=[VersionSummary(**_summary(row)) for row in shown], next_cursor=next_cursor)

    @operations.get("/studies/<int:study_id>/versions/<int:version>", Version)
    def get_version(account: Account, study_id: int, version: int) -> Version:
        """Return one version, with the parameters that it changed."""
        with reading(database, account, study_id) as (session, study):
            row = spec_of_version(session, study, version)
            parent = session.get(SpecRow, row.parent_id) if row.parent_id is not None else None
        body = row.body
        return Version(
            **_summary(row),
            parent=parent.version if parent is not None else None,
            engine=body["engine"],
            parameters=body["parameters"],
            changed_parameters=_changed(parent.body["parameters"], body["parameters"]) if parent is not None else [],
            findings=row.findings,
            concepts=len(body["concepts"]),
            canvases=len(body["canvases"]),
            backgrounds=len(body["backgrounds"]),
        )

    @operations.get("/studies/<int:study_id>/versions/<int:version>/spec", Spec)
    def get_spec(account: Account, study_id: int, version: int) -> Spec:
        """Return the whole spec of a version.

        With thousands of drawn inputs it has megabytes.
        """
        with reading(database, account, study_id) as (session, study):
            row = spec_of_version(session, study, version)
        return Spec(digest=row.digest, spec=row.body)

    @operations.get("/studies/<int:study_id>/versions/<int:version>/acceptance", Acceptance)
    def get_acceptance(account: Account, study_id: int, version: int) -> Acceptance:
        """Return the promise of a version's audits, and the verdicts on its newest round."""
        with reading(database, account, study_id) as (session, study):
            row = spec_of_version(session, study, version)
            promise = audits.acceptance_of(session, row.id)
            good, verdicts = audits.round_verdicts(session, row.id)
        return Acceptance(
            version=version,
            promise=Promise.model_validate(promise) if promise is not None else None,
            good_of_newest_round=good,
            verdicts_on_newest_round=verdicts,
        )


def _summary(row: SpecRow) -> dict[str, Any]:
    return {
        "version": row.version,
        "state": row.state,
        "digest": row.digest,
        "changes": row.notes,
        "created_by": row.created_by,
        "created_at": row.created_at,
        "decided_by": row.decided_by,
        "decided_at": row.decided_at,
    }


def _changed(before: dict[str, Any], after: dict[str, Any]) -> list[ParameterChange]:
    return [
        ParameterChange(name=name, before=before.get(name), after=after.get(name))
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
