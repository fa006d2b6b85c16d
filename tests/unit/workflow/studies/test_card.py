"""The dataset card states what was counted, in the forms that other programs read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.errors import InputProblem, NotReady
from datagen.export.archive import ExportOptions
from datagen.export.balance import Dimension
from datagen.export.card import croissant, markdown
from datagen.export.image_encoding import ImageEncoding
from datagen.export.image_kinds import ImageKind
from datagen.export.selection import Selection
from datagen.export.tiling import Tiling
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow
from datagen.workflow.studies.card import card_facts, checksum_of, facts_of_export
from datagen.workflow.studies.export import export_study
from fake_studio import FakeStudio
from fake_studio_fixtures import Make, Prepared, made_in
from studio import Study, verdict_result


def head_of(text: str) -> dict[str, Any]:
    start, head, _ = text.split("---\n", 2)
    assert start == ""
    body: dict[str, Any] = yaml.safe_load(head)
    return body


def with_run(folder: Path) -> Prepared:
    """Make a study with three verdicts on its previews, and a run of three images."""
    studio, study = made_in(StudyState.REVIEWING, folder)
    study.judge(verdict_result("good"), verdict_result("bad", "too small"), verdict_result("good"))
    study.act(StudyEvent.APPROVE, count=3)
    studio.settle()
    return studio, study


@pytest.fixture
def approved(copy_of_made: Callable[[Make, Path], Prepared], tmp_path: Path) -> Iterator[Study]:
    studio, study = copy_of_made(with_run, tmp_path)
    yield study
    studio.close()


def test_card_states_images_inputs_and_review(approved: Study) -> None:
    text = markdown(card_facts(approved.studio.services, approved.name, "cc-by-4.0"))
    head = head_of(text)
    assert (head["pretty_name"], head["license"]) == (approved.name, "cc-by-4.0")
    assert head["size_categories"] == ["n<1K"]
    assert "synthetic" in head["tags"]
    for line in (
        "| pit | 3 |",
        "- 6 concept photos",
        "- 6 canvas photos",
        "- 6 background photos",
        "- 3 images rendered by instant 1",
        "1 person gave 3 verdicts on 3 previews of these versions: 2 good, 1 bad.",
        "- too small: 1 time",
        "Licence: cc-by-4.0. The rights in the input photos are to be observed.",
    ):
        assert line in text.splitlines(), line
    run = approved.batches(BatchKind.RUN)[-1]
    assert f"| 1 ({run.name}) | 1 | 3 | tester |" in text.replace("\\", "")


def test_card_states_what_the_audit_of_a_run_promised(approved: Study) -> None:
    sentence = "At least 89 % acceptable, at 90 % confidence: 20 audit verdicts, 0 bad."
    with approved.studio.services.database.write() as session:
        session.get_one(BatchRow, approved.batches(BatchKind.RUN)[-1].id).promise = {"sentence": sentence}
    lines = markdown(card_facts(approved.studio.services, approved.name)).splitlines()
    assert f"When run 1 was approved, its audit stated: {sentence}" in lines


def test_card_says_that_nobody_judged(studio: FakeStudio, in_state: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other, study = in_state(StudyState.ACCEPTED, tmp_path / "other")
    text = markdown(card_facts(other.services, study.name))
    other.close()
    assert "Nobody judged the 3 previews of these versions." in text
    assert "No licence was stated." in text
    assert head_of(text)["license"] == "unknown"


def test_study_without_a_run_has_no_card(studio: FakeStudio, study: Study) -> None:
    with pytest.raises(NotReady, match="is generated yet; see: datagen status"):
        card_facts(studio.services, study.name)


def test_texts_of_people_have_no_effect_on_the_card(approved: Study) -> None:
    facts = replace(
        card_facts(approved.studio.services, approved.name),
        study='x: "y"\n---\n# <script>',
        instances={"a|b": 1, "`c`": 2},
        limits=["[link](http://a.test)\nsecond line"],
    )
    text = markdown(facts)
    assert head_of(text)["pretty_name"] == facts.study
    assert "| a\\|b | 1 |" in text
    assert "<script>" not in text.replace("\\<script\\>", "").split("---\n", 2)[2]
    assert "- \\[link\\](http://a.test) second line" in text.splitlines()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("to", ["set.zip", "set"])
def test_croissant_is_valid_and_its_records_are_the_manifest_s(approved: Study, tmp_path: Path, to: str) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    path = tmp_path / to
    export_study(approved.studio.services, approved.name, path)
    facts = card_facts(approved.studio.services, approved.name, "https://creativecommons.org/licenses/by/4.0/")
    body = croissant(facts, archive="set.zip" if path.suffix else "", sha256=checksum_of(path))
    written = (tmp_path if path.suffix else path) / "croissant.json"
    written.write_text(json.dumps(body))
    dataset = mlcroissant.Dataset(jsonld=written)
    assert not dataset.metadata.issues.errors
    records = list(dataset.records(record_set="images"))
    assert len(records) == 3
    assert {record["images/image"].decode().split("/")[0] for record in records} == {"images"}


def test_missing_export_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputProblem, match=r"none\.zip cannot be read: .*; name what datagen export wrote"):
        checksum_of(tmp_path / "none.zip")


@pytest.mark.parametrize("to", ["set.zip", "set"])
def test_card_of_an_export_says_what_was_chosen_for_it(approved: Study, tmp_path: Path, to: str) -> None:
    options = ExportOptions(encoding=ImageEncoding(ImageKind.WEBP, 90), tiling=Tiling(side=64, overlap=8))
    summary = export_study(
        approved.studio.services,
        approved.name,
        tmp_path / to,
        selection=Selection(runs=(1,), labels=("pit",)),
        balance=(Dimension.LABEL,),
        real_share=0.4,
        options=options,
    )
    facts = card_facts(approved.studio.services, approved.name, export=facts_of_export(tmp_path / to))
    text = markdown(facts)
    lines = text.splitlines()
    assert summary.photos > 0
    assert f"{summary.samples} image files, {summary.photos} real photos among them." in lines
    assert "- Selected images: runs 1; only objects of pit." in lines
    assert "- Images are left out so that objects are balanced by label." in lines
    assert "- The image files are WEBP of quality 90; the labels were certified again after the encoding." in lines
    assert any(
        line.startswith("- The images are cut into tiles of 64 pixels with an overlap of 8; 10%") for line in lines
    )
    assert "- Real photos have the labels that people drew: an object that nobody drew is not labelled." in lines
    assert text.endswith("The image files state in XMP that they are synthetic. Real photos have no such mark.\n")
    assert head_of(text)["annotations_creators"] == ["machine-generated", "expert-generated"]
    assert f"and {summary.photos} real photos." in croissant(facts)["description"]


def test_export_of_everything_adds_nothing_to_the_card(approved: Study, tmp_path: Path) -> None:
    export_study(approved.studio.services, approved.name, tmp_path / "set.zip")
    assert facts_of_export(tmp_path / "set.zip") is None


def test_damaged_facts_of_an_export_are_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text('{"images": "many"}')
    with pytest.raises(InputProblem, match=r"export\.json of .* is damaged; export the study again"):
        facts_of_export(tmp_path)
    (tmp_path / "no.zip").write_bytes(b"PK")
    with pytest.raises(InputProblem, match=r"no\.zip cannot be read"):
        facts_of_export(tmp_path / "no.zip")
