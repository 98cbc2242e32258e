"""Cruddur's HTTP interface: what goes in, what comes out, and every error as JSON. No backend is on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from services.cruddur import app as cruddur
from services.cruddur import seed
from services.cruddur.store import FEED_LENGTH
from services.profiles.app import create_app as create_profiles
from tests.unit.cruddur_settings import quiet

ADA, ALAN = seed.handles()[:2]
ACTIVITY = seed.activity_uuids()[0]
MESSAGE = {"user_sender_handle": ADA, "user_receiver_handle": ALAN, "message": "hello"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    app = cruddur.create_app(quiet(tmp_path_factory.mktemp("cruddur")))
    yield app.test_client()
    app.extensions["store"].close()


def error(response: Any) -> dict[str, Any]:
    assert response.is_json, response.data
    found: dict[str, Any] = response.json["error"]
    assert set(found) <= {"code", "message", "fields"}
    return found


def test_home_is_the_newest_activities(client: FlaskClient) -> None:
    feed = client.get("/api/activities/home").json
    assert feed is not None
    assert len(feed) == FEED_LENGTH
    assert set(feed[0]) == {"uuid", "handle", "display_name", "message", "reply_to_activity_uuid", "created_at", "expires_at"}


def test_what_is_created_is_found_again(client: FlaskClient) -> None:
    created = client.post("/api/activities", json={"user_handle": ADA, "message": "  findable  ", "ttl": "1-hour"})
    assert created.status_code == 201
    assert created.json is not None
    assert created.json["message"] == "findable"
    assert client.get("/api/activities/search?term=FINDABLE").json == [created.json]
    reply = client.post(f"/api/activities/{created.json['uuid']}/reply", json={"user_handle": ALAN, "message": "found"})
    assert reply.status_code == 201
    notifications = client.get(f"/api/activities/notifications?user_handle={ADA}").json
    assert notifications is not None
    assert notifications[0] == reply.json
    message = client.post("/api/messages", json=MESSAGE)
    assert message.status_code == 201
    groups = client.get(f"/api/message_groups?user_handle={ADA}").json
    assert groups is not None
    assert groups[0]["handle"] == ALAN


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "user_sender_handle"),
        ({**MESSAGE, "message": ""}, "message"),
        ({**MESSAGE, "message": "   "}, "message"),
        ({**MESSAGE, "message": "x" * 1025}, "message"),
        ({**MESSAGE, "message": "nul\x00"}, "message"),
        ({**MESSAGE, "message": 3}, "message"),
        ({**MESSAGE, "message": None}, "message"),
        ({**MESSAGE, "message": ["x"]}, "message"),
        ({**MESSAGE, "user_sender_handle": "a b"}, "user_sender_handle"),
        ({**MESSAGE, "user_sender_handle": "x" * 65}, "user_sender_handle"),
        ({**MESSAGE, "misspelt": 1}, "misspelt"),
        ([], "(body)"),
        ("text", "(body)"),
        (None, "(body)"),
    ],
)
def test_a_body_that_does_not_fit_names_the_field(client: FlaskClient, body: Any, field: str) -> None:
    response = client.post("/api/messages", data=json.dumps(body), content_type="application/json")
    assert response.status_code == 422
    found = error(response)
    assert found["code"] == "invalid"
    assert field in {one["name"] for one in found["fields"]}


@pytest.mark.parametrize(
    ("method", "target", "arguments", "status", "code"),
    [
        ("POST", "/api/messages", {"data": b"{cut", "content_type": "application/json"}, 400, "bad_request"),
        ("POST", "/api/messages", {"data": b"\xff\xfe", "content_type": "application/json"}, 400, "bad_request"),
        ("POST", "/api/messages", {"data": b"", "content_type": "application/json"}, 400, "bad_request"),
        ("POST", "/api/messages", {"data": b"[" * 30_000, "content_type": "application/json"}, 400, "bad_request"),
        ("POST", "/api/messages", {"data": b'"\\ud800"', "content_type": "application/json"}, 400, "bad_request"),
        ("POST", "/api/messages", {"data": b"x=1"}, 415, "unsupported_media_type"),
        ("POST", "/api/messages", {"data": b"x" * 70_000, "content_type": "application/json"}, 413, "too_large"),
        ("GET", "/api/messages", {}, 405, "method_not_allowed"),
        ("DELETE", "/api/activities/home", {}, 405, "method_not_allowed"),
        ("GET", "/", {}, 404, "not_found"),
        ("GET", "/api/activities/@", {}, 404, "not_found"),
        ("GET", "/api/activities/@nobody", {}, 404, "not_found"),
        ("GET", "/api/activities/@a%00b", {}, 400, "invalid"),
        ("GET", "/api/activities/@" + "x" * 65, {}, 400, "invalid"),
        ("GET", "/api/activities/search", {}, 400, "invalid"),
        ("GET", "/api/activities/search?term=", {}, 400, "invalid"),
        ("GET", "/api/activities/search?term=%00", {}, 400, "invalid"),
        ("GET", "/api/activities/search?term=" + "x" * 101, {}, 400, "invalid"),
        ("GET", "/api/message_groups", {}, 400, "invalid"),
        ("GET", "/api/message_groups?user_handle=nobody", {}, 404, "not_found"),
        ("GET", f"/api/messages/@{ALAN}", {}, 400, "invalid"),
        ("POST", "/api/activities/1/reply", {"json": {"user_handle": ADA, "message": "x"}}, 400, "invalid"),
        ("POST", f"/api/activities/{ACTIVITY[:-1]}0/reply", {"json": {"user_handle": ADA, "message": "x"}}, 404, "not_found"),
        ("POST", "/api/activities", {"json": {"user_handle": ADA, "message": "x", "ttl": "forever"}}, 422, "invalid"),
        ("POST", "/api/activities", {"json": {"user_handle": ADA, "message": "x" * 281}}, 422, "invalid"),
    ],
)
def test_bad_input_is_an_error_with_a_code(client: FlaskClient, method: str, target: str, arguments: Any, status: int, code: str) -> None:
    response = client.open(target, method=method, **arguments)
    assert (response.status_code, error(response)["code"]) == (status, code)
    if status == 405:
        assert response.headers["Allow"]


@pytest.mark.parametrize(
    "fault", ["", "slow", "slow=", "slow=-1", "slow=1e3", "slow=30001", "exception=1", "downstream-error=1", "downstream-slow", "x"]
)
def test_a_fault_that_cannot_be_understood_is_refused(client: FlaskClient, fault: str) -> None:
    response = client.get("/api/activities/home", headers={"X-Parallax-Fault": fault})
    assert (response.status_code, error(response)["code"]) == (400, "bad_fault")


def test_a_downstream_fault_means_nothing_on_a_route_without_downstream(client: FlaskClient) -> None:
    for fault in ("downstream-error", "downstream-slow=1"):
        assert client.get("/api/activities/home", headers={"X-Parallax-Fault": fault}).status_code == 400


def test_an_exception_tells_the_caller_nothing_of_the_inside(client: FlaskClient) -> None:
    response = client.get("/api/activities/home", headers={"X-Parallax-Fault": "exception"})
    assert response.status_code == 500
    assert error(response) == {"code": "internal", "message": "the service failed; the failure has been recorded"}


def test_faults_are_ignored_outside_the_sandbox(tmp_path: Path) -> None:
    app = cruddur.create_app(quiet(tmp_path, sandbox=False))
    for fault in ("exception", "nonsense"):
        assert app.test_client().get("/api/activities/home", headers={"X-Parallax-Fault": fault}).status_code == 200
    app.extensions["store"].close()


def test_profiles_that_are_not_there_are_a_bad_gateway(client: FlaskClient) -> None:
    response = client.get(f"/api/activities/@{ADA}")
    assert (response.status_code, error(response)["code"]) == (502, "downstream_failed")


def test_a_database_that_is_away_is_a_503_until_it_is_back(tmp_path: Path) -> None:
    app = cruddur.create_app(quiet(tmp_path, database_url=f"postgresql://cruddur@/postgres?host={tmp_path}"))
    response = app.test_client().get("/api/activities/home")
    assert (response.status_code, error(response)["code"]) == (503, "database_unavailable")
    app.extensions["store"].close()


def test_an_unusable_database_stops_the_service_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cruddur.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(SystemExit) as stop:
        cruddur.create_app(quiet(tmp_path))
    assert stop.value.code == 3
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "cruddur.sqlite" in lines[0]
    assert "DATABASE_URL" in lines[0]


def test_profiles_answers_what_it_knows(tmp_path: Path) -> None:
    client = create_profiles(quiet(tmp_path)).test_client()
    assert client.get("/api/health-check").json == {"success": True}
    found = client.get(f"/api/profiles/{ADA}").json
    assert found is not None
    assert found["handle"] == ADA
    assert error(client.get("/api/profiles/nobody"))["code"] == "not_found"
    assert client.get(f"/api/profiles/{ADA}", headers={"X-Parallax-Fault": "downstream-error"}).status_code == 500
    assert client.get(f"/api/profiles/{ADA}", headers={"X-Parallax-Fault": "nonsense"}).status_code == 400
