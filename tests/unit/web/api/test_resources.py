"""The API shows the same as the pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from benches.page_rows import add_batch, judge
from datagen.domain.lifecycle import StudyState
from datagen.imaging.codec import decode
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import SpecRow
from datagen.workflow import services as workflow_services
from datagen.workflow.studies import open as opening
from datagen.workflow.study_pages import sample_list
from studio import verdict_result


def test_a_study_has_its_state_inputs_next_step_and_projects(program: Any) -> None:
    study = program.read(".")
    assert (study["name"], study["labels"], study["state"], study["version"]) == (
        program.study.name,
        ["pit"],
        "reviewing",
        1,
    )
    assert {count["role"] for count in study["inputs"]} == {"concept", "canvas", "background"}
    assert study["unread"] == 0
    assert study["problems"] == []
    assert study["next_step"]["turn"] == "your turn"
    assert study["next_step"]["url"].startswith("http://label-studio.test/projects/")
    assert study["projects"]["previews"] in program.study.projects.values()


def test_studies_are_listed_in_pages_and_searched(program: Any) -> None:
    names = [program.study.name, *(f"another {number}" for number in range(3))]
    for name in names[1:]:
        assert program.send("POST", "/studies", json={"name": name, "labels": ["pit"]}).status_code == 201
    first = program.read("/studies?limit=3")
    second = program.read(f"/studies?limit=3&cursor={first['next_cursor']}")
    assert [item["name"] for item in first["items"] + second["items"]] == names[::-1]
    assert (first["total"], second["next_cursor"]) == (4, None)
    assert [item["name"] for item in program.read("/studies?search=another+2")["items"]] == ["another 2"]


def test_a_created_study_is_in_label_studio_and_in_the_audit_log_by_its_creator(program: Any) -> None:
    answer = program.send("POST", "/studies", json={"name": "scratches", "labels": ["scratch"], "preview_size": 7})
    assert answer.status_code == 201, answer.text
    study = answer.json
    assert (study["labels"], study["preview_size"], study["not_done"]) == (["scratch"], 7, [])
    log = program.read(f"/studies/{study['id']}/audit-log")["items"]
    assert [(line["who"], line["what"]) for line in log] == [("ann@example.com", "opened with the labels scratch")]
    again = program.send("POST", "/studies", json={"name": "scratches", "labels": ["scratch"]})
    assert (again.status_code, again.json["type"]) == (409, "urn:datagen:problem:exists")


def test_a_clone_begins_with_the_settings_of_a_version_and_is_completed_by_a_second_request(program: Any) -> None:
    answer = program.send("POST", "./clones", json={"name": "Line 4", "version": 1})
    assert answer.status_code == 201, answer.text
    program.studio.settle()
    clone = program.read(f"/studies/{answer.json['id']}")
    assert (clone["name"], clone["version"]) == ("Line 4", 0)
    assert [role["usable"] for role in clone["inputs"]] == [6, 6, 6]
    log = program.read(f"/studies/{clone['id']}/audit-log")["items"]
    assert ("ann@example.com", f"cloned from “{program.study.name}”, version 1") in [
        (line["who"], line["what"]) for line in log
    ]
    again = program.send("POST", "./clones", json={"name": "Line 4", "version": 1})
    assert (again.status_code, again.json["id"]) == (201, clone["id"])
    assert program.send("POST", "./clones", json={"name": "Line 4"}).status_code == 409


def test_a_version_that_does_not_exist_is_not_cloned(program: Any) -> None:
    answer = program.send("POST", "./clones", json={"name": "Line 4", "version": 7})
    assert (answer.status_code, "has no version 7" in answer.json["detail"]) == (409, True)
    assert program.read("/studies?search=Line")["items"] == []


def test_an_account_that_does_not_see_every_project_may_not_clone(program: Any) -> None:
    program.accounts.restricted["bo@example.com"] = frozenset(program.study.projects.values())
    program.token = "token of bo@example.com"
    assert program.send("POST", "./clones", json={"name": "Line 4"}).status_code == 403


def test_inputs_are_listed_with_what_is_drawn_on_them(program: Any) -> None:
    page = program.read("./inputs/concept?limit=2")
    assert [item["status"] for item in page["items"]] == ["used", "used"]
    assert page["items"][0]["drawn"] >= 1
    rest = program.read(f"./inputs/concept?cursor={page['next_cursor']}")
    assert rest["next_cursor"] is None
    ids = [item["task_id"] for item in page["items"] + rest["items"]]
    assert ids == sorted(set(ids))


def test_a_version_has_its_parameters_and_what_it_changed(program: Any) -> None:
    program.study.judge(verdict_result("bad", "too strong"))
    program.studio.settle()
    assert program.decide(action="refine").status_code == 201
    program.studio.settle()
    newest, first = program.read("./versions")["items"]
    assert (newest["version"], first["version"], first["state"]) == (2, 1, "refined")
    version = program.read("./versions/2")
    assert version["parent"] == 1
    before = program.read("./versions/1")["parameters"]
    for change in version["changed_parameters"]:
        assert (before.get(change["name"]), version["parameters"].get(change["name"])) == (
            change["before"],
            change["after"],
        )
    spec = program.read("./versions/2/spec")
    assert spec["digest"] == version["digest"]
    assert len(spec["spec"]["concepts"]) == version["concepts"]
    assert program.send("GET", "./versions/3").status_code == 404


def test_a_round_has_its_verdicts_and_its_samples_are_filtered_by_them(program: Any) -> None:
    tasks = program.study.judge(verdict_result("bad", "too strong"))
    program.studio.settle()
    batch = program.read("./batches/round/1")
    count = batch["count"]
    assert batch["rendered"] == count
    assert batch["verdicts"]["bad"] == batch["verdicts"]["judged"] > 0, tasks
    assert 0 <= batch["verdicts"]["share"]["low"] <= batch["verdicts"]["share"]["high"] <= 1
    assert program.read("./batches?kind=round")["items"][0]["number"] == 1
    assert program.read("./batches?kind=run")["items"] == []
    assert program.read("./batches?version=2")["items"] == []
    samples = program.read("./batches/round/1/samples")["items"]
    assert len(samples) == count
    by_judgement = {
        name: program.read(f"./batches/round/1/samples?judgement={name}")["items"]
        for name in ("bad", "good", "disputed", "not judged")
    }
    assert sum(map(len, by_judgement.values())) == count
    assert {sample["id"] for sample in by_judgement["bad"]} == {
        sample["id"] for sample in samples if sample["reasons"] == ["too strong"]
    }
    assert program.read("./batches/round/1/samples?reason=too+strong")["items"] == by_judgement["bad"]
    assert program.read("./batches/round/1/samples?reason=too+small")["items"] == []
    background = samples[0]["background"]
    assert {
        sample["background"] for sample in program.read(f"./batches/round/1/samples?background={background}")["items"]
    } == {background}
    verdict = program.read(f"./samples/{by_judgement['bad'][0]['id']}")["verdicts"][0]
    assert (verdict["opinion"], verdict["counts"]) == ("bad", True)


def test_a_sample_has_its_origin_and_its_pictures_with_a_tag(program: Any) -> None:
    [first, second, *_] = program.read("./batches/round/1/samples")["items"]
    sample = program.read(f"./samples/{first['id']}")
    assert (sample["previous_id"], sample["next_id"]) == (None, second["id"])
    assert sample["provenance"]["background"]["name"] == first["background"]
    assert sample["reproduce"].startswith("datagen reproduce ")
    for part in ("image", "mask"):
        answer = program.send("GET", f"./samples/{first['id']}/{part}")
        assert answer.content_type == "image/png"
        pixels = decode(answer.data, max_bytes=10**7, max_pixels=10**7)
        assert pixels.shape[:2] == (sample["height"], sample["width"])
        assert sample[f"{part}_sha256"] in answer.headers["ETag"]
        again = program.send(
            "GET", f"./samples/{first['id']}/{part}", headers={"If-None-Match": answer.headers["ETag"]}
        )
        assert (again.status_code, again.data) == (304, b"")


def test_json_is_not_sent_again_unchanged(program: Any) -> None:
    answer = program.send("GET", ".")
    tag = {"If-None-Match": answer.headers["ETag"]}
    assert program.send("GET", ".", headers=tag).status_code == 304
    program.decide(action="stop")
    assert program.send("GET", ".", headers=tag).status_code == 200


def test_samples_of_a_large_run_come_in_pages(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with program.studio.services.database.write() as session:
        spec = session.query(SpecRow).one()
        batch = add_batch(session, spec, BatchKind.RUN, 9, 450)
        judge(session, batch)
    monkeypatch.setattr(sample_list, "INDICES_A_PAGE", 100)

    def indices(query: str) -> list[int]:
        seen, cursor = [], ""
        while True:
            page = program.read(f"./batches/run/9/samples?limit=200{query}{cursor}")
            seen += [sample["index"] for sample in page["items"]]
            if page["next_cursor"] is None:
                return seen
            cursor = f"&cursor={page['next_cursor']}"

    assert indices("") == list(range(450))
    assert indices("&judgement=bad") == list(range(2, 450, 3))
    assert indices("&background=background+7.jpg") == list(range(7, 450, 50))
    assert indices("&background=nothing") == []


def test_the_acceptance_of_a_version_is_stated_with_its_confidence(program_in: Callable[[StudyState], Any]) -> None:
    program = program_in(StudyState.AUDITING)
    program.studio.settle()
    assert program.read("./versions/1/acceptance")["promise"] is None
    for sample in program.study.samples_of(program.study.batches(BatchKind.AUDIT)[0]):
        program.studio.client.annotate(sample.task_id, verdict_result("good"))
    program.studio.settle()
    promise = program.read("./versions/1/acceptance")["promise"]
    assert promise["sentence"].startswith("At least ")
    assert 0 < promise["lower"] < 1
    assert promise["confidence"] == 0.9


def test_health_names_the_parts(program: Any) -> None:
    assert program.read("/health").keys() == {"ready", "parts", "age_seconds"}


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/studies/0",
        "/studies/99999999999999999999",
        "/studies/-1",
        "./batches/round/99",
        "./batches/nothing/1",
        "./samples/2147483647",
        "./inputs/nothing",
    ],
)
def test_an_address_that_leads_nowhere_is_a_problem(program: Any, path: str) -> None:
    answer = program.send("GET", path)
    assert (answer.status_code, answer.content_type) == (404, "application/problem+json")
    assert answer.json["detail"].endswith(".")


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "cursor=-1", "other=1", "limit=1&limit=2"])
def test_a_query_outside_the_document_is_refused_by_its_place(program: Any, query: str) -> None:
    answer = program.send("GET", f"/studies?{query}")
    assert (answer.status_code, answer.json["type"]) == (422, "urn:datagen:problem:wrong-request")
    assert query.partition("=")[0] in str(answer.json)


def test_a_name_of_any_kind_is_returned_as_it_is(program: Any) -> None:
    name = "🧪‮gnp <script>{{ 7 * 7 }}"
    answer = program.send("POST", "/studies", json={"name": name, "labels": ["pit"]})
    assert answer.status_code in (201, 422)
    if answer.status_code == 201:
        assert answer.json["name"] == name


def test_without_the_database_a_problem_says_so(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    program.read("/studies")  # the token is known

    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("select", {}, Exception("the connection is gone"))

    monkeypatch.setattr(type(program.studio.services.database), "read", away)
    answer = program.send("GET", "/studies")
    assert answer.status_code == 503
    assert "The database does not answer" in answer.json["detail"]
    assert "select" not in answer.text


def test_a_fault_inside_is_a_problem_without_a_word_of_it(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("an inner secret")

    program.read("/studies")
    monkeypatch.setattr(type(program.studio.services.database), "read", broken)
    answer = program.send("GET", "/studies")
    assert (answer.status_code, answer.content_type) == (500, "application/problem+json")
    assert "secret" not in answer.text


def test_of_two_studies_of_one_name_that_are_created_at_once_one_is_refused(
    program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, others = opening.provision, []

    def send() -> Any:
        return program.send("POST", "/studies", json={"name": "twins", "labels": ["pit"]})

    def provision(*args: Any, **options: Any) -> Any:
        if not others:
            others.append(None)
            others.append(send())  # while the first one is being created
        return real(*args, **options)

    monkeypatch.setattr(opening, "provision", provision)
    monkeypatch.setattr(workflow_services, "NAMES_WAIT_SECONDS", 0)
    assert send().status_code == 201
    assert (others[1].status_code, others[1].json["type"]) == (409, "urn:datagen:problem:not-ready")
    again = send()
    assert (again.status_code, again.json["type"]) == (409, "urn:datagen:problem:exists")
    titles = [project.title for project in program.studio.client.find_projects("twins · ")]
    assert len(titles) == len(set(titles)) == 6
