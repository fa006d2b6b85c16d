"""The demo: real servers on this machine, one study, and sample data (see ``scripts/demo --help``)."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import httpx

from stage import demo_env, loop, plates, servers
from stage.annotator import KINDS, Annotator
from stage.layout import DEMO
from stage.occupancy import Occupancy
from stage.pack import Pack, read_pack
from stage.processes import Processes, StageError
from stage.progress import Progress, print_line

#: Maximum length of the study's name: Label Studio allows 50 characters for a title, and the longest project kind needs
#: 14 of them.
LONGEST_NAME = 36
MAX_IMAGES = 1_000_000


#: Name of the file, in the demo's folder, that points a shell at the demo. It is kept when the demo stops, because
#: ports and passwords are the same at the next start. Until then, ``datagen doctor`` says what does not run.
ENVIRONMENT = "env"
#: Signals that end the demo. A person, the terminal or ``--down`` sends them.
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A person or ``--down`` requested the end. This is not an Exception, so that no handler of errors catches it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        if chosen.down:
            return _down()
        with Occupancy(DEMO):
            return _run(chosen)
    except StageError as error:
        print_line(f"\n{error}")
        return 1
    except httpx.HTTPError as error:
        print_line(f"\nLabel Studio did not answer: {error!r}. Its log is in {DEMO / 'servers'}.")
        return 1


def _run(chosen: argparse.Namespace) -> int:
    processes = Processes(DEMO / "servers")
    if left := processes.stop_all():
        print_line(f"Stopped what an earlier demo had left running: {', '.join(process.name for process in left)}.")
    before = {number: signal.signal(number, _interrupt) for number in _ENDINGS}
    try:
        return _automatic(chosen, processes) if chosen.auto else _by_hand(chosen, processes)
    except Interrupted:
        print_line("\nStopping.")
        return 130 if chosen.auto else 0
    finally:
        for number in _ENDINGS:
            signal.signal(number, signal.SIG_IGN)  # stopping is not to be interrupted
        processes.stop_all()
        for number, handler in before.items():
            signal.signal(number, handler)
        print_line("Everything that the demo started is stopped.")


def _automatic(chosen: argparse.Namespace, processes: Processes) -> int:
    progress = Progress({**_STEPS, **loop.steps(chosen.count)}, DEMO / "seconds.json")
    pack = _pack(chosen.data, progress)
    if missing := pack.missing():
        raise StageError(f"No preview can be built from {chosen.data}: {' '.join(missing)}")
    name = chosen.name or f"{_title(pack)[: LONGEST_NAME - 15]} {time.strftime('%m-%d %H:%M:%S')}"
    running = _start(processes, progress)
    with _annotator(running, name, pack, progress) as annotator:
        result = loop.play(running, annotator, chosen.count, progress, DEMO / "results")
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()
    return 0


def _by_hand(chosen: argparse.Namespace, processes: Processes) -> int:
    progress = Progress({**_STEPS, "Building the first preview": 5.0}, DEMO / "seconds.json")
    pack = _pack(chosen.data, progress)
    name = chosen.name or _title(pack)[:LONGEST_NAME]
    running = _start(processes, progress)
    with _annotator(running, name, pack, progress) as annotator:
        if not pack.missing() and not annotator.tasks("Previews"):
            with progress.step("Building the first preview"):
                asked = annotator.decide("build preview")
                annotator.await_previews(loop.ROUND, asked, loop.ROUND_WITHIN_S)
        _invite(running, annotator)
    while True:
        alive = processes.alive()
        if dead := [process for process in processes.noted() if process not in alive]:
            raise StageError(f"{dead[0].name} has ended by itself; its log is {dead[0].log}. The demo stops.")
        time.sleep(1)


def _start(processes: Processes, progress: Progress) -> servers.Servers:
    """Start the servers, and write the file that points a shell at them; return the servers."""
    running = servers.start_all(processes, DEMO, os.environ, progress)
    demo_env.write(DEMO / ENVIRONMENT, running.settings, Path(sys.executable).parent)
    return running


#: The steps before the loop, with their duration in seconds on two cores.
_STEPS = {
    "Rendering plates with scratches": 10.0,
    **servers.STEPS,
    "Making the study": 5.0,
    "Bringing the images": 10.0,
}


def _pack(data: Path | None, progress: Progress) -> Pack:
    """Return the demo's pack: that of the folder ``data`` if it is given, else the rendered one.

    The pack is rendered only once.
    """
    if data is None:
        data = DEMO / f"brushed_plates-{plates.EDITION}"
        if not data.exists():
            with progress.step("Rendering plates with scratches"):
                draft = data.with_suffix(".draft")
                shutil.rmtree(draft, ignore_errors=True)
                plates.write_pack(draft, lists=plates.GIVEN, report=progress.done)
                draft.rename(data)
    pack = read_pack(data)
    for problem in pack.problems:
        print_line(f"Not used: {problem}")
    return pack


def _title(pack: Pack) -> str:
    return pack.name.partition("-")[0].replace("_", " ").strip().capitalize() or "Demo"


def _annotator(running: servers.Servers, name: str, pack: Pack, progress: Progress) -> Annotator:
    """Create the study and import the pack; return the study's annotator."""
    with progress.step("Making the study"):
        labels = [part for label in pack.labels for part in ("--label", label)]
        running.datagen("provision", name, *labels, "--json")
    annotator = Annotator(running.label_studio.url, running.label_studio.token, name)
    with progress.step("Bringing the images"):
        for role in KINDS:
            annotator.bring(role, pack, progress.done)
    return annotator


def _invite(running: servers.Servers, annotator: Annotator) -> None:
    server = running.label_studio
    address = {
        kind: f"{server.url}/projects/{annotator.project(kind)['id']}/data" for kind in ("Previews", "Decisions")
    }
    print_line(
        f"\nhttp://127.0.0.1:{running.settings['PORT']}/studio/\n"
        "  is ready: each round and what it changed, and the origin of every image\n"
        f"  log in with      {server.email}\n"
        f"  password         {server.password}\n"
        f"Label Studio runs at {server.url}, with the same log-in\n"
        f"  1. review here   {address['Previews']}\n"
        f"  2. decide here   {address['Decisions']}\n"
        "                   refine until most previews are good, audit to state what share will be acceptable,\n"
        "                   then approve\n"
        f"For the command line, in another shell: {demo_env.command(DEMO / ENVIRONMENT)}\n"
        "  then, for example: datagen status, or datagen doctor\n"
        "Ctrl-C here, or scripts/demo --down elsewhere, stops it; what you did is kept for the next start."
    )


def _down() -> int:
    stopped = Occupancy(DEMO).evict()
    stopped += [process.name for process in Processes(DEMO / "servers").stop_all()] if DEMO.exists() else []
    print_line(f"Stopped: {', '.join(stopped)}." if stopped else "Nothing of the demo is running.")
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Interrupted


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_IMAGES:
        raise argparse.ArgumentTypeError(f"{text}: a run makes 1 to {MAX_IMAGES:,} images")
    return int(text)


def _name(text: str) -> str:
    if not 1 <= len(text.strip()) <= LONGEST_NAME:
        raise argparse.ArgumentTypeError(f"a study's name has 1 to {LONGEST_NAME} characters")
    return text.strip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="Runs Label Studio, Redis and Datagen on this machine, with a study to play with.",
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="a pack of your own; by default plates are rendered")
    parser.add_argument("--name", type=_name, help="the study's name; by default the pack's")
    parser.add_argument("--auto", action="store_true", help="play the annotator too, print one JSON line, and stop")
    parser.add_argument("--count", type=_count, default=200, metavar="N", help="images that --auto approves (200)")
    parser.add_argument("--down", action="store_true", help="stop what the demo started, and nothing else")
    return parser


if __name__ == "__main__":
    sys.exit(main())
