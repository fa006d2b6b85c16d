"""Follows ``docs/operations.md`` literally: its shell blocks, and the machines on which they are run.

A machine is a folder here. What the page does in ``/etc``, ``/var`` and ``/opt/datagen/bin`` is done in this folder.
The page's example hosts are servers on free ports. There is no systemd: a replacement of ``systemctl`` starts what the
unit files say, and stops it with the signal that systemd sends."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from stage.layout import ROOT
from stage.processes import Processes, Started

PAGE = ROOT / "docs" / "operations.md"
#: Text before a block that is not run; the page says there why.
NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Block:
    """One shell block: its chapter, the machines on which it is run (in this order), and its text."""

    chapter: str
    where: tuple[str, ...]
    text: str


def blocks() -> Iterator[Block]:
    """Yield all shell blocks of the page.

    Raises:
        ValueError: the page does not say before a block where it is run.
    """
    chapter = ""
    text = PAGE.read_text(encoding="utf-8")
    for match in re.finditer(
        r"^#+ (?P<title>[^\n]*)$|^(?:<!-- (?P<where>[^\n]*) -->\n)?```sh\n(?P<text>.*?)^```$", text, re.M | re.S
    ):
        if match["title"]:
            chapter = match["title"]
        elif not match["where"]:
            raise ValueError(f"a block in “{chapter}” does not say where it is run:\n{match['text']}")
        else:
            where = match["where"].removeprefix("run: ")
            yield Block(chapter, () if where == NOT_RUN else tuple(where.split(", ")), match["text"])


@dataclass
class Machine:
    """A folder that has what the page's commands expect on a machine."""

    name: str
    root: Path
    processes: Processes
    #: text of the page → its replacement in this test
    instead: Mapping[str, str]
    #: whether the process of a unit is ready, by the unit's name without its number
    ready: Mapping[str, Callable[[], bool]]
    environment: dict[str, str] = field(default_factory=dict)
    running: dict[str, Started] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for folder in ("etc/systemd/system", "var/lib", "var/backups", "state"):
            (self.root / folder).mkdir(parents=True)
        (self.root / "state" / "cwd").write_text(str(ROOT))

    def here(self, text: str) -> str:
        """Return a text of the page with this machine's folders and the test's servers in it."""
        places = {
            "/opt/datagen/bin": str(Path(sys.executable).parent),
            **{
                f"/{place}": str(self.root / place)
                for place in ("etc/datagen", "etc/systemd", "var/lib", "var/backups")
            },
        }
        for was, now in {**self.instead, **places}.items():
            # not inside a path that was put in already, but after the scheme of a URL
            text = re.sub(rf"(?:(?<![\w/.-])|(?<=file://)){re.escape(was)}(?![\w-])", lambda _, now=now: now, text)
        return text

    def run(self, block: str) -> str:
        """Run a block in the machine's shell session, which keeps variables and folder; return its output.

        Raises:
            AssertionError: a command failed.
        """
        if not re.search(r"^systemctl ", block, re.M):
            return self._shell(self.here(block))
        for line in block.splitlines():  # a block with systemctl has a command a line
            if line.startswith("systemctl "):
                self.systemctl(*shlex.split(line)[1:])
            else:
                self._shell(self.here(line))
        return ""

    def datagen(self, *arguments: str) -> str:
        """Run the ``datagen`` command in the machine's shell session; return its output."""
        return self._shell(shlex.join([f"{Path(sys.executable).parent}/datagen", *arguments]))

    def _shell(self, text: str) -> str:
        state = self.root / "state"
        lines = (
            "set -euo pipefail",
            f"[ ! -f {state}/env ] || . {state}/env",
            f'cd "$(cat {state}/cwd)"',
            text.strip(),
            f"export -p > {state}/env",
            f"pwd > {state}/cwd",
        )
        script = state / "session.sh"
        script.write_text("\n".join(lines) + "\n")
        completed = subprocess.run(
            ["bash", script],
            env={**_plain_environment(), **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert completed.returncode == 0, f"on the {self.name}:\n{text}\n{completed.stdout}{completed.stderr}"
        return completed.stdout

    # -- systemd's part

    def systemctl(self, *words: str) -> None:
        """Do what systemd's ``systemctl`` would do to the units."""
        verb, *units = [word for word in words if word != "--now"]
        if verb == "stop":
            matching = [name for name in self.running if any(fnmatch(name, pattern) for pattern in units)]
            with ThreadPoolExecutor() as together:
                list(together.map(self.processes.stop, [self.running.pop(unit) for unit in matching]))
        elif verb in ("enable", "start"):
            with ThreadPoolExecutor() as together:  # as systemd does
                self.running.update(zip(units, together.map(self._start, units), strict=True))
        else:
            assert verb == "daemon-reload"

    def _start(self, unit: str) -> Started:
        kind, _, instance = unit.partition("@")
        file = self.root / "etc/systemd/system" / f"{kind}{'@' if instance else ''}.service"
        parser = configparser.RawConfigParser(strict=False)
        parser.optionxform = str  # type: ignore[assignment, method-assign]
        parser.read_string(self.here(file.read_text()))
        service = parser["Service"]
        pairs = [line.partition("=") for line in Path(service["EnvironmentFile"]).read_text().splitlines()]
        environment = {name: value for name, _, value in pairs if name and not name.startswith("#")}
        return self.processes.start(
            f"{self.name}-{unit}".replace(" ", "-"),
            shlex.split(service["ExecStart"].replace("%i", instance)),
            env={**environment, **self.environment},
            cwd=Path(service["WorkingDirectory"]),
            ready=self.ready[kind],
            within=120,
        )


def _plain_environment() -> dict[str, str]:
    """Return this process's environment without the variables of Datagen and of the tests."""
    kept = ("PATH", "HOME", "LANG", "PYTHONPATH", "TMPDIR", "SSL_CERT_FILE")
    return {name: os.environ[name] for name in kept if name in os.environ}
