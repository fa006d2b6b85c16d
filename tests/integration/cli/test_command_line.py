"""The command line: missing parts are reported at once, lines fit the terminal, nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select

from datagen.domain.inputs import ProjectKind
from datagen.store.database import Database
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SampleRow
from datagen.store.tables.studies import StudyRow
from forked_command import run_datagen
from stage.ports import free_port
from studio import Studio, Study

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


def datagen(
    environment: dict[str, str], folder: Path, *arguments: str, columns: int = 200, answer: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the command with these settings and no others; ``answer`` is what is typed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DATAGEN_", "LABEL_STUDIO_"))}
    env = {**kept, **environment, "COLUMNS": str(columns), "NO_COLOR": "1"}
    return run_datagen(*arguments, env=env, cwd=folder, answer=answer)


def generated(studio: Studio, study: Study, count: int = 1) -> BatchRow:
    """The study's newest run, of ``count`` images; one is made."""
    study.review()
    study.decide("approve", count=count)
    return study.batches(BatchKind.RUN)[-1]


def left_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_run_that_is_not_there_is_named_beside_those_that_are(studio: Studio, study: Study, tmp_path: Path) -> None:
    """“Has no generation run yet; approve a version first” was printed for a study with a run."""
    run = generated(studio, study)
    result = datagen(studio.environment, tmp_path, "export", study.name, "--run", "99", "--out", "a/b/set.zip")
    assert result.returncode == 1
    assert f"{study.name!r} has no run 99; there are: " in result.stderr
    assert f"{run.number} ({run.name})" in result.stderr
    assert left_in(tmp_path) == []


def test_failed_export_leaves_no_folder_and_no_half_written_file(studio: Studio, study: Study, tmp_path: Path) -> None:
    run = generated(studio, study)
    [sample] = study.samples_of(run)
    digest = str(sample.body["image"]["digest"])
    kept = studio.services.images.get(digest)
    studio.services.images.delete(digest)
    try:
        arguments = ("export", study.name, "--run", str(run.number), "--out", "new/folders/set.zip")
        result = datagen(studio.environment, tmp_path, *arguments)
        assert (result.returncode, f"image {digest} is not in the store" in result.stderr) == (1, True)
        assert left_in(tmp_path) == []
    finally:
        studio.services.images.put(kept)
    assert datagen(studio.environment, tmp_path, *arguments).stdout.strip() == "new/folders/set.zip: 1 image, 1 label"
    assert left_in(tmp_path) == ["new", "new/folders", "new/folders/set.zip"]


def test_export_says_which_run_is_not_complete(studio: Studio, study: Study, tmp_path: Path) -> None:
    """A part of a run was exported without a message."""
    run = generated(studio, study, count=2)
    with studio.services.database.write() as session:
        session.get_one(BatchRow, run.id).count = 3
    result = datagen(studio.environment, tmp_path, "export", study.name, "--run", str(run.number), "--out", "set.zip")
    assert result.returncode == 0, result.stderr
    assert f"Not complete: run {run.number} ({run.name}) is done: 2 of 3 images are there" in result.stderr
    with studio.services.database.write() as session:
        session.get_one(BatchRow, run.id).count = 2


def test_run_without_images_is_not_exported(studio: Studio, study: Study, tmp_path: Path) -> None:
    run = generated(studio, study)
    with studio.services.database.write() as session:
        for sample in session.scalars(select(SampleRow).where(SampleRow.batch_id == run.id)):
            session.delete(sample)
    result = datagen(studio.environment, tmp_path, "export", study.name, "--run", str(run.number), "--out", "set.zip")
    assert result.returncode == 1
    assert f"nothing of run {run.number} of {study.name!r} is generated yet" in result.stderr
    assert left_in(tmp_path) == []


def test_folder_with_other_files_is_never_replaced(studio: Studio, study: Study, tmp_path: Path) -> None:
    run = generated(studio, study)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    arguments = ("export", study.name, "--run", str(run.number), "--out", "home")
    for more, sentence in (((), "home exists already"), (("--overwrite",), "home is a folder with other files")):
        result = datagen(studio.environment, tmp_path, *arguments, *more)
        assert result.returncode == 1
        assert sentence in result.stderr
        assert left_in(tmp_path / "home") == ["thesis.tex"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--queue", "foo"), "there is no queue named 'foo'; there are: datagen-events, datagen-publishing, datagen-"),
        (("--queue", "datagen-events", "--queue", "datagen-event"), "there is no queue named 'datagen-event'"),
        (("--queue", "datagen-gpu"), "“datagen-gpu” is served by: datagen worker --gpu"),
    ],
)
def test_queue_that_is_not_there_is_refused(
    arguments: tuple[str, ...], sentence: str, studio: Studio, tmp_path: Path
) -> None:
    """A worker waited for ever on a queue that nothing is put into."""
    result = datagen(studio.environment, tmp_path, "worker", *arguments)
    assert (result.returncode, sentence in result.stderr) == (1, True), result.stderr


def test_queue_together_with_gpu_is_refused(studio: Studio, tmp_path: Path) -> None:
    result = datagen(studio.environment, tmp_path, "worker", "--gpu", "--queue", "datagen-events")
    assert (result.returncode, "give either --queue or --gpu" in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize("options", [(), ("--yes",)])
def test_deleting_a_missing_study_asks_for_no_confirmation(
    options: tuple[str, ...], studio: Studio, study: Study, tmp_path: Path
) -> None:
    result = datagen(studio.environment, tmp_path, "delete", "nope", *options, answer="y\n")
    assert result.returncode == 1
    assert result.stdout == ""
    assert "Error: there is no study named 'nope'; there are: " in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("add", "x", "concept", "."),
        ("preview", "x"),
        ("export", "x", "--out", "a/set.zip"),
        ("retry", "x"),
        ("discard", "x", "1"),
        ("delete", "x", "--yes"),
        ("backup", "rows.zip"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_command_in_a_folder_without_data_makes_none(
    arguments: tuple[str, ...], studio: Studio, tmp_path: Path
) -> None:
    """It created a data folder with secrets in any current folder, and then reported missing tables."""
    result = datagen({**studio.environment, "DATAGEN_DATA_DIR": ".datagen"}, tmp_path, *arguments)
    assert result.returncode == 1
    assert f"Error: there is no database at {tmp_path}/.datagen/datagen.sqlite3. Set DATAGEN_DATA_DIR" in result.stderr
    assert left_in(tmp_path) == []


def test_tables_become_blocks_of_lines_on_a_narrow_terminal(studio: Studio, study: Study, tmp_path: Path) -> None:
    result = datagen(studio.environment, tmp_path, "status", study.name, columns=60)
    lines = result.stdout.splitlines()
    assert lines[0] == study.name
    assert lines[1:4] == ["  engine: composite", f"  state: {study.row().state}", lines[3]]
    assert all(line.startswith("  ") and ": " in line for line in lines[1:])
    provisioned = datagen(studio.environment, tmp_path, "provision", study.name, columns=50).stdout.splitlines()
    project = study.projects[ProjectKind.DECISIONS]
    assert f"  address: {studio.server.url}/projects/{project}/data" in provisioned  # in one piece, to be clicked
    assert "│" not in "".join(provisioned)
    studio.settle()


def test_tables_stay_tables_on_a_wide_terminal(studio: Studio, study: Study, tmp_path: Path) -> None:
    result = datagen(studio.environment, tmp_path, "status", study.name, columns=200)
    assert any("┃ engine" in line for line in result.stdout.splitlines())


def test_output_of_a_command_contains_no_json_log_lines(studio: Studio, tmp_path: Path) -> None:
    """Info lines of the log were shown as JSON, and a lost Redis as the name of an event."""
    own = studio.open_study()
    environment = {**studio.environment, "LOG_LEVEL": "INFO", "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    result = datagen(environment, tmp_path, "preview", own.name)
    assert result.returncode == 0, result.stderr
    assert "{" not in result.stdout + result.stderr
    assert "Warning: Redis does not answer. The work is kept and begins once Redis is back" in result.stderr
    assert result.stdout == f"{own.name}: “build preview” is under way; see the Decisions project or: datagen status\n"
    studio.settle()


def test_counts_of_one_are_in_the_singular(studio: Studio, tmp_path: Path) -> None:
    """“1 studies”."""
    environment = {**studio.environment, "DATAGEN_DATA_DIR": str(tmp_path / "data")}
    assert datagen(environment, tmp_path, "migrate").returncode == 0
    assert "There are no studies yet. Make one: datagen provision" in datagen(environment, tmp_path, "status").stdout
    database = Database(f"sqlite:///{tmp_path}/data/datagen.sqlite3")
    with database.write() as session:
        session.add(StudyRow(name="plates", labels=["scratch"], engine="composite", preview_size=20))
    database.close()
    assert (
        datagen(environment, tmp_path, "retry", "plates").stdout
        == "0 failed messages and 0 failed events tried again\n"
    )
    result = datagen(environment, tmp_path, "delete", "plates", "--yes")
    assert result.stdout == "'plates' is deleted, with 0 pictures that no other study has\n", result.stderr


def test_linear_algebra_has_one_thread_because_each_core_has_a_worker() -> None:
    code = (
        "import datagen.cli, threadpoolctl; print(max(pool['num_threads'] for pool in threadpoolctl.threadpool_info()))"
    )
    given = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    counts = [
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout
        for environment in (given, given | {"OPENBLAS_NUM_THREADS": "2"})  # who sets it decides
    ]
    assert counts == ["1\n", "2\n"]
