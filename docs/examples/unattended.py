"""From a folder of new photos to an approved dataset, unattended, with Datagen's API: see how-to-unattended.md.

It needs Python 3.11 and httpx:

    python unattended.py --name "Scratches, line 4" --label scratch --concepts concepts.zip --canvases canvases.zip \
        --photos new-photos --count 200 --format coco --out dataset.zip

It may be interrupted and run again: what is done is not done twice.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

#: Suffixes of photos; largest number and bytes of those that one request sends.
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
MOST_FILES, MOST_BYTES = 100, 10 * 2**20
#: Seconds between two looks, and the longest wait for one step.
EVERY_SECONDS, LONGEST_SECONDS = 2.0, 24 * 3600.0


class Refused(SystemExit):
    """A request that was refused; ``kind`` is the end of the problem's type."""

    def __init__(self, request: str, problem: dict[str, Any]) -> None:
        super().__init__(f"{request}: {problem['detail']} {problem.get('faults') or ''}")
        self.kind = problem["type"].rpartition(":")[2]


class Api:
    """Sends requests, and sends them again while a part of the installation is not available."""

    def __init__(self, url: str, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=url.rstrip("/") + "/api/v1", headers=headers, timeout=180)

    def get(self, path: str, **query: Any) -> httpx.Response:
        """Return the response to a GET."""
        return self._sent("GET", path, params=query)

    def post(self, path: str, what: str, media_type: str | None = None, **body: Any) -> Any:
        """Send a change and return its result; ``what`` names it, so that it is made once however often it is sent."""
        key = hashlib.sha256(f"{path} {what}".encode()).hexdigest()
        headers = {"Idempotency-Key": key} | ({"Content-Type": media_type} if media_type is not None else {})
        return self._sent("POST", path, headers=headers, **body).json()

    def items(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Yield the items of all pages of a list."""
        cursor: dict[str, int] = {}
        while True:
            page = self.get(path, limit=200, **query, **cursor).json()
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            cursor = {"cursor": page["next_cursor"]}

    def save(self, path: str, file: Path) -> None:
        """Write the content at a path to a file. An interrupted transfer is continued."""
        until, tag = time.monotonic() + LONGEST_SECONDS, ""
        file.write_bytes(b"")
        while True:
            headers = {"Range": f"bytes={file.stat().st_size}-", "If-Range": tag} if file.stat().st_size else {}
            try:
                with self._http.stream("GET", path, headers=headers) as answer:
                    if answer.is_success:
                        tag = answer.headers["ETag"]
                        with file.open("ab" if answer.status_code == httpx.codes.PARTIAL_CONTENT else "wb") as opened:
                            opened.writelines(answer.iter_bytes())
                        return
                    answer.read()
                    pause = self._pause(answer, f"GET {path}", until)
            except httpx.TransportError:
                if time.monotonic() > until:
                    raise
                pause = EVERY_SECONDS
            time.sleep(pause)

    def _sent(self, method: str, path: str, **options: Any) -> httpx.Response:
        until = time.monotonic() + LONGEST_SECONDS
        while True:
            try:
                answer = self._http.request(method, path, **options)
            except httpx.TransportError:
                if time.monotonic() > until:
                    raise
                time.sleep(EVERY_SECONDS)
                continue
            if answer.is_success:
                return answer
            time.sleep(self._pause(answer, f"{method} {path}", until))

    @staticmethod
    def _pause(answer: httpx.Response, request: str, until: float) -> float:
        """Return the seconds after which a refused request may be sent again; end if it may not."""
        if answer.headers.get("Content-Type") != "application/problem+json":  # the server itself is busy
            problem = {"type": "", "detail": f"{answer.status_code} {answer.reason_phrase}"}
        else:
            problem = answer.json()
        may_be_repeated = answer.status_code in (429, 502, 503, 504) or problem["type"].endswith("key-in-use")
        if not may_be_repeated or time.monotonic() > until:
            raise Refused(request, problem)
        return float(answer.headers.get("Retry-After", EVERY_SECONDS))


def study_of(api: Api, name: str, labels: list[str]) -> int:
    """Return the id of the study of this name; create it if there is none."""
    for study in api.items("/studies", search=name):
        if study["name"] == name:
            return int(study["id"])
    return int(api.post("/studies", f"create {name}", json={"name": name, "labels": labels})["id"])


def add_photos(api: Api, study: str, folder: Path) -> None:
    """Add the photos of a folder as backgrounds; those that are there already are not added again."""
    part: list[Path] = []
    for path in [*sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES), None]:
        is_full = part and (path is None or len(part) == MOST_FILES or size_of([*part, path]) > MOST_BYTES)
        if is_full:
            files = [("files", (each.name, each.read_bytes())) for each in part]
            added = api.post(f"{study}/inputs/background", digest_of(part), files=files)
            print(f"{added['new']} photos added, {added['known']} were there already")
            for problem in added["problems"]:
                print(f"  not used: {problem}")
            part = []
        if path is not None:
            part.append(path)


def size_of(paths: list[Path]) -> int:
    """Return the size of files together, in bytes."""
    return sum(path.stat().st_size for path in paths)


def digest_of(paths: list[Path]) -> str:
    """Return a digest of the contents of files."""
    return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in paths)).hexdigest()


def wait(api: Api, study: str, busy: str) -> None:
    """Wait while the study is in the state ``busy``, or its inputs are being read."""
    until = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < until:
        now = api.get(study).json()
        if now["state"] != busy and not now["unread"]:
            return
        time.sleep(EVERY_SECONDS)
    raise SystemExit(f"the study is {busy} for more than {LONGEST_SECONDS / 3600:g} hours; go on at its page")


def decide(api: Api, study: str, what: str, **decision: Any) -> dict[str, Any]:
    """Decide about the study, once, and return the round or run that was started, when it has ended."""
    while True:
        try:
            made = api.post(f"{study}/decisions", what, json=decision)
            break
        except Refused as refusal:
            if refusal.kind != "not-ready" or not api.get(study).json()["unread"]:
                raise
            time.sleep(EVERY_SECONDS)  # the photos are being read
    started = made["started"]
    wait(api, study, made["state"])
    batch = api.get(f"{study}/batches/{started['kind']}/{started['number']}").json()
    print(f"{made['action']}: {started['kind']} {started['number']} is {batch['state']}, {batch['rendered']} images")
    if batch["state"] != "done":
        raise SystemExit(f"It goes on at the study's page. {batch['problem']}")
    return dict(batch)


def download(api: Api, study: str, run: int, image_format: str, out: Path) -> int:
    """Have a zip of a run's images and labels made, write it to a file, and return the number of images."""
    of_run = f"{study}/batches/run/{run}/downloads"
    # the key of a request has the number of failed downloads, so that one can be requested again after a failure
    failures = sum(each["state"] in ("failed", "cancelled") for each in api.items(of_run))
    made = api.post(of_run, f"{image_format}, after {failures} failures", json={"formats": [image_format]})
    until = time.monotonic() + LONGEST_SECONDS
    while made["state"] in ("pending", "running") and time.monotonic() < until:
        time.sleep(EVERY_SECONDS)
        made = api.get(f"{of_run}/{made['id']}").json()
    if made["file"] is None:
        raise SystemExit(f"the download is {made['state']}. {made['problem']} Run this again")
    for note in made["notes"]:
        print(f"  {note}")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.part")
    api.save(made["file"], part)
    with zipfile.ZipFile(part) as archive:
        if (damaged := archive.testzip()) is not None:
            raise SystemExit(f"{damaged} in the download is damaged; run this again")
    part.replace(out)
    return int(made["total"])


def main() -> None:
    """Take a study from its inputs to a dataset."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--url", default=os.environ.get("DATAGEN_URL", "http://127.0.0.1:9090"))
    parser.add_argument("--name", required=True, help="the study's name")
    parser.add_argument("--label", action="append", required=True)
    parser.add_argument("--concepts", type=Path, help="a zip with photos and an export with their boxes")
    parser.add_argument("--canvases", type=Path, help="a zip with photos and an export with their areas")
    parser.add_argument("--photos", type=Path, required=True, help="the folder of new photos")
    parser.add_argument("--count", type=int, default=200, help="number of images to generate")
    parser.add_argument("--least-good", type=float, default=0.0, help="least share of good verdicts, 0 to 1")
    parser.add_argument("--format", default="coco", help="of the dataset: coco, yolo, or another one of the form")
    parser.add_argument("--out", type=Path, required=True, help="the zip that the dataset is written to")
    given = parser.parse_args()
    api = Api(given.url, os.environ["LABEL_STUDIO_TOKEN"])

    study = f"/studies/{study_of(api, given.name, given.label)}"
    for role, path in (("concept", given.concepts), ("canvas", given.canvases)):
        if path is not None:
            zipped = {"media_type": "application/zip", "content": path.read_bytes()}
            added = api.post(f"{study}/inputs/{role}", digest_of([path]), **zipped)
            print(f"{role}: {added['new']} added, {added['regions']} drawings")
    add_photos(api, study, given.photos)

    photos = digest_of(sorted(path for path in given.photos.iterdir() if path.suffix.lower() in SUFFIXES))
    round_ = decide(api, study, f"preview of {photos}", action="build preview")
    good = round_["verdicts"]["share"]["good"] if round_["verdicts"]["share"] else 0.0
    if good < given.least_good:
        raise SystemExit(
            f"{good:.0%} of the verdicts on round {round_['number']} are good, {given.least_good:.0%} are asked for; "
            f"judge it in Label Studio, then run this again"
        )
    note = f"unattended: {round_['verdicts']['judged']} of {round_['count']} previews judged"
    approval = {"action": "approve", "count": given.count, "note": note, "confirmed": True}
    run = decide(api, study, f"run of {photos}, {given.count}", **approval)
    print(f"{download(api, study, run['number'], given.format, given.out)} images with their labels are in {given.out}")


if __name__ == "__main__":
    main()
