"""The simulated team of the chaos bench: people annotate, judge, refine and approve while parts are killed.

Each person works on a study of their own through Label Studio's API. What Label Studio answered with 2xx counts as
acknowledged. If a request got no answer, the person checks whether it had an effect, and repeats it if not."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx

from datagen.domain.inputs import ProjectKind
from stage.progress import print_line

Json = dict[str, Any]
REASONS = ("too small", "too strong", "wrong place", "edges show", "cannot be seen")
#: Seconds between two checks of a person, and seconds after which a person gives up a round or a run.
LOOK_EVERY_S, PATIENCE_S = 1.0, 600.0


class Over(Exception):
    """The time is over, so the simulated person stops."""


@dataclass
class Acknowledged:
    """Annotations that Label Studio answered with 2xx: those that must exist at the end, and deleted ones."""

    verdicts: set[int] = field(default_factory=set)
    deleted: set[int] = field(default_factory=set)
    decisions: set[int] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)


class Person(threading.Thread):
    """One simulated person, who works on one study until the time is over."""

    def __init__(self, url: str, token: str, study: str, projects: dict[ProjectKind, int], seed: int) -> None:
        super().__init__(name=f"person at {study}")
        self.study, self.projects, self.acknowledged = study, projects, Acknowledged()
        #: time at which the person stops, by ``time.monotonic``
        self.until = time.monotonic()
        self._random = random.Random(seed)  # noqa: S311 -- a seed makes it repeatable
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Token {token}"}, timeout=30)
        self.fault: BaseException | None = None

    def run(self) -> None:
        """Repeat the whole work on the study until the time is over.

        The person builds a preview, judges and refines it once or twice, approves, and looks at the result.
        """
        try:
            while True:
                self._decide("build preview")
                for _ in range(self._random.randint(0, 2)):
                    self._judge()
                    self._decide("refine")
                self._judge()
                self._decide("approve", count=self._random.randint(15, 40))
        except Over:
            pass
        except BaseException as fault:
            self.fault = fault
            raise
        finally:
            self._http.close()

    # -- what they do

    def _decide(self, action: str, **fields: int) -> None:
        task = self._wait_for(self._open_decision, f"a decision task to “{action}” at")
        form = [_choice("action", action, "summary")]
        if "count" in fields:
            form.append(_answer("count", "number", {"number": fields["count"]}, "summary"))
            form.append(_choice("confirm", "I have looked", "summary"))
        self.acknowledged.decisions.add(self._submit(task["id"], form))
        self.acknowledged.counts[action] += 1
        if action != "build preview":
            self._annotate_more()

    def _judge(self) -> None:
        """Judge a round. Sometimes change a verdict, or delete it and submit another."""
        tasks = self._wait_for(self._round, "a preview round at")
        given: list[int] = []
        for task in tasks:
            given.append(self._submit(task["id"], self._opinion()))
            self.acknowledged.verdicts.add(given[-1])
            self.acknowledged.counts["verdict"] += 1
            self._breathe(0.2)
        for annotation, task in zip(given, tasks, strict=True):
            luck = self._random.random()
            if luck < 0.2:
                self._change(annotation)
            elif luck < 0.3:
                self._take_back(annotation)
                self.acknowledged.verdicts.add(self._submit(task["id"], self._opinion()))

    def _opinion(self) -> list[Json]:
        good = self._random.random() < 0.6
        form = [_choice("verdict", "good" if good else "bad", "image")]
        if not good:
            form.append(_choice("reasons", self._random.choice(REASONS), "image"))
        if self._random.random() < 0.3:
            form.append(_answer("comment", "textarea", {"text": [f"note {self._random.randrange(10_000)}"]}, "image"))
        return form

    def _change(self, annotation: int) -> None:
        self._until_answered("PATCH", f"/api/annotations/{annotation}/", {"result": self._opinion()})
        self.acknowledged.counts["change"] += 1

    def _take_back(self, annotation: int) -> None:
        while True:
            answer = self._call("DELETE", f"/api/annotations/{annotation}/")
            if answer is not None and (answer.is_success or answer.status_code == 404):
                break
            self._breathe(LOOK_EVERY_S)
        self.acknowledged.verdicts.discard(annotation)
        self.acknowledged.deleted.add(annotation)
        self.acknowledged.counts["taken back"] += 1

    def _annotate_more(self) -> None:
        """Draw one of the concept boxes again, as people do while they wait."""
        tasks = self._tasks(ProjectKind.CONCEPTS)
        drawn = [annotation for task in tasks or () for annotation in task["annotations"] if annotation["result"]]
        if drawn:
            annotation = self._random.choice(drawn)
            self._until_answered("PATCH", f"/api/annotations/{annotation['id']}/", {"result": annotation["result"]})
            self.acknowledged.counts["drawn"] += 1

    # -- reading tasks

    def _open_decision(self) -> Json | None:
        tasks = self._tasks(ProjectKind.DECISIONS)
        waiting = [task for task in tasks or () if not task["annotations"]]
        return waiting[-1] if waiting else None

    def _round(self) -> list[Json] | None:
        """The tasks of the newest round once a decision task about them is open; None before, or if one is judged."""
        tasks = self._tasks(ProjectKind.PREVIEWS)
        if not tasks or self._open_decision() is None:
            return None
        newest = max(int(task["data"]["round"]) for task in tasks)
        wanted = [task for task in tasks if int(task["data"]["round"]) == newest]
        return wanted if not any(task["annotations"] for task in wanted) else None

    def _tasks(self, project_kind: ProjectKind) -> list[Json] | None:
        """All tasks of a project; None if Label Studio does not answer."""
        tasks: list[Json] = []
        while True:
            params = {
                "project": self.projects[project_kind],
                "page": len(tasks) // 100 + 1,
                "page_size": 100,
                "fields": "all",
            }
            answer = self._call("GET", "/api/tasks/", params=params)
            if answer is None or (answer.is_error and answer.status_code != 404):
                return None
            page = answer.json()["tasks"] if answer.is_success else []
            tasks += page
            if len(page) < 100:
                return sorted(tasks, key=lambda task: int(task["id"]))

    # -- requests to Label Studio

    def _submit(self, task_id: int, form: list[Json]) -> int:
        """Submit an annotation and return its id.

        If there is no answer, check whether the annotation exists, as a person does after reloading the page.
        """
        while True:
            answer = self._call("POST", f"/api/tasks/{task_id}/annotations/", json={"result": form, "lead_time": 1.0})
            if answer is not None and answer.is_success:
                return int(answer.json()["id"])
            self._breathe(LOOK_EVERY_S)
            submitted = self._until_answered("GET", f"/api/tasks/{task_id}/annotations/").json()
            if submitted:
                return int(submitted[-1]["id"])

    def _until_answered(self, method: str, path: str, json: Json | None = None) -> httpx.Response:
        while True:
            answer = self._call(method, path, json=json)
            if answer is not None and answer.is_success:
                return answer
            self._breathe(LOOK_EVERY_S)

    def _call(self, method: str, path: str, **request: Any) -> httpx.Response | None:
        """Send a request; return the response, or None if there is none."""
        if time.monotonic() > self.until:
            raise Over
        try:
            return self._http.request(method, path, **request)
        except httpx.TransportError:
            return None

    def _wait_for(self, look: Any, description: str) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while (seen := look()) is None:
            if time.monotonic() > deadline:
                print_line(f"{description} {self.study} did not come within {PATIENCE_S:.0f} s")
                raise Over
            self._breathe(LOOK_EVERY_S)
        return seen

    def _breathe(self, seconds: float) -> None:
        if time.monotonic() + seconds > self.until:
            raise Over
        time.sleep(seconds)


def _choice(control: str, chosen: str, to: str) -> Json:
    return _answer(control, "choices", {"choices": [chosen]}, to)


def _answer(control: str, kind: str, value: Json, to: str) -> Json:
    return {"id": control, "from_name": control, "to_name": to, "type": kind, "value": value}
