"""The local Honeycomb's API over the wire: events by libhoney and by hand, datasets, columns, queries, and every refusal."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from typing import Any

import libhoney
import msgpack
import orjson
import pytest
import requests
import zstandard

from compose.settings import LOCAL_HONEYCOMB_KEY
from tests.api.honeycomb import HEADERS, ask, count, rows
from tests.api.servers import Vendor, start_vendor

INGEST_KEY = "anIngestKeyOfItsOwn123"
UNKNOWN = "unknown API key - check your credentials"


@pytest.fixture(scope="module")
def honeycomb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    # A key that sends and another that reads, to hold their rights apart.
    keys = {"HONEYCOMB_API_KEY": INGEST_KEY, "HONEYCOMB_QUERY_KEY": LOCAL_HONEYCOMB_KEY}
    with start_vendor("honeycomb", tmp_path_factory.mktemp("honeycomb"), **keys) as vendor:
        yield vendor


def call(honeycomb: Vendor, method: str, path: str, **kwargs: Any) -> requests.Response:
    kwargs.setdefault("headers", HEADERS)
    return requests.request(method, honeycomb.url + path, timeout=30, **kwargs)


def batch(honeycomb: Vendor, dataset: str, *events: dict[str, Any], time: int | None = None) -> None:
    answer = call(honeycomb, "POST", f"/1/batch/{dataset}", json=[{"data": event} | ({"time": time} if time else {}) for event in events])
    assert answer.json() == [{"status": 202}] * len(events)


# -- events


def test_libhoney(honeycomb: Vendor) -> None:
    client = libhoney.Client(writekey=INGEST_KEY, dataset="Lib Honey", api_host=honeycomb.url, sample_rate=1)
    for number in range(250):
        event = client.new_event(data={"number": number, "name": f"event {number % 5}", "nested": {"a": 1}})
        event.send()
    transmission = client.xmit
    client.close()
    transmission.sd.close()  # libhoney leaves the socket of its own statistics open
    found = rows(honeycomb, {"calculations": [{"op": "COUNT"}, {"op": "SUM", "column": "number"}], "breakdowns": ["name"]}, "lib-honey")
    assert sum(row["COUNT"] for row in found) == 250
    assert sum(row["SUM(number)"] for row in found) == sum(range(250))
    responses = client.responses()
    assert {responses.get()["status_code"] for _ in range(250)} == {202}


@pytest.mark.parametrize("encoding", ["", "gzip", "zstd"])
def test_a_batch_is_answered_event_by_event(honeycomb: Vendor, encoding: str) -> None:
    body = orjson.dumps([{"data": {"a": 1}, "samplerate": 10}, {"data": {}}, {"data": {"a": 2}, "time": "2026-01-01T00:00:00Z"}])
    packed = {"": body, "gzip": gzip.compress(body), "zstd": zstandard.compress(body)}[encoding]
    answer = call(honeycomb, "POST", f"/1/batch/batch{encoding}", data=packed, headers=HEADERS | {"Content-Encoding": encoding})
    assert answer.status_code == 200
    assert answer.json() == [{"status": 202}, {"status": 400, "error": "Request body should not be empty."}, {"status": 202}]
    assert count(honeycomb, f"batch{encoding}") == 10  # one event that stands for ten; the other is too old


def test_a_batch_in_msgpack(honeycomb: Vendor) -> None:
    body = msgpack.packb([{"data": {"a": 1}}])
    answer = call(honeycomb, "POST", "/1/batch/packed", data=body, headers=HEADERS | {"Content-Type": "application/msgpack"})
    assert answer.json() == [{"status": 202}]
    assert count(honeycomb, "packed") == 1


def test_a_single_event(honeycomb: Vendor) -> None:
    headers = HEADERS | {"X-Honeycomb-Event-Time": str(int(time.time()) - 5), "X-Honeycomb-Samplerate": "4"}
    answer = call(honeycomb, "POST", "/1/events/My%20Single!", json={"a": 1}, headers=headers)
    assert (answer.status_code, answer.content) == (200, b"")
    assert count(honeycomb, "my-single-") == 4
    assert call(honeycomb, "GET", "/1/datasets/MY-SINGLE-").json()["name"] == "My Single!"


@pytest.mark.parametrize(
    ("body", "headers", "error"),
    [
        (b"", {}, "Request body should not be empty."),
        (b"{", {}, "Request body is malformed and cannot be read."),
        (b"[1]", {"Content-Encoding": "gzip"}, "Request body is malformed and cannot be read."),
        (b"x" * 5_000_001, {}, "Request body is too large."),
        (b"\xc1", {"Content-Type": "application/msgpack"}, "Request body is malformed and cannot be read."),
    ],
)
@pytest.mark.parametrize("path", ["/1/batch/refused", "/1/events/refused"])
def test_bodies_that_are_refused(honeycomb: Vendor, path: str, body: bytes, headers: dict[str, str], error: str) -> None:
    answer = call(honeycomb, "POST", path, data=body, headers=HEADERS | headers)
    assert (answer.status_code, answer.json()) == (400, {"error": error})
    assert call(honeycomb, "GET", "/1/datasets/refused").status_code == 404


# -- keys

READS = [
    ("GET", "/1/datasets"),
    ("POST", "/1/datasets"),
    ("GET", "/1/datasets/x"),
    ("DELETE", "/1/datasets/x"),
    ("GET", "/1/columns/x"),
    ("POST", "/1/columns/x"),
    ("PUT", "/1/columns/x/y"),
    ("DELETE", "/1/columns/x/y"),
    ("POST", "/1/queries/x"),
    ("GET", "/1/queries/x/y"),
    ("POST", "/1/query_results/x"),
    ("GET", "/1/query_results/x/y"),
    ("GET", "/1/boards"),
    ("GET", "/1/nothing"),
]
SENDS = [("GET", "/1/auth"), ("POST", "/1/batch/x"), ("POST", "/1/events/x")]


@pytest.mark.parametrize(("method", "path"), READS + SENDS)
def test_a_missing_or_wrong_key_opens_nothing(honeycomb: Vendor, method: str, path: str) -> None:
    for headers in ({}, {"X-Honeycomb-Team": "wrong"}, {"X-Honeycomb-Team": "ü".encode().decode("latin-1")}):
        answer = call(honeycomb, method, path, headers=headers, data=b"{}")
        assert (answer.status_code, answer.json()) == (401, {"error": UNKNOWN})


@pytest.mark.parametrize(("method", "path"), READS)
def test_an_ingest_key_does_not_read(honeycomb: Vendor, method: str, path: str) -> None:
    answer = call(honeycomb, method, path, headers={"X-Honeycomb-Team": INGEST_KEY}, data=b"{}")
    assert (answer.status_code, answer.json()) == (401, {"error": UNKNOWN})


def test_auth(honeycomb: Vendor) -> None:
    configuration = call(honeycomb, "GET", "/1/auth").json()
    assert configuration["type"] == "configuration"
    assert configuration["api_key_access"]["queries"] is True
    assert configuration["environment"].keys() == configuration["team"].keys() == {"name", "slug"}
    ingest = call(honeycomb, "GET", "/1/auth", headers={"X-Honeycomb-Team": INGEST_KEY}).json()
    assert (ingest["type"], ingest["api_key_access"]) == ("ingest", {"createDatasets": True})
    assert LOCAL_HONEYCOMB_KEY not in str(configuration)


# -- datasets and columns


def test_datasets(honeycomb: Vendor) -> None:
    created = call(honeycomb, "POST", "/1/datasets", json={"name": "My Data", "description": "d", "expand_json_depth": 2})
    assert created.status_code == 201
    assert created.json()["slug"] == "my-data"
    assert call(honeycomb, "POST", "/1/datasets", json={"name": "MY DATA"}).status_code == 200
    batch(honeycomb, "my-data", {"a": {"b": {"c": {"d": 1}}}})
    found = call(honeycomb, "GET", "/1/datasets/my-data").json()
    assert (found["name"], found["regular_columns_count"]) == ("My Data", 1)
    assert found["last_written_at"] > found["created_at"]
    assert found in call(honeycomb, "GET", "/1/datasets").json()
    assert rows(honeycomb, {"breakdowns": ["a.b.c"]}, "my-data") == [{"a.b.c": '{"d":1}', "COUNT": 1}]
    assert call(honeycomb, "DELETE", "/1/datasets/my-data").status_code == 202
    assert call(honeycomb, "GET", "/1/datasets/my-data").status_code == 404
    batch(honeycomb, "my-data", {"b": 1})
    assert rows(honeycomb, {"breakdowns": ["a.b.c", "b"]}, "my-data") == [{"a.b.c": None, "b": 1, "COUNT": 1}]


def test_columns(honeycomb: Vendor) -> None:
    batch(honeycomb, "columns", {"name": "x", "n": 1, "f": 1.5, "ok": True})
    found = {column["key_name"]: column for column in call(honeycomb, "GET", "/1/columns/columns").json()}
    assert {name: column["type"] for name, column in found.items()} == {"name": "string", "n": "integer", "f": "float", "ok": "boolean"}
    assert all(column["last_written"] for column in found.values())
    one = call(honeycomb, "GET", "/1/columns/columns", params={"key_name": "n"}).json()
    assert one == found["n"]
    assert call(honeycomb, "GET", "/1/columns/columns", params={"key_name": "never"}).status_code == 404
    made = call(honeycomb, "POST", "/1/columns/columns", json={"key_name": "later", "type": "float"})
    assert (made.status_code, made.json()["last_written"]) == (201, None)
    again = call(honeycomb, "POST", "/1/columns/columns", json={"key_name": "later"})
    assert (again.status_code, again.json()["type_detail"][0]["code"]) == (422, "already_exists")
    path = f"/1/columns/columns/{made.json()['id']}"
    assert call(honeycomb, "PUT", path, json={"description": "soon", "hidden": True}).json()["description"] == "soon"
    assert call(honeycomb, "GET", path).json()["hidden"] is True
    assert call(honeycomb, "DELETE", path).status_code == 204
    assert call(honeycomb, "GET", path).status_code == 404


# -- queries


def test_a_query_is_kept_as_it_was_sent(honeycomb: Vendor) -> None:
    batch(honeycomb, "kept", {"a": 1})
    spec = {"breakdowns": ["a"], "limit": 5}
    query = call(honeycomb, "POST", "/1/queries/kept", json=spec).json()
    assert query == spec | {"id": query["id"]}
    assert call(honeycomb, "GET", f"/1/queries/kept/{query['id']}").json() == query
    assert call(honeycomb, "GET", f"/1/queries/__all__/{query['id']}").status_code == 404


def test_series(honeycomb: Vendor) -> None:
    now = int(time.time()) // 60 * 60
    for minutes, name in ((5, "a"), (5, "a"), (3, "a"), (3, "b")):
        batch(honeycomb, "series", {"name": name}, time=now - minutes * 60)
    spec = {"breakdowns": ["name"], "start_time": now - 600, "end_time": now, "granularity": 60}
    data = ask(honeycomb, spec, "series", disable_series=False)
    assert data["results"] == [{"data": {"name": "a", "COUNT": 3}}, {"data": {"name": "b", "COUNT": 1}}]

    def stamp(minutes: int) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:00Z", time.gmtime(now - minutes * 60))

    assert data["series"] == [
        {"time": stamp(5), "data": {"name": "a", "COUNT": 2}},
        {"time": stamp(3), "data": {"name": "a", "COUNT": 1}},
        {"time": stamp(3), "data": {"name": "b", "COUNT": 1}},
    ]
    assert ask(honeycomb, spec, "series", disable_series=True)["series"] == []


def test_as_many_rows_as_honeycomb_gives(honeycomb: Vendor) -> None:
    for start in range(0, 10_500, 3500):
        batch(honeycomb, "many", *({"trace.trace_id": f"{number:032x}"} for number in range(start, start + 3500)))
    spec = {"breakdowns": ["trace.trace_id"], "limit": 10_000}
    assert len(rows(honeycomb, {"breakdowns": ["trace.trace_id"]}, "many")) == 100
    assert len(rows(honeycomb, spec, "many")) == 10_000
    assert len(rows(honeycomb, spec, "many", limit=7)) == 7
    assert len(rows(honeycomb, spec, "many", disable_series=False)) == 1_000
    wanted = {"column": "trace.trace_id", "op": "in", "value": [f"{number:032x}" for number in range(0, 10_000, 2)]}
    assert count(honeycomb, "many", wanted) == 5_000


def test_a_column_that_no_event_has_is_missing_everywhere(honeycomb: Vendor) -> None:
    batch(honeycomb, "sparse", {"a": 1})
    assert rows(honeycomb, {"breakdowns": ["never"]}, "sparse") == [{"never": None, "COUNT": 1}]
    assert count(honeycomb, "sparse", {"column": "never", "op": "exists"}) == 0


def test_wrong_queries(honeycomb: Vendor) -> None:
    answer = call(honeycomb, "POST", "/1/queries/__all__", json={"limit": 0, "calculations": [{"op": "RATE_SUM", "column": "a"}]})
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")
    problem = answer.json()
    assert problem["type"] == "https://api.honeycomb.io/problems/validation-failed"
    assert {detail["field"] for detail in problem["type_detail"]} == {"limit", "calculations[0].op"}
    assert "not implemented" in problem["detail"]
    for body in (b"", b"{", b"[]", b'"x"', b"\xff"):
        assert call(honeycomb, "POST", "/1/queries/__all__", data=body).status_code == 400


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "query_id"),
        ({"query_id": 3}, "query_id"),
        ({"query_id": "x", "disable_series": "yes"}, "disable_series"),
        ({"query_id": "x", "limit": 1001}, "limit"),
        ({"query_id": "x", "limit": 10_001, "disable_series": True}, "limit"),
    ],
)
def test_wrong_query_runs(honeycomb: Vendor, body: dict[str, Any], field: str) -> None:
    answer = call(honeycomb, "POST", "/1/query_results/__all__", json=body)
    assert answer.status_code == 422
    assert [detail["field"] for detail in answer.json()["type_detail"]] == [field]


@pytest.mark.parametrize(
    ("method", "path", "body", "what"),
    [
        ("GET", "/1/datasets/nowhere", None, "Dataset"),
        ("DELETE", "/1/datasets/nowhere", None, "Dataset"),
        ("GET", "/1/columns/nowhere", None, "Dataset"),
        ("POST", "/1/columns/__all__", {"key_name": "x"}, "Dataset"),
        ("POST", "/1/queries/nowhere", {}, "Dataset"),
        ("GET", "/1/queries/__all__/nothing", None, "Query"),
        ("POST", "/1/query_results/__all__", {"query_id": "nothing"}, "Query"),
        ("GET", "/1/query_results/__all__/nothing", None, "Query result"),
        ("POST", "/1/batch/__all__", [], "Dataset"),
        ("GET", "/1/nothing", None, "Endpoint"),
    ],
)
def test_what_is_not_there(honeycomb: Vendor, method: str, path: str, body: Any, what: str) -> None:
    answer = call(honeycomb, method, path, json=body)
    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")
    assert answer.json() == {
        "status": 404,
        "type": "https://api.honeycomb.io/problems/not-found",
        "title": "The requested resource cannot be found.",
        "error": f"{what} not found",
        "detail": f"{what} not found",
    }


def test_what_is_not_implemented_says_so(honeycomb: Vendor) -> None:
    for path in ("/1/boards", "/1/markers/cruddur", "/1/derived_columns/cruddur", "/1/maps/dependencies/requests", "/2/teams/x"):
        answer = call(honeycomb, "GET", path)
        assert answer.status_code == 501
        assert "does not implement" in answer.json()["error"]


def test_a_wrong_method(honeycomb: Vendor) -> None:
    answer = call(honeycomb, "PATCH", "/1/datasets")
    assert answer.status_code == 405
    assert "error" in answer.json()


def test_limits_are_told_and_not_enforced(honeycomb: Vendor) -> None:
    answers = [call(honeycomb, "GET", "/1/datasets") for _ in range(101)]
    assert {answer.status_code for answer in answers} == {200}
    assert answers[-1].headers["RateLimitPolicy"] == "100;w=60"
    assert answers[-1].headers["Ratelimit"].startswith("limit=100, remaining=")


def test_no_request_was_a_server_error(honeycomb: Vendor) -> None:
    """Runs last."""
    assert "Traceback" not in honeycomb.log
    assert INGEST_KEY not in honeycomb.log
