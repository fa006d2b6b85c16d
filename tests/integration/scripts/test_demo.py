"""``scripts/demo``: refusals before the start, and ``--down``, which stops the demo's own processes alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stage import demo
from stage.annotator import Annotator
from stage.label_studio_server import LabelStudio
from stage.occupancy import Occupancy
from stage.processes import Processes, StageError
from stage.servers import Servers

HOLD = """
import signal, sys, time
from pathlib import Path
from stage.occupancy import Occupancy
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with Occupancy(Path(sys.argv[1])):
    print("holding", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(demo, "DEMO", tmp_path / "demo")
    return tmp_path / "demo"


@pytest.fixture
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the demo's lock of this folder."""
    environment = {**os.environ, "PYTHONPATH": str(Path(demo.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "holding\n"
        yield child
        child.kill()


def test_second_demo_is_refused_while_one_runs(
    folder: Path, holder: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.main([]) == 1
    reported = capsys.readouterr()
    assert f"The demo runs already (process {holder.pid})" in reported.err
    assert "scripts/demo --down" in reported.err
    assert reported.out == ""


def test_down_ends_the_running_demo(folder: Path, holder: subprocess.Popen[str]) -> None:
    assert demo.main(["--down"]) == 0
    assert holder.wait(timeout=5) == 0


def test_down_stops_what_a_killed_demo_left_behind(folder: Path, holder: subprocess.Popen[str]) -> None:
    servers = Processes(folder / "servers")
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    left = servers.start("redis", sleeper, ready=lambda: True, within=5)
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait(timeout=5)
    assert demo.main(["--down"]) == 0
    assert not servers.is_alive(left)


def test_down_with_nothing_running_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--down"]) == 0
    assert "Nothing of the demo is running." in capsys.readouterr().err


def test_a_lock_is_free_again_after_its_holder_was_killed(folder: Path, holder: subprocess.Popen[str]) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait(timeout=5)
    with Occupancy(folder):
        pass


def test_a_held_lock_is_refused_in_the_same_process_too(folder: Path) -> None:
    with Occupancy(folder), pytest.raises(StageError, match=f"process {os.getpid()}"), Occupancy(folder):
        pass


@pytest.mark.parametrize("count", ["0", "10000000", "many", "-3"])
def test_a_number_of_images_that_no_run_makes_is_refused(
    folder: Path, count: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        demo.main(["--auto", f"--count={count}"])
    assert "a run makes 1 to 1,000,000 images" in capsys.readouterr().err


def test_auto_refuses_a_pack_that_is_none_with_a_sentence_and_without_output(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.main(["--auto", "--data", str(tmp_path / "nowhere")]) == 1
    reported = capsys.readouterr()
    assert "is not a folder" in reported.err
    assert reported.out == ""


def test_demo_by_hand_says_where_to_log_in_and_that_an_audit_comes_before_approving(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = LabelStudio(
        url="http://127.0.0.1:1", email="me@example.com", password="secret-1", token="t", kept_token=folder / "token"
    )
    running = Servers(server, {"PORT": "9090"}, {}, folder)
    with Annotator(server.url, server.token, "Plates") as annotator:
        monkeypatch.setattr(annotator, "project", {"Previews": {"id": 4}, "Decisions": {"id": 5}}.__getitem__)
        demo._invite(running, annotator)
    printed = " ".join(capsys.readouterr().err.split())
    assert printed.startswith("http://127.0.0.1:9090/studio/ is ready")
    assert "Label Studio runs at http://127.0.0.1:1," in printed
    assert "log in with me@example.com password secret-1" in printed
    assert (
        "1. review here http://127.0.0.1:1/projects/4/data 2. decide here http://127.0.0.1:1/projects/5/data" in printed
    )
    assert "refine until most previews are good, audit to state what share will be acceptable, then approve" in printed
