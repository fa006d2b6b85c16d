"""The demo's simulated annotator: its verdicts teach the second version, and its approval states an acceptance."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SpecRow
from datagen.store.tables.studies import StudyRow
from e2e_study import ROUND, Study
from stage import loop
from stage.annotator import KINDS, Annotator
from stage.pack import read_pack
from stage.progress import Progress

pytestmark = pytest.mark.integration

AUDIT, IMAGES = 3, 2


def test_loop_says_what_was_learned_and_approves_with_an_audited_acceptance(
    open_study: Callable[[str], Study],
    whole_pack: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(loop, "ROUND", ROUND)
    monkeypatch.setattr(loop, "AUDIT", AUDIT)
    study = open_study(f"demo {uuid.uuid4().hex[:8]}")
    server, pack = study.servers.label_studio, read_pack(whole_pack)
    progress = Progress(loop.steps(IMAGES), tmp_path / "seconds.json")
    with Annotator(server.url, server.token, study.name) as annotator:
        for role in KINDS:
            annotator.bring(role, pack, lambda _done, _of, _what: None)
        result = loop.play(study.servers, annotator, IMAGES, progress, tmp_path / "results")

    assert (result["previews"], result["audited"], result["generated"]) == (2 * ROUND, AUDIT, IMAGES)
    assert result["verdicts"] == 2 * ROUND + AUDIT
    with study.database.read() as session:
        second = session.scalars(
            select(SpecRow)
            .join(StudyRow, StudyRow.id == SpecRow.study_id)
            .where(StudyRow.name == study.name, SpecRow.version == 2)
        ).one()
        run = session.scalars(
            select(BatchRow).where(BatchRow.spec_id == second.id, BatchRow.kind == BatchKind.RUN)
        ).one()
        assert "preference" in second.body["parameters"]
        assert result["learned"][0] == second.notes[0]
        assert run.promise is not None
        assert result["promise"] == run.promise["sentence"]
        assert run.promise["judged"] == AUDIT
    printed = capsys.readouterr().err
    assert "Learned from round 1: 2 of 4 verdicts say “too large”." in printed
    assert f"What it changed: {result['effect']}" in printed
    assert f"What the approval states: {result['promise']}" in printed
