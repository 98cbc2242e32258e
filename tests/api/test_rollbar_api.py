"""The local Rollbar over the wire, by raw requests: items in, items and occurrences out, errors in Rollbar's form."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.api.servers import Vendor, start_vendor


class Client:
    """A client of one Rollbar."""

    def __init__(self, vendor: Vendor) -> None:
        self.vendor = vendor
        self.base = f"{vendor.url}/api/1"
        self.post_token = vendor.settings.rollbar_access_token.get_secret_value()
        self.read_token = vendor.settings.rollbar_read_token.get_secret_value()

    def post(self, data: Any, token: str | None = "", path: str = "/item/", **extra: Any) -> requests.Response:
        headers = {"X-Rollbar-Access-Token": self.post_token if token == "" else token} if token is not None else {}
        return requests.post(self.base + path, json={"data": data} | extra, headers=headers, timeout=30)

    def get(self, path: str, token: str | None = "", **parameters: Any) -> requests.Response:
        headers = {"X-Rollbar-Access-Token": self.read_token if token == "" else token} if token is not None else {}
        return requests.get(self.base + path, params=parameters, headers=headers, timeout=30, allow_redirects=False)

    def result(self, path: str, **parameters: Any) -> Any:
        answer = self.get(path, **parameters)
        assert answer.status_code == 200, answer.text
        document = answer.json()
        assert document["err"] == 0
        return document["result"]

    def patch(self, path: str, document: Any, token: str = "") -> requests.Response:
        return requests.patch(self.base + path, json=document, headers={"X-Rollbar-Access-Token": token or self.read_token}, timeout=30)

    def stored(self) -> int:
        """Occurrences stored in all."""
        return sum(len(page) for page in self.pages())

    def pages(self) -> Iterator[list[dict[str, Any]]]:
        page = 1
        while instances := self.result("/instances", page=page)["instances"]:
            yield instances
            page += 1


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with start_vendor("rollbar", tmp_path_factory.mktemp("rollbar")) as vendor:
        yield Client(vendor)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Client]:
    with start_vendor("rollbar", tmp_path) as vendor:
        yield Client(vendor)


def message(text: str = "Hello World!", **more: Any) -> dict[str, Any]:
    return {"environment": "test", "body": {"message": {"body": text}}} | more


def exception(kind: str = "ValueError", text: str = "no", file: str = "app/routes.py", **more: Any) -> dict[str, Any]:
    frames = [{"filename": file, "lineno": 7, "method": "home"}]
    return {"environment": "test", "body": {"trace": {"frames": frames, "exception": {"class": kind, "message": text}}}} | more


def refused(answer: requests.Response, status: int) -> str:
    """Assert an error in Rollbar's form; its message."""
    assert answer.status_code == status, answer.text
    document = answer.json()
    assert set(document) == {"err", "message"}
    assert document["err"] == 1
    assert isinstance(document["message"], str)
    return str(document["message"])


# -- items in


def test_an_item_comes_back_as_item_and_occurrence(own: Client) -> None:
    sent = exception(
        level="critical",
        timestamp=1_700_000_000,
        uuid="d4c7acef55bf4c9ea95e4fe9428a8287",
        platform="linux",
        framework="flask",
        custom={"trace_id": "abc", "big": 2**200, "odd": "\ud800", "nothing": None},
        attributes=[{"key": "session_id", "value": "1"}],
        nobody_knows={"this": ["key", 1.5, True]},
    )
    answer = own.post(sent)
    assert answer.status_code == 200
    assert answer.json() == {"err": 0, "result": {"uuid": "d4c7acef55bf4c9ea95e4fe9428a8287", "id": None}}
    items = own.result("/items")
    assert (items["page"], items["total_count"], len(items["items"])) == (1, 1, 1)
    item = items["items"][0]
    assert item["counter"] == 1
    assert item["id"] != item["counter"]
    assert (item["title"], item["level"], item["status"], item["environment"]) == ("ValueError: no", "critical", "active", "test")
    assert (item["platform"], item["framework"], item["total_occurrences"], item["project_id"]) == ("linux", "flask", 1, 1)
    assert item["first_occurrence_timestamp"] == item["last_occurrence_timestamp"] == 1_700_000_000
    assert item["unique_occurrences"] is None
    assert len(item["hash"]) == 40
    assert own.result(f"/item/{item['id']}") == item
    assert own.result("/item/", uuid=sent["uuid"]) == item
    assert own.result("/item", counter=1) == item
    instances = own.result(f"/item/{item['id']}/instances")["instances"]
    assert [each["id"] for each in instances] == [item["first_occurrence_id"]] == [item["activating_occurrence_id"]]
    data = instances[0]["data"]
    assert {key: data[key] for key in sent} == sent
    assert data["metadata"]["timestamp_ms"] >= 1_700_000_000_000
    assert {key: instances[0][key] for key in ("item_id", "project_id", "timestamp", "billable")} == {
        "item_id": item["id"],
        "project_id": 1,
        "timestamp": 1_700_000_000,
        "billable": 1,
    }
    assert own.result(f"/instance/{instances[0]['id']}") == instances[0]


def test_what_was_left_out_gets_its_documented_default(own: Client) -> None:
    before = int(time.time())
    made = own.post(message()).json()["result"]["uuid"]
    own.post(exception())
    assert len(made) == 32
    newest, oldest = own.result("/instances")["instances"]
    assert oldest["data"]["uuid"] == made
    assert before <= oldest["timestamp"] <= time.time()
    levels = {item["title"]: item["level"] for item in own.result("/items")["items"]}
    assert levels == {"Hello World!": "info", "ValueError: no": "error"}
    assert own.result(f"/item/{newest['item_id']}")["platform"] == "unknown"


@pytest.mark.parametrize("path", ["/item/", "/item"])
@pytest.mark.parametrize("where", ["header", "body", "query", "form"])
def test_the_token_is_taken_from_wherever_clients_put_it(shared: Client, path: str, where: str) -> None:
    document = {"data": message(f"token in the {where}")}
    if where == "header":
        answer = shared.post(document["data"], path=path)
    elif where == "body":
        answer = shared.post(document["data"], token=None, path=path, access_token=shared.post_token)
    elif where == "query":
        answer = requests.post(f"{shared.base}{path}?access_token={shared.post_token}", json=document, timeout=30)
    else:
        form = {"payload": json.dumps(document | {"access_token": shared.post_token})}
        answer = requests.post(shared.base + path, data=form, timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.json()["err"] == 0


def test_a_known_uuid_is_discarded(own: Client) -> None:
    for text in ("first", "second"):
        answer = own.post(message(text, uuid="same"))
        assert (answer.status_code, answer.json()["result"]["uuid"]) == (200, "same")
    instances = own.result("/instances")["instances"]
    assert [each["data"]["body"]["message"]["body"] for each in instances] == ["first"]
    assert own.result("/items")["items"][0]["total_occurrences"] == 1


def test_the_same_uuid_from_many_clients_at_once_is_stored_once(own: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: own.post(message(f"{number} of many", uuid=f"uuid-{number % 5}")), range(80)))
    assert {answer.status_code for answer in answers} == {200}
    assert own.stored() == 5


def test_occurrences_of_one_problem_are_one_item_whose_first_level_stays(own: Client) -> None:
    own.post(exception(text="user 17 failed", level="warning"))
    own.post(exception(text="user 18 failed", level="critical"))
    own.post(exception(kind="KeyError"))
    own.post(exception(text="elsewhere", environment="other"))
    items = own.result("/items")["items"]
    assert [(item["title"], item["level"], item["environment"], item["total_occurrences"]) for item in items] == [
        ("ValueError: elsewhere", "error", "other", 1),
        ("KeyError: no", "error", "test", 1),
        ("ValueError: user 17 failed", "warning", "test", 2),
    ]
    assert [item["counter"] for item in items] == [3, 2, 1]


def test_an_explicit_fingerprint_wins(own: Client) -> None:
    for kind in ("ValueError", "KeyError"):
        own.post(exception(kind=kind, fingerprint="mine"))
    (item,) = own.result("/items")["items"]
    assert (item["hash"], item["total_occurrences"]) == ("mine", 2)


# -- errors in


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (None, "data"),
        ([], "data"),
        ({}, "data.environment"),
        ({"environment": 7, "body": {"message": {"body": "x"}}}, "data.environment"),
        ({"environment": "e" * 256, "body": {"message": {"body": "x"}}}, "data.environment"),
        ({"environment": "test"}, "data.body"),
        ({"environment": "test", "body": []}, "data.body"),
        ({"environment": "test", "body": {}}, "exactly one"),
        ({"environment": "test", "body": {"message": {"body": "x"}, "crash_report": {"raw": "y"}}}, "exactly one"),
        ({"environment": "test", "body": {"message": {}}}, "data.body.message.body"),
        ({"environment": "test", "body": {"message": "x"}}, "data.body.message.body"),
        ({"environment": "test", "body": {"crash_report": {"raw": 1}}}, "data.body.crash_report.raw"),
        ({"environment": "test", "body": {"trace": {"exception": {"class": "E"}}}}, "data.body.trace.frames"),
        ({"environment": "test", "body": {"trace": {"frames": [{}], "exception": {"class": "E"}}}}, "frames[0].filename"),
        ({"environment": "test", "body": {"trace": {"frames": [], "exception": {}}}}, "data.body.trace.exception.class"),
        ({"environment": "test", "body": {"trace_chain": []}}, "data.body.trace_chain"),
        ({"environment": "test", "body": {"trace_chain": [{"frames": [], "exception": {"class": "E"}}, 3]}}, "trace_chain[1]"),
        (message(level="fatal"), "data.level"),
        (message(level={}), "data.level"),
        (message(uuid="u" * 37), "data.uuid"),
        (message(uuid=7), "data.uuid"),
        (message(title="t" * 256), "data.title"),
        (message(fingerprint=[]), "data.fingerprint"),
        (message(timestamp="now"), "data.timestamp"),
        (message(timestamp=-1), "data.timestamp"),
        (message(timestamp=10**30), "data.timestamp"),
        (message(timestamp=True), "data.timestamp"),
    ],
)
def test_what_is_not_an_item_is_refused_by_name_and_not_stored(shared: Client, data: Any, named: str) -> None:
    before = shared.stored()
    assert named in refused(shared.post(data), 422)
    assert shared.stored() == before


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"{",
        b"\xff\xfe",
        b'{"data": NaN}',
        b'{"data": 1e999}',
        b"[" * 100_000,
        b'{"a":' * 300 + b"1" + b"}" * 300,
        b"payload={}x",
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""])
def test_what_is_not_json_is_a_bad_request(shared: Client, body: bytes, content_type: str) -> None:
    headers = {"X-Rollbar-Access-Token": shared.post_token, "Content-Type": content_type}
    refused(requests.post(f"{shared.base}/item/", data=body, headers=headers, timeout=30), 400)


@pytest.mark.parametrize("document", [[], 7, "item", None, True])
def test_json_that_is_no_object_is_unprocessable(shared: Client, document: Any) -> None:
    headers = {"X-Rollbar-Access-Token": shared.post_token}
    refused(requests.post(f"{shared.base}/item/", data=json.dumps(document), headers=headers, timeout=30), 422)


def test_a_payload_over_the_limit_is_refused_and_one_at_the_limit_is_taken(shared: Client) -> None:
    frame = len(json.dumps({"data": message("")}))
    fits = message("x" * (1024 * 1024 - frame))
    assert shared.post(fits).status_code == 200
    assert "too large" in refused(shared.post(message("x" * (1024 * 1024 - frame + 1))), 413)


@pytest.mark.parametrize("token", [None, "wrong", "parallax0local0rollbar0post0000\u00e9"])
def test_no_token_or_an_unknown_one_is_unauthorized(shared: Client, token: str | None) -> None:
    encoded: Any = token.encode("utf-8") if token else token
    refused(shared.post(message(), token=encoded), 401)
    assert "access token" in refused(shared.get("/items", token=encoded), 401)


def test_a_token_without_the_scope_is_forbidden(shared: Client) -> None:
    assert "post_server_item scope is required" in refused(shared.post(message(), token=shared.read_token), 403)
    assert "read scope is required" in refused(shared.get("/items", token=shared.post_token), 403)
    assert "write scope is required" in refused(shared.patch("/item/1", {"status": "muted"}, token=shared.post_token), 403)
    assert "post_client_item scope is required" in refused(shared.post(message(platform="browser")), 403)


@pytest.mark.parametrize("path", ["/nothing", "/item/x", "/instances/7", "", "/item/99999999999999999999"])
def test_unknown_addresses_are_not_found_in_rollbars_form(shared: Client, path: str) -> None:
    refused(shared.get(path), 404)
    refused(requests.get(f"{shared.vendor.url}/", timeout=30), 404)
    refused(requests.put(f"{shared.base}/item/", timeout=30), 405)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/item/7", "Item"),
        ("/item/7/instances", "Item"),
        ("/item_by_counter/9999", "Item"),
        ("/item/?uuid=unheard-of", "UUID did not match any occurrence"),
        ("/item?counter=9999", "Item"),
        ("/instance/7", "Occurrence"),
        ("/deploy/7", "Deploy"),
    ],
)
def test_what_does_not_exist_is_not_found(shared: Client, path: str, said: str) -> None:
    assert said in refused(shared.get(path), 404)


@pytest.mark.parametrize(
    "query",
    ["/items?page=0", "/items?page=x", "/items?page=-1", "/items?page=99999999999999999", "/items?level=fatal", "/items?status=open",
     "/items?ids=1,x", "/items?limit=0", "/instances?page=0", "/instances?lastId=x", "/instances?limit=101", "/item?counter=x", "/item/",
     "/reports/occurrence_counts?bucket_size=5", "/reports/occurrence_counts?buckets=1", "/reports/top_active_items?hours=0",
     "/reports/top_active_items?hours=169", "/deploys?page=0"],
)  # fmt: skip
def test_bad_parameters_are_named(shared: Client, query: str) -> None:
    refused(shared.get(query), 422)


@pytest.mark.parametrize("path", ["/rql/jobs/", "/rql/job/7", "/rql/job/7/result"])
def test_rql_is_not_on_this_plan(shared: Client, path: str) -> None:
    assert "plan" in refused(shared.get(path), 403)


def test_projects_belong_to_accounts(shared: Client) -> None:
    refused(shared.get("/projects"), 403)


# -- reading


def test_lists_are_paged_newest_first(own: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: own.post(message(fingerprint=f"group {number % 102}", uuid=str(number))), range(130)))
    ids = [instance["id"] for page in own.pages() for instance in page]
    assert len(ids) == len(set(ids)) == 130
    assert ids == sorted(ids, reverse=True)
    assert [len(page) for page in own.pages()] == [20] * 6 + [10]
    for cursor in ("lastId", "last_id"):
        assert [each["id"] for each in own.result("/instances", **{cursor: ids[29]})["instances"]] == ids[30:50]
    assert [each["id"] for each in own.result("/instances", limit=3)["instances"]] == ids[:3]
    first, second = own.result("/items"), own.result("/items", page=2)
    assert (len(first["items"]), len(second["items"]), first["total_count"], second["page"]) == (100, 2, 102, 2)
    assert own.result("/items", page=3)["items"] == []


def test_items_are_filtered(own: Client) -> None:
    for level, environment, text in (
        ("error", "test", "Disk full"),
        ("warning", "test", "Disk slow"),
        ("critical", "live", "Out of memory"),
    ):
        own.post(message(text, level=level) | {"environment": environment})

    def titles(**filters: Any) -> list[str]:
        return [item["title"] for item in own.result("/items", **filters)["items"]]

    assert titles(level="error") == ["Disk full"]
    assert titles(level=["error", "critical"]) == ["Out of memory", "Disk full"]
    assert titles(environment="live") == ["Out of memory"]
    assert titles(query="disk SLOW") == ["Disk slow"]
    assert titles(status="resolved") == []
    assert titles(level="error", environment="live") == []
    assert titles(ids=",".join(str(item["id"]) for item in own.result("/items", query="disk")["items"])) == ["Disk slow", "Disk full"]


def test_a_counter_leads_to_its_item(shared: Client) -> None:
    shared.post(message("counted"))
    item = shared.result("/items")["items"][0]
    answer = shared.get(f"/item_by_counter/{item['counter']}")
    assert answer.status_code == 301
    assert answer.json()["result"]["itemId"] == item["id"]
    assert answer.headers["Location"] == f"/api/1/item/{item['id']}"
    followed = requests.get(f"{shared.base}/item_by_counter/{item['counter']}", params={"access_token": shared.read_token}, timeout=30)
    assert followed.json()["result"]["id"] == item["id"]


def test_a_resolved_item_becomes_active_when_it_happens_again_and_a_muted_one_does_not(own: Client) -> None:
    for status, then, total in (("resolved", "active", 1), ("muted", "muted", 4)):
        own.post(message(status))
        own.post(message(status))
        item = own.result("/items", query=status)["items"][0]
        changed = own.patch(f"/item/{item['id']}", {"status": status, "resolved_in_version": "abc"}).json()["result"]
        assert changed["status"] == status
        assert changed["resolved_in_version"] == ("abc" if status == "resolved" else None)
        assert (changed["last_resolved_timestamp"] is not None) == (status == "resolved")
        own.post(message(status))
        again = own.result(f"/item/{item['id']}")
        assert again["status"] == then
        assert (again["activating_occurrence_id"] != item["activating_occurrence_id"]) == (then == "active")
        own.post(message(status)) if status == "muted" else None
        assert own.result(f"/item/{item['id']}")["total_occurrences"] == total


def test_an_item_can_be_changed(own: Client) -> None:
    own.post(message())
    path = f"/item/{own.result('/items')['items'][0]['id']}"
    changes = {"level": "critical", "title": "Not so bad", "assigned_user_id": 7}
    assert own.patch(path, changes).status_code == 200
    item = own.result(path)
    assert {name: item[name] for name in changes} == changes
    assert (item["level_lock"], item["title_lock"]) == (1, 1)
    bad: tuple[Any, ...] = (
        {},
        [],
        {"status": "open"},
        {"level": 40},
        {"title": ""},
        {"title": "t" * 256},
        {"assigned_user_id": "me"},
        {"other": 1},
    )
    for wrong in bad:
        refused(own.patch(path, wrong), 422)
    refused(own.patch("/item/7", {"status": "muted"}), 404)
    assert own.result(path) == item


def test_a_deleted_occurrence_is_gone_but_stays_counted(own: Client) -> None:
    own.post(message())
    (instance,) = own.result("/instances")["instances"]
    headers = {"X-Rollbar-Access-Token": own.read_token}
    answer = requests.delete(f"{own.base}/instance/{instance['id']}", headers=headers, timeout=30)
    assert answer.json() == {"err": 0, "message": "The instance has been deleted"}
    refused(requests.delete(f"{own.base}/instance/{instance['id']}", headers=headers, timeout=30), 404)
    assert own.result("/instances")["instances"] == []
    assert own.result(f"/item/{instance['item_id']}")["total_occurrences"] == 1


def test_reports_count_by_time(own: Client) -> None:
    now = int(time.time())
    for hours in (0, 0, 1):
        own.post(exception(timestamp=now - hours * 3600))
    own.post(exception(kind="Worse", level="critical", environment="live", timestamp=now))
    own.post(message("only a warning", level="warning", timestamp=now))
    counts = own.result("/reports/occurrence_counts", bucket_size=3600, buckets=3)
    assert [count for _, count in counts] == [0, 1, 3]
    assert all(start % 3600 == 0 for start, _ in counts)
    assert sum(count for _, count in own.result("/reports/occurrence_counts", environments="live")) == 1
    assert len(own.result("/reports/occurrence_counts", bucket_size=60)) == 60
    top = own.result("/reports/top_active_items", hours=2)
    assert [(each["item"]["title"], each["item"]["level"], each["counts"]) for each in top] == [
        ("Worse: no", 50, [0, 1]),
        ("ValueError: no", 40, [1, 2]),
        ("only a warning", 30, [0, 1]),
    ]
    assert top[1]["item"]["occurrences"] == 3


def test_deploys_are_recorded(own: Client) -> None:
    headers = {"X-Rollbar-Access-Token": own.post_token}
    fields = {"environment": "test", "revision": "abc123", "local_username": "ci", "comment": "first", "status": "started"}
    deploy_id = requests.post(f"{own.base}/deploy/", json=fields, headers=headers, timeout=30).json()["data"]["deploy_id"]
    assert own.result(f"/deploy/{deploy_id}").items() >= fields.items()
    assert own.result(f"/deploy/{deploy_id}")["finish_time"] is None
    finished = requests.patch(f"{own.base}/deploy/{deploy_id}", json={"status": "succeeded"}, headers=headers, timeout=30).json()["result"]
    assert finished["status"] == "succeeded"
    assert finished["finish_time"] >= finished["start_time"]
    form = {"environment": "test", "head_long": "def456", "access_token": own.post_token}
    requests.post(f"{own.base}/deploy", data=form, timeout=30).raise_for_status()
    assert [deploy["revision"] for deploy in own.result("/deploys")["deploys"]] == ["def456", "abc123"]
    for wrong in ({}, {"environment": "test"}, fields | {"status": "perhaps"}, fields | {"comment": 7}):
        refused(requests.post(f"{own.base}/deploy", json=wrong, headers=headers, timeout=30), 422)


def test_ping_answers_pong_to_anybody(shared: Client) -> None:
    answer = shared.get("/status/ping", token=None)
    assert (answer.status_code, answer.text) == (200, "pong")


def test_answers_carry_the_rate_headers(shared: Client) -> None:
    first, second = shared.post(message()), shared.post(message())
    names = ("X-Rate-Limit-Limit", "X-Rate-Limit-Remaining", "X-Rate-Limit-Remaining-Seconds", "X-Rate-Limit-Reset")
    assert all(name in first.headers for name in names)
    assert int(first.headers["X-Rate-Limit-Limit"]) == 5000
    if first.headers["X-Rate-Limit-Reset"] == second.headers["X-Rate-Limit-Reset"]:
        assert int(second.headers["X-Rate-Limit-Remaining"]) == int(first.headers["X-Rate-Limit-Remaining"]) - 1
    assert 0 <= int(first.headers["X-Rate-Limit-Remaining-Seconds"]) <= 60


# -- staying


def test_acknowledged_items_survive_restart_and_sigkill(tmp_path: Path) -> None:
    with start_vendor("rollbar", tmp_path) as vendor:
        client = Client(vendor)
        acknowledged: set[str] = set()

        def post(number: int) -> None:
            name = uuid.uuid4().hex
            if client.post(message(f"before the crash {number}", uuid=name)).status_code == 200:
                acknowledged.add(name)

        def post_until_it_dies(number: int) -> None:
            for _ in range(1_000):
                try:
                    post(number)
                except requests.RequestException:
                    return

        with ThreadPoolExecutor(4) as pool:
            workers = [pool.submit(post_until_it_dies, number) for number in range(4)]
            while len(acknowledged) < 40:
                assert not any(worker.done() for worker in workers), "the workers ended early"
                time.sleep(0.01)
            vendor.kill()
            for worker in workers:
                worker.result()
        vendor.start()
        found = {instance["data"]["uuid"] for page in client.pages() for instance in page}
        assert acknowledged <= found
        assert len(found) - len(acknowledged) <= 4
        vendor.restart()
        assert {instance["data"]["uuid"] for page in client.pages() for instance in page} == found
        last = client.result("/instances")["instances"][0]["id"]
        client.post(message("after the crash"))
        assert client.result("/instances")["instances"][0]["id"] > last
        assert "Traceback" not in vendor.log
