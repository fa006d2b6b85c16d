"""A simulated annotator who works through Label Studio's own HTTP API, as a person does through its pages.

It finds the study's projects by their titles and the forms by their label configs. It uses nothing else of the product.
"""

from __future__ import annotations

import html
import json
import mimetypes
import re
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Self, TypeVar

import httpx

from stage.pack import Item, Pack
from stage.processes import StageError
from stage.standard import Opinion, Standard, standard_of

#: The kind of project that gets the images of each role.
KINDS = {"concept": "Concepts", "canvas": "Canvases", "background": "Backgrounds"}
#: Files in one upload request; Label Studio refuses more than 100.
UPLOAD_AT_ONCE = 25
#: Tasks in one page of a listing.
PAGE = 100
#: Seconds between two polls of Label Studio.
LOOK_EVERY_S = 0.2
#: Seconds between two readings of decision tasks during a wait. They take Label Studio four times as long as a poll:
#: at every poll, they took it half of its time for a preview round.
READ_EVERY_S = 2.0
#: A run of more images than this has to be confirmed.
LARGE_RUN = 10_000

Json = dict[str, Any]
T = TypeVar("T")


class Annotator:
    """One simulated annotator of one study. Close it after use, or use it as a context manager."""

    def __init__(self, url: str, token: str, study: str) -> None:
        self.study = study
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Token {token}"},
            timeout=120,
            transport=httpx.HTTPTransport(retries=2),
        )
        self._projects: dict[str, Json] = {}
        self._standard: Standard | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def project(self, kind: str) -> Json:
        """The study's Label Studio project of the kind ``kind``.

        Raises:
            StageError: there is none.
        """
        if kind not in self._projects:
            title = f"{self.study} · {kind}"
            # the title filter also finds titles that contain it
            projects = self._get("/api/projects", title=title, page_size=1000)["results"]
            matching = [project for project in projects if project["title"] == title]
            if not matching:
                raise StageError(f"There is no project “{title}” in Label Studio.")
            self._projects[kind] = self._get(f"/api/projects/{matching[0]['id']}")
        return self._projects[kind]

    def bring(self, role: str, pack: Pack, report: Callable[[int, int, str], None]) -> int:
        """Upload a pack's images of one role with their regions; return the number of uploaded images.

        Images that the project already has are left unchanged. ``report(done, of, units)`` is called during the upload.
        """
        kind, items = KINDS[role], pack.items[role]
        by_item = {task["data"].get("item"): task for task in self.tasks(kind)}
        new = [item for item in items if item.name not in by_item]
        for start in range(0, len(new), UPLOAD_AT_ONCE):
            self._upload(kind, new[start : start + UPLOAD_AT_ONCE])
            report(start, len(new), f"{role} images uploaded")
        if role != "background":
            by_item = {task["data"].get("item"): task for task in self.tasks(kind)}
            for done, item in enumerate(items):
                if not by_item[item.name]["total_annotations"]:
                    self._submit(by_item[item.name], [dict(region) for region in item.regions])
                report(done + 1, len(items), f"{role} images drawn on")
        return len(new)

    def decide(
        self,
        action: str,
        *,
        count: int | None = None,
        audit_count: int | None = None,
        name: str = "",
        note: str = "",
        within: float = 60,
    ) -> int:
        """Fill in the open decision task and submit it; return the task's id.

        Wait up to ``within`` seconds for an open decision task. ``count`` is the number of images of a run,
        ``audit_count`` that of the samples of an audit.
        """
        task = self._wait(lambda: self._open_decision(), within, "an open decision task")
        answers: Json = {"action": {"choices": [action]}}
        if count is not None:
            answers["count"] = {"number": count}
            if count > LARGE_RUN:
                answers["confirm"] = {"choices": ["I have looked"]}
        if audit_count is not None:
            answers["audit_count"] = {"number": audit_count}
        for field, text in (("name", name), ("note", note)):
            if text:
                answers[field] = {"text": [text]}
        self._submit(task, self._filled("Decisions", answers))
        return int(task["id"])

    def await_previews(self, many: int, decision: int, within: float) -> list[Json]:
        """Wait for ``many`` review tasks and return them.

        ``decision`` is the id of the decision task that requested them.

        Raises:
            StageError: the decision was refused, the round failed, or the tasks did not appear within ``within``
                seconds. The text contains that of the decision task.
        """

        def complete() -> list[Json] | None:
            if self._count("Previews") < many:
                return None
            tasks = self.tasks("Previews")
            # Label Studio lists an imported task before its outlines, by which the annotator judges
            return tasks if len(tasks) >= many and all(task["predictions"] for task in tasks) else None

        return self._wait(complete, within, f"{many} review tasks with outlines", decision)

    def await_dataset(self, many: int, decision: int, within: float, report: Callable[[int, int], None]) -> int:
        """Wait for ``many`` dataset tasks and return their number; raise as ``await_previews`` does."""

        def enough() -> int | None:
            have = self._count("Dataset")
            report(have, many)
            return have if have >= many else None

        return self._wait(enough, within, f"{many} dataset tasks", decision)

    def choose_standard(self, tasks: Sequence[Json]) -> None:
        """Choose the standard by these review tasks, unless it is chosen already."""
        if self._standard is None:
            self._standard = standard_of(tasks)

    def opinion_of(self, task: Json) -> Opinion:
        """Return the opinion of a review task; the standard has been chosen."""
        assert self._standard is not None
        return self._standard.opinion_of(task)

    def review(self, tasks: Sequence[Json], report: Callable[[int, int], None]) -> int:
        """Judge every open task that has no verdict; return the number of submitted verdicts.

        The standard is chosen by the first tasks that are judged, and stays.
        """
        self.choose_standard(tasks)
        waiting = [task for task in tasks if not task["is_labeled"]]
        for done, task in enumerate(waiting):
            opinion = self.opinion_of(task)
            answers: Json = {"verdict": {"choices": ["good" if opinion.good else "bad"]}}
            if opinion.reasons:
                answers["reasons"] = {"choices": list(opinion.reasons)}
            if opinion.comment:
                answers["comment"] = {"text": [opinion.comment]}
            # as the page does: the predicted label is part of what is submitted
            predicted = [dict(region) for prediction in task["predictions"] for region in prediction["result"]]
            self._submit(task, predicted + self._filled("Previews", answers))
            report(done + 1, len(waiting))
        return len(waiting)

    def tasks(self, kind: str) -> list[Json]:
        """All tasks of a project, with annotations and predictions, sorted by id."""
        tasks: list[Json] = []
        while True:
            page = self._http.get(
                "/api/tasks",
                params={
                    "project": self.project(kind)["id"],
                    "page": len(tasks) // PAGE + 1,
                    "page_size": PAGE,
                    "fields": "all",
                },
            )
            # Label Studio answers 500 or 404 to a page beyond the last
            listed = [] if page.status_code == httpx.codes.NOT_FOUND else self._body(page)["tasks"]
            tasks += listed
            if len(listed) < PAGE:
                return sorted(tasks, key=lambda task: int(task["id"]))

    def decision_text(self, task_id: int) -> str:
        """Return the text of a decision task's page."""
        return _plain(self._get(f"/api/tasks/{task_id}")["data"].get("html", ""))

    def await_words(self, pattern: str, within: float) -> str:
        """Wait until the text of the open decision task matches a regular expression; return the matching part."""

        def look() -> str | None:
            task = self._open_decision()
            match = re.search(pattern, self.decision_text(int(task["id"]))) if task is not None else None
            return match[0] if match else None

        return self._wait(look, within, f"“{pattern}” on the open decision task")

    def await_changes(self, version: int, within: float) -> list[str]:
        """Wait until the open decision task lists what changed in a version, and return these sentences."""

        def look() -> list[str] | None:
            task = self._open_decision()
            page = self._get(f"/api/tasks/{task['id']}")["data"].get("html", "") if task is not None else ""
            _, heading, after = page.partition(f"What changed in version {version}<")
            listed = re.findall(r"<li>(.*?)</li>", after.partition("</details>")[0], re.DOTALL)
            return [_plain(sentence) for sentence in listed] if heading else None

        return self._wait(look, within, f"what changed in version {version}, on the open decision task")

    def _open_decision(self) -> Json | None:
        open_ones = [task for task in self.tasks("Decisions") if not task["total_annotations"]]
        return open_ones[-1] if open_ones else None

    def _count(self, kind: str) -> int:
        return int(self._get(f"/api/projects/{self.project(kind)['id']}")["task_number"])

    def _wait(self, look: Callable[[], T | None], within: float, description: str, decision: int | None = None) -> T:
        read_at = time.monotonic()
        deadline = read_at + within
        while (seen := look()) is None:
            if decision is not None and time.monotonic() - read_at >= READ_EVERY_S:
                read_at = time.monotonic()
                if reason := self._bad_news(decision):
                    if (seen := look()) is not None:  # it came between the two looks
                        return seen
                    raise StageError(f"{description} did not come. The decision task says: {reason}")
            if time.monotonic() > deadline:
                reason = f" The decision task says: {self.decision_text(decision)}" if decision is not None else ""
                raise StageError(f"{description} did not come within {within:.0f} s.{reason}")
            time.sleep(LOOK_EVERY_S)
        return seen

    def _bad_news(self, decision: int) -> str:
        """The text of a decision task that shows why no further task will appear; empty if there is no such reason.

        The reason is a refusal of the decision, or a newer decision task.
        """
        page = self.decision_text(decision)
        if "Not done:" in page:
            return page
        newest = self._open_decision()
        return self.decision_text(newest["id"]) if newest is not None and newest["id"] > decision else ""

    def _upload(self, kind: str, items: Sequence[Item]) -> None:
        """Upload files and create a task for each.

        The task contains the item's name, so that a second call finds it.
        """
        project = self.project(kind)["id"]
        with ExitStack() as opened:
            files = [
                (
                    item.name,  # a field for each: Label Studio takes one file of each name
                    (
                        item.name.replace("/", "-"),
                        opened.enter_context(item.path.open("rb")),
                        mimetypes.guess_type(item.name)[0] or "application/octet-stream",
                    ),
                )
                for item in items
            ]
            answer = self._http.post(
                f"/api/projects/{project}/import", params={"commit_to_project": "false"}, files=files
            )
        ids = self._body(answer)["file_upload_ids"]
        uploads = self._get(f"/api/projects/{project}/file-uploads", ids=json.dumps(ids))
        paths = {upload["id"]: upload["file"] for upload in uploads}
        tasks = [
            {"image": f"/data/{paths[upload_id]}", "item": item.name}
            for upload_id, item in zip(sorted(ids), items, strict=True)
        ]
        self._body(self._http.post(f"/api/projects/{project}/import", json=tasks))

    def _submit(self, task: Json, result: list[Json]) -> None:
        body = {"result": result, "lead_time": 2.0, "was_cancelled": False}
        self._body(self._http.post(f"/api/tasks/{task['id']}/annotations/", json=body))

    def _filled(self, kind: str, answers: Json) -> list[Json]:
        """Return a form's answers as results in Label Studio's form, each for the object named in the label config."""
        form = {
            control.get("name"): control
            for control in ElementTree.fromstring(self.project(kind)["label_config"]).iter()  # noqa: S314 — our own server
            if control.get("toName")
        }
        return [
            {
                "id": f"{field}-answer",
                "type": form[field].tag.lower(),
                "from_name": field,
                "to_name": form[field].get("toName"),
                "value": value,
            }
            for field, value in answers.items()
        ]

    def _get(self, path: str, **params: Any) -> Any:
        return self._body(self._http.get(path, params=params))

    def _body(self, answer: httpx.Response) -> Any:
        if answer.is_error:
            raise StageError(
                f"Label Studio answered {answer.request.method} {answer.request.url.path} "
                f"with {answer.status_code}: {answer.text[:500]}"
            )
        return answer.json()


def _plain(page: str) -> str:
    """Return the text of HTML, with single spaces."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())
